"""What tests of revocation stand on: a root, an issuing authority and two clients, and what a check says of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path as File
from typing import TypeAlias

from app.refusals import Refusal
from app.trust.authorities import Authorities, Path
from app.trust.revocation import RevocationLists
from tests.unit.app.trust.pki import DAY, NOW, Holder, below, leaf, revocation_list, root

ROOT = root()
ISSUING = below(ROOT)
CLIENT = leaf(ISSUING)
OTHER = leaf(ISSUING, "other")
HERE = "http://ca.example/1.crl"
HOUR = timedelta(hours=1)
GRACE_S = 3_600

Make: TypeAlias = "Callable[..., RevocationLists]"


def authorities_of(folder: File, *holders: Holder) -> Authorities:
    file = folder / "authorities.pem"
    file.write_bytes(b"".join(holder.pem for holder in holders))
    return Authorities(file)


def root_list(folder: File) -> File:
    return write(folder, "root.crl", revocation_list(ROOT, life=(NOW - DAY, NOW + 400 * DAY)))


def write(folder: File, name: str, *contents: bytes) -> File:
    path = folder / name
    path.write_bytes(b"".join(contents))
    return path


def path_of(client: Holder = CLIENT) -> Path:
    """The path of a client as the authorities validate it."""
    certificates = (client.certificate, *(holder.certificate for holder in client.above))
    return Path(certificates, NOW - DAY, NOW + 30 * DAY)


def look_again(lists: RevocationLists) -> None:
    """Let the next check look at files, and at what waits, as if a second had passed."""
    lists._settled_at = float("-inf")
    for file in lists._files:
        file._looked_at = float("-inf")


def answer(lists: RevocationLists, client: Holder | Path = CLIENT, now: datetime = NOW) -> str:
    """What a check says: `good`, or the slug of its refusal."""
    try:
        lists.check(client if isinstance(client, Path) else path_of(client), now)
    except Refusal as refusal:
        return refusal.slug
    return "good"
