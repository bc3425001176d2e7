"""What a trial authority has issued and revoked: `index.json` in its folder, replaced in one step.

An entry is written before its certificate leaves: there is none that cannot be revoked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.keys.key_files import read_private, write_whole

INDEX = "index.json"
# SPEC: RFC 5280 §5.3.1, those that a person may give; certificateHold is none, since nothing here is taken back.
REASONS = {
    flag.value: flag
    for flag in (
        x509.ReasonFlags.unspecified,
        x509.ReasonFlags.key_compromise,
        x509.ReasonFlags.affiliation_changed,
        x509.ReasonFlags.superseded,
        x509.ReasonFlags.cessation_of_operation,
        x509.ReasonFlags.privilege_withdrawn,
    )
}
COMPROMISED = x509.ReasonFlags.key_compromise.value


class PkiInvalid(Exception):
    """A trial authority is asked for something that it cannot or must not do; the text says what to do next."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate: serial number, holder and names, its authority, its key's digest, its times, its end."""

    serial: int
    holder: str
    issuer: str
    names: tuple[str, ...]
    key: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None
    reason: str | None = None

    @classmethod
    def of(cls, certificate: x509.Certificate, holder: str, issuer: str) -> Entry:
        """The entry of a certificate that was just issued."""
        try:
            san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            san = x509.SubjectAlternativeName([])
        return cls(
            serial=certificate.serial_number,
            holder=holder,
            issuer=issuer,
            names=tuple(str(name.value) for name in san),
            key=digest(certificate.public_key()),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )

    def state(self, now: datetime) -> str:
        """`valid`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if now <= self.not_after else "expired"

    def revoked(self) -> x509.RevokedCertificate:
        """What the list says of a certificate that is revoked."""
        builder = x509.RevokedCertificateBuilder().serial_number(self.serial)
        builder = builder.revocation_date(self.revoked_at or self.not_before)
        flag = REASONS[self.reason or "unspecified"]
        # SPEC: RFC 5280 §5.3.1: "unspecified" is said by saying nothing.
        if flag is not x509.ReasonFlags.unspecified:
            builder = builder.add_extension(x509.CRLReason(flag), critical=False)
        return builder.build()


@dataclass(frozen=True, slots=True)
class Register:
    """Every certificate that was issued, oldest first; the number of the last revocation lists, and their life."""

    entries: tuple[Entry, ...] = ()
    list_number: int = 0
    list_days: int = 7

    def of(self, holder: str) -> Iterator[Entry]:
        """What was issued to one holder, newest first."""
        return (entry for entry in reversed(self.entries) if entry.holder == holder)

    def with_entry(self, entry: Entry) -> Register:
        """The register with one more certificate."""
        return replace(self, entries=(*self.entries, entry))

    def with_revoked(self, serials: frozenset[int], reason: str, now: datetime) -> Register:
        """The register in which these certificates are revoked."""
        entries = (
            replace(entry, revoked_at=now, reason=reason) if entry.serial in serials else entry
            for entry in self.entries
        )
        return replace(self, entries=tuple(entries))


def digest(key: CertificatePublicKeyTypes) -> str:
    """The digest that a public key is pinned by at a node: `sha256-` and that of its SubjectPublicKeyInfo."""
    return f"sha256-{sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()}"


def read(folder: Path) -> Register:
    """The register of a folder. Raises `PkiInvalid` and `KeyInvalid`."""
    if not (folder / INDEX).is_file():
        raise PkiInvalid(f"{folder} holds no trial authority: `python -m app pki init --dir {folder}` makes one")
    try:
        document = orjson.loads(read_private(folder / INDEX))
        entries = tuple(_entry(member) for member in document["certificates"])
        return Register(entries, int(document["list_number"]), int(document["list_days"]))
    except (ValueError, KeyError, TypeError):
        raise PkiInvalid(f"{folder / INDEX} cannot be read: restore it, or begin anew in another folder") from None


def write(folder: Path, register: Register) -> None:
    """Replace the register of a folder, durably, in one step."""
    document = {
        "list_number": register.list_number,
        "list_days": register.list_days,
        "certificates": [_document(entry) for entry in register.entries],
    }
    write_whole(folder / INDEX, orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def _document(entry: Entry) -> dict[str, Any]:
    return {
        "serial": f"{entry.serial:x}",
        "holder": entry.holder,
        "issuer": entry.issuer,
        "names": list(entry.names),
        "key": entry.key,
        "not_before": entry.not_before.isoformat(),
        "not_after": entry.not_after.isoformat(),
        "revoked_at": entry.revoked_at and entry.revoked_at.isoformat(),
        "reason": entry.reason,
    }


def _entry(member: dict[str, Any]) -> Entry:
    times = {
        name: datetime.fromisoformat(member[name]).astimezone(UTC) if member[name] else None
        for name in ("not_before", "not_after", "revoked_at")
    }
    return Entry(**{**member, **times, "serial": int(member["serial"], 16), "names": tuple(member["names"])})
