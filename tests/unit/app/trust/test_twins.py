from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from app.identity.certificate import Certificates, thumbprint_of
from app.identity.connection import Connection
from app.trust.authorities import Authorities
from app.trust.revocation import RevocationLists
from app.trust.twins import twin_of
from tests.unit.app.trust import pki
from tests.unit.app.trust.pki import NOW


@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_twin_leads_to_the_same_root_under_another_thumbprint(tmp_path: Path, kind: str) -> None:
    """What makes the attack work: nothing that is signed differs, and the signature still verifies."""
    root = pki.root(key=kind)
    leaf = pki.leaf(root, key="p256")
    twin = twin_of(leaf.certificate, root.certificate)
    assert twin is not None
    assert twin != leaf.der
    other = x509.load_der_x509_certificate(twin)
    assert other.tbs_certificate_bytes == leaf.certificate.tbs_certificate_bytes
    assert twin_of(other, root.certificate) == leaf.der
    file = tmp_path / "ca.pem"
    file.write_bytes(root.pem)
    authorities = Authorities(file)
    lists = RevocationLists([], authorities, check="chain", grace_s=0, folder=tmp_path)
    certificates = Certificates(authorities, lists)
    one, two = (certificates.of(Connection(der, (), ""), NOW) for der in (leaf.der, twin))
    assert (one.names, one.key) == (two.names, two.key)
    assert (one.thumbprint, one.twin) == (two.twin, two.thumbprint) == (thumbprint_of(leaf.der), thumbprint_of(twin))


def test_rsa_signature_has_no_twin() -> None:
    root = pki.root(key="rsa2048")
    assert twin_of(pki.leaf(root).certificate, root.certificate) is None
