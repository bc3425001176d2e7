"""What a request's signature says of itself (RFC 9421 §4): read, bounded, and held against what a node demands.

A signature is ours by its parameter `tag="hecha"`, whatever its label; others are left alone. Of ours there may be
one only. It covers at least `evidence.signed_request.COMPONENTS`, all by plain names: parameters on components are
ways to sign less than it seems. Nothing is verified here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import http_sf

from app.identity.certificate import CHALLENGE
from app.refusals import Refusal
from evidence.signed_request import AGE, AHEAD, COMPONENTS, TAG

MAX_FIELD = 4_096  # characters of Signature-Input and of Signature
# Printable, and at least as long as 96 random bits in base64.
NONCE = re.compile(r"[\x20-\x7e]{16,128}")
# Derived components of a request (RFC 9421 §2.2) that take no parameter.
_DERIVED = frozenset(("@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query"))
_PARAMETERS: Mapping[str, type] = {
    "alg": str,
    "created": int,
    "expires": int,
    "keyid": str,
    "nonce": str,
    "tag": str,
}
_REQUIRED = ("created", "keyid", "nonce")


class SignatureInvalid(Refusal):
    """The `signature-invalid` refusal with its challenge."""

    def __init__(self, detail: str) -> None:
        super().__init__("signature-invalid", detail, headers=dict(CHALLENGE))


@dataclass(frozen=True, slots=True)
class Message:
    """The head of a request as it came: method, target (path and query, undecoded), and fields by lower-case name."""

    method: str
    target: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Given:
    """The one signature that a request bears for a node: its member of Signature-Input, parameters, and bytes.

    `input` is written as it is signed (§2.3), whatever spelling it came in.
    """

    input: str
    parameters: Mapping[str, Any]
    signature: bytes

    def check_times(self, now: datetime) -> None:
        """Hold `created` and `expires` against the clock. Raises `SignatureInvalid`."""
        created, expires, seconds = self.parameters["created"], self.parameters.get("expires"), now.timestamp()
        if seconds - created > AGE.total_seconds():
            raise SignatureInvalid(
                f"The signature is older than {int(AGE.total_seconds())} s: sign each request anew."
            )
        if created - seconds > AHEAD.total_seconds():
            raise SignatureInvalid("The signature is from the future: check the clocks.")
        if expires is not None and expires <= seconds:
            raise SignatureInvalid("The signature has expired: sign each request anew.")


def given(message: Message) -> Given | None:
    """The signature of a request that is tagged as one for a node, or None. Raises `SignatureInvalid`."""
    inputs = _dictionary(message, "signature-input")
    tagged = [label for label, member in inputs.items() if member[1].get("tag") == TAG]
    if not tagged:
        return None
    if len(tagged) > 1:
        raise SignatureInvalid(f'Several signatures have tag="{TAG}": send one.')
    if not message.target.startswith("/"):
        # Another form would put a host of its own into the target URI.
        raise SignatureInvalid("A signed request names its target by the path alone (RFC 9112 §3.2.1).")
    (label,) = tagged
    signature = _dictionary(message, "signature").get(label, (None, {}))[0]
    if not isinstance(signature, bytes):
        raise SignatureInvalid("Signature has no byte sequence under the label that Signature-Input gives.")
    components, parameters = inputs[label]
    _check_components(components)
    _check_parameters(parameters)
    text: str = http_sf.ser({TAG: (components, parameters)})
    return Given(text.removeprefix(f"{TAG}="), parameters, signature)


def _dictionary(message: Message, name: str) -> dict[str, Any]:
    """A field as a dictionary (RFC 8941 §3.2), no label twice. Raises `SignatureInvalid`."""

    def refuse(_key: str, context: str) -> None:
        # A parameter that stands twice has its last value, for whoever signs and whoever verifies.
        if context == "dictionary":
            raise ValueError

    text = message.fields.get(name, "")
    if len(text) > MAX_FIELD:
        raise SignatureInvalid(f"Signature-Input and Signature have at most {MAX_FIELD} characters each.")
    try:
        found = http_sf.parse(text.encode("ascii"), tltype="dictionary", on_duplicate_key=refuse)
    except (ValueError, OverflowError):
        raise SignatureInvalid("Signature-Input and Signature are dictionaries of structured fields.") from None
    return cast("dict[str, Any]", found)


def _check_components(components: Any) -> None:
    if not isinstance(components, list) or not all(_is_plain(*item) for item in components):
        raise SignatureInvalid("A signature covers a list of components by their plain names, without parameters.")
    covered = {name for name, _ in components}
    if missing := [name for name in COMPONENTS if name not in covered]:
        raise SignatureInvalid(f"The signature must cover {', '.join(missing)} too.")


def _is_plain(name: object, parameters: Mapping[str, Any]) -> bool:
    """Whether a component is covered as a whole, by a name that a request has."""
    return isinstance(name, str) and not parameters and (name in _DERIVED or not name.startswith("@"))


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    """Every parameter is known and of its type (§2.3), and those that a node needs are there."""
    if not all(type(value) is _PARAMETERS.get(name) for name, value in parameters.items()):
        raise SignatureInvalid(f"A signature has the parameters {', '.join(_PARAMETERS)}, of the types of RFC 9421.")
    if missing := [name for name in _REQUIRED if name not in parameters]:
        raise SignatureInvalid(f"The signature needs its parameter {', '.join(missing)}.")
    if not NONCE.fullmatch(parameters["nonce"]):
        raise SignatureInvalid("A nonce has 16 to 128 characters.")
