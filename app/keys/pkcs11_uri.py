"""RFC 7512: the URI that names a key of a hardware module, in the narrow form that this node reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from app.keys.key_files import KeyInvalid

FORM = "pkcs11:token=…;object=…?module-path=/…&pin-source=file:/…"
_ATTRIBUTES = frozenset({"token", "object", "id", "type", "module-path", "pin-source"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key is: the module's file, the token's label, the PIN's file, and the key's label, its id, or both."""

    module: Path
    token: str
    pin: Path
    label: str | None = None
    id: bytes | None = None


def read_uri(line: str) -> Place:
    """What a PKCS#11 URI says. Raises `KeyInvalid` for anything that is not understood, and for a PIN in it."""
    found = re.fullmatch(r"pkcs11:([^?]*)\?([^?]*)", line)
    if found is None:
        raise KeyInvalid(f"not of the form {FORM}")
    said: dict[str, str] = {}
    for part in [*found[1].split(";"), *found[2].split("&")]:
        name, equals, value = part.partition("=")
        if name == "pin-value":
            # A URI ends up in backups and tickets; a PIN must not.
            raise KeyInvalid("the PIN must not stand in the URI: put it in a file and name that, pin-source=file:/…")
        if name not in _ATTRIBUTES or not equals or not value or name in said:
            raise KeyInvalid(f"{name or 'an empty part'} is not understood, empty or there twice: {FORM}")
        said[name] = value
    try:
        return _place(said)
    except UnicodeDecodeError:
        raise KeyInvalid(f"not UTF-8: {FORM}") from None


def _place(said: dict[str, str]) -> Place:
    if not {"token", "module-path", "pin-source"} <= said.keys() or not {"object", "id"} & said.keys():
        raise KeyInvalid(f"token, object (or id), module-path and pin-source are needed: {FORM}")
    if said.get("type", "private") != "private":
        raise KeyInvalid("type must be private")
    text = {name: unquote(value, errors="strict") for name, value in said.items() if name != "id"}
    pin = re.fullmatch(r"file:(?://)?(/[^/].*)", text["pin-source"])
    if not text["module-path"].startswith("/") or pin is None:
        raise KeyInvalid("module-path must be an absolute path and pin-source a file:/ of one")
    return Place(
        module=Path(text["module-path"]),
        token=text["token"],
        pin=Path(pin[1]),
        label=text.get("object"),
        id=unquote_to_bytes(said["id"]) if "id" in said else None,
    )
