"""A trial PKI in a folder: authorities with their keys, certificates, the register and the revocation lists.

`root`, `issuing`, `server` and every client have `<name>.pem`, and `<name>.key` where the key was made here; `ca.pem`
is for those who are to trust it, `crls.pem` for nodes, `root.crl` and `issuing.crl` (DER) for a distribution point.
One command at a time changes the folder. For trials only: the authorities' keys lie there, not encrypted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from app.keys.key_files import LOCK, changing, check_folder, write_whole
from app.keys.signing_keys import new_signing_key, read_signing_key
from app.keys.signing_keys import pem as key_pem
from app.trial import register as trial_register
from app.trial.authority import PUBLIC, Authority, Issued, Leaf, pem
from app.trial.register import COMPROMISED, Entry, PkiInvalid, Register, digest
from app.trial.request import check_client, check_dns, check_hosts, check_url

ORGANISATION = "Hecha trial"
SERVER, ISSUING, ROOT = "server", "issuing", "root"


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a certificate is to hold, where its authority's list is served, if that is to stand in it, whose key.

    `key`: the public key of a request or of the certificate before; without one a key is made here.
    """

    days: int = 90
    crl_url: str | None = None
    key: CertificatePublicKeyTypes | None = None


@dataclass(frozen=True, slots=True)
class TrialPki:
    """The trial PKI in a folder. Every method raises `PkiInvalid` and `KeyInvalid`; times are aware UTC."""

    folder: Path

    @classmethod
    def found(cls, folder: Path, now: datetime, crl_url: str | None = None) -> TrialPki:
        """Make both authorities in a new folder; `crl_url`: where the root's list will be served."""
        check_url(crl_url)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_folder(folder)
        with changing(folder):
            if any(path.name != LOCK for path in folder.iterdir()):
                raise PkiInvalid(f"{folder} is not empty: name a new folder")
            root = Authority.found("Hecha trial root", ORGANISATION, now)
            issuing = root.authority("Hecha trial issuing CA", now, crl_url)
            Issued(root.certificate, root.key).write(folder, ROOT)
            Issued(issuing.certificate, issuing.key).write(folder, ISSUING)
            write_whole(folder / "ca.pem", pem(root.certificate, issuing.certificate), PUBLIC)
            # Last: without it the folder holds no authority.
            trial_register.write(folder, Register((Entry.of(issuing.certificate, ISSUING, ROOT),)))
        pki = cls(folder)
        pki.write_lists(now)
        return pki

    def register(self) -> Register:
        """What was issued and revoked."""
        return trial_register.read(self.folder)

    def issue(self, client: str, dns: tuple[str, ...], now: datetime, terms: Terms) -> Entry:
        """Issue a client's first certificate, under these names."""
        check_client(client)
        check_dns(dns)
        with self._changing() as register:
            if any(entry.state(now) == "valid" for entry in register.of(client)):
                raise PkiInvalid(f"{client} holds a certificate already: `python -m app pki renew {client}`")
            for entry in register.entries:
                if entry.holder != client and entry.state(now) == "valid" and set(entry.names) & set(dns):
                    # A certificate with the names of two clients belongs to neither.
                    raise PkiInvalid(f"{entry.holder} holds a certificate of such a name: choose another")
            return self._issue(register, client, Leaf.client(client, dns, now), terms)

    def renew(self, client: str, now: datetime, terms: Terms) -> Entry:
        """Issue the next certificate under the same names.

        The one before stays valid: a node takes both, so that there is time to change over.
        """
        with self._changing() as register:
            before = self._renewable(register, client)
            if terms.key is None and not (self.folder / f"{client}.key").is_file():
                raise PkiInvalid(
                    f"the key of {client} was not made here: give --csr with its next one, or --same-key"
                )
            return self._issue(register, client, Leaf.client(client, before.names, now), terms)

    def public_key(self, client: str) -> CertificatePublicKeyTypes:
        """The public key of a client's present certificate."""
        before = self._renewable(self.register(), client)
        certificate = x509.load_pem_x509_certificate((self.folder / f"{client}.pem").read_bytes())
        if digest(certificate.public_key()) != before.key:
            raise PkiInvalid(f"{client}.pem is not the last certificate of {client}: renew it with a new key")
        return certificate.public_key()

    def server(self, names: tuple[str, ...], now: datetime, terms: Terms) -> Entry:
        """Issue the certificate of a node under its host names and addresses, with a new key."""
        check_hosts(names)
        with self._changing() as register:
            return self._issue(register, SERVER, Leaf.server(names, now), terms)

    def revoke(self, which: str, reason: str, now: datetime) -> list[Entry]:
        """Revoke the certificate of a serial number (hexadecimal), or all of a client, and write the lists anew."""
        with self._changing() as register:
            serial = which.replace(":", "").lower().lstrip("0")
            chosen = [entry for entry in register.entries if which == entry.holder or serial == f"{entry.serial:x}"]
            revoked = [entry for entry in chosen if entry.revoked_at is None]
            if not revoked:
                raise PkiInvalid(
                    f"{which}: "
                    + ("is revoked already" if chosen else "there is no such certificate")
                    + ": `python -m app pki list` shows what was issued"
                )
            serials = frozenset(entry.serial for entry in revoked)
            trial_register.write(self.folder, register.with_revoked(serials, reason, now))
        self.write_lists(now)
        return revoked

    def write_lists(self, now: datetime, days: int | None = None) -> int:
        """Write the lists of both authorities, good for `days` (as last time, unless given); their number."""
        with self._changing() as before:
            register = replace(before, list_number=before.list_number + 1, list_days=days or before.list_days)
            # The number first: none is ever given twice.
            trial_register.write(self.folder, register)
            lists = [self._list(register, name, now) for name in (ROOT, ISSUING)]
            for name, made in zip((ROOT, ISSUING), lists, strict=True):
                write_whole(self.folder / f"{name}.crl", made.public_bytes(Encoding.DER), PUBLIC)
            both = b"".join(made.public_bytes(Encoding.PEM) for made in lists)
            write_whole(self.folder / "crls.pem", both, PUBLIC)
            return register.list_number

    def _issue(self, register: Register, holder: str, asked: Leaf, terms: Terms) -> Entry:
        check_url(terms.crl_url)
        issuing, (own,) = self._authority(ISSUING), register.of(ISSUING)
        leaf = replace(asked, life=timedelta(days=terms.days), crl_url=terms.crl_url)
        if own.state(leaf.issued_at) != "valid" or leaf.issued_at + leaf.life > own.not_after:
            raise PkiInvalid("the issuing authority is revoked or ends before that: begin anew in another folder")
        private, public = None, terms.key
        if public is None:
            private = new_signing_key()
            public = private.public_key()
        certificate = issuing.issue(leaf, public)
        entry = Entry.of(certificate, holder, ISSUING)
        if any(other.key == entry.key and other.reason == COMPROMISED for other in register.entries):
            raise PkiInvalid("that key was revoked as compromised: make a new one")
        # INVARIANT: what leaves stands in the register, so that it can be revoked.
        trial_register.write(self.folder, register.with_entry(entry))
        self._place(entry, pem(certificate, *issuing.chain), private)
        return entry

    def _place(self, entry: Entry, certificates: bytes, key: ec.EllipticCurvePrivateKey | None) -> None:
        file = self.folder / f"{entry.holder}.key"
        if key is not None:
            write_whole(file, key_pem(key))
        elif file.is_file() and digest(read_signing_key(file).public_key()) != entry.key:
            file.unlink()  # the next key is with the department
        write_whole(self.folder / f"{entry.holder}.pem", certificates, PUBLIC)

    def _renewable(self, register: Register, client: str) -> Entry:
        check_client(client)
        before = next((entry for entry in register.of(client) if entry.revoked_at is None), None)
        if before is None:
            raise PkiInvalid(f"{client} holds no certificate to renew: `python -m app pki issue {client} --dns …`")
        return before

    def _authority(self, name: str) -> Authority:
        certificate = x509.load_pem_x509_certificate((self.folder / f"{name}.pem").read_bytes())
        return Authority(certificate, read_signing_key(self.folder / f"{name}.key"), (certificate,))

    def _list(self, register: Register, name: str, now: datetime) -> x509.CertificateRevocationList:
        revoked = (entry.revoked() for entry in register.entries if entry.issuer == name and entry.revoked_at)
        life = timedelta(days=register.list_days)
        return self._authority(name).revocation_list(revoked, register.list_number, now, life)

    @contextmanager
    def _changing(self) -> Iterator[Register]:
        """The register, with the folder held: two commands at once do not lose each other's entries."""
        trial_register.read(self.folder)  # says what to do where there is none, before a lock is made there
        check_folder(self.folder)
        with changing(self.folder):
            yield trial_register.read(self.folder)
