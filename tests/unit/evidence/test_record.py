from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.canonical import NotCanonical, canonical
from evidence.errors import RecordNotVerified
from evidence.record import (
    COMMITTED,
    MAX_BODY,
    MEMBERS,
    check_record,
    commitment,
    field_salt,
    open_commitment,
    parse_record,
    seal,
)

MASTER = bytes(range(32))
MEMBERS_OF_AN_ANSWER: dict[str, Any] = {
    "kind": "question",
    "id": "0192f0c1-7c5e-7b51-9a3e-2f1d8a6b4c01",
    "at": "2026-03-05T01:02:03.456Z",
    "consumer": "hz-hrss",
    "client": "hz-hrss-benefits",
    "certificate": "A" * 43,
    "provider": "hz-tax",
    "service": "employment-status",
    "purpose": "unemployment-benefit",
    "decision": "permit",
    "limit": "none",
    "state": "answered",
    "rules": ["conditional-agreement"],
    "policy": "sha-256:aa",
    "agreement": "sha-256:bb",
    "contract": "sha-256:cc",
    "as_of": "2026-03-04",
    "facts": "B" * 43,
}
MEMBERS_OF_A_STEP: dict[str, Any] = {
    "kind": "agreement",
    "id": "0192f0c1-7c5e-7b51-9a3e-2f1d8a6b4c02",
    "at": "2026-03-05T01:02:03.456Z",
    "consumer": "hz-hrss",
    "provider": "hz-tax",
    "service": "employment-status",
    "department": "hz-tax",
    "client": "hz-tax-steward",
    "certificate": "A" * 43,
    "state": "suspended",
    "about": "hz-hrss-employment-status",
    "agreement": "sha-256:bb",
    "document": "sha-256:dd",
}
MEMBERS_OF_A_REVISION: dict[str, Any] = {
    "kind": "revision",
    "id": "0192f0c1-7c5e-7b51-9a3e-2f1d8a6b4c03",
    "at": "2026-03-05T01:02:03.456Z",
    "state": "in-force",
    "about": "hz",
    "revision": 7,
    "directory": "sha-256:ee",
    "document": "sha-256:ff",
    "policy": "sha-256:aa",
}
SECRETS: dict[str, Any] = {
    "subject": {"id_number": "000000199001010012"},
    "question": {"purpose": "unemployment-benefit", "case": "SY-2026-0001"},
    "declared": {"employed_on": "2026-03-01"},
    "result": {"result": "no_match"},
    "true_result": {"result": "not_found"},
    "case": "SY-2026-0001",
    "operator": "op-17",
    "signature": {"keyid": "C" * 43, "input": "()", "signature": "AA", "base": "D" * 43},
}
BODY = seal(MEMBERS_OF_AN_ANSWER, SECRETS, MASTER).body


def altered(**changes: Any) -> bytes:
    """The answer's body with members changed; None takes a member away."""
    record = {**json.loads(BODY), **changes}
    return canonical({name: value for name, value in record.items() if value is not None})


def test_record_without_secrets_commits_to_nothing() -> None:
    sealed = seal({"kind": "token", "id": "x" * 16, "at": "2026-03-05T01:02:03Z"}, {}, MASTER)
    assert sealed.openings == {}
    assert parse_record(sealed.body)["commitments"] == {}


def test_commitment_is_hmac_under_a_salt_derived_from_the_master() -> None:
    salt = hmac.new(MASTER, b"hecha/salt/v1/case", hashlib.sha256).digest()
    made = hmac.new(salt, b"case\x00" + b'"SY-2026-0001"', hashlib.sha256).digest()
    assert field_salt(MASTER, "case") == salt
    assert commitment(salt, "case", "SY-2026-0001") == urlsafe_b64encode(made).rstrip(b"=").decode()


def test_body_is_the_canonical_form_of_version_members_and_commitments() -> None:
    sealed = seal(MEMBERS_OF_AN_ANSWER, SECRETS, MASTER)
    commitments = {f: commitment(field_salt(MASTER, f), f, SECRETS[f]) for f in COMMITTED}
    assert sealed.body == canonical({"v": 1, **MEMBERS_OF_AN_ANSWER, "commitments": commitments})
    assert parse_record(sealed.body) == json.loads(sealed.body)


def test_every_opening_opens_its_own_field_and_no_other() -> None:
    sealed = seal(MEMBERS_OF_AN_ANSWER, dict.fromkeys(COMMITTED, "one value"), MASTER)
    record = parse_record(sealed.body)
    for field in COMMITTED:
        for opening in COMMITTED:
            opens = open_commitment(record, field, sealed.openings[opening], "one value")
            assert opens == (field == opening)


def test_equal_values_of_two_records_have_unlike_commitments() -> None:
    other = seal(MEMBERS_OF_AN_ANSWER, SECRETS, bytes(32))
    assert not set(json.loads(BODY)["commitments"].values()) & set(json.loads(other.body)["commitments"].values())


def test_no_secret_stands_in_the_body() -> None:
    for text in ("000000199001010012", "SY-2026-0001", "op-17", "not_found", "2026-03-01"):
        assert text.encode() not in BODY
        assert hashlib.sha256(text.encode()).hexdigest().encode() not in BODY


@given(st.integers(0, 255), st.sampled_from(COMMITTED))
def test_one_flipped_bit_of_an_opening_opens_nothing(bit: int, field: str) -> None:
    sealed = seal(MEMBERS_OF_AN_ANSWER, SECRETS, MASTER)
    salt = bytearray(urlsafe_b64decode(sealed.openings[field] + "="))
    salt[bit // 8] ^= 1 << bit % 8
    wrong = urlsafe_b64encode(salt).rstrip(b"=").decode()
    record = parse_record(sealed.body)
    assert open_commitment(record, field, sealed.openings[field], SECRETS[field])
    assert not open_commitment(record, field, wrong, SECRETS[field])


@pytest.mark.parametrize("salt", ["", "=", "not base64!", "A" * 42, "A" * 44, "\ud800"])
def test_malformed_opening_opens_nothing_and_raises_nothing(salt: str) -> None:
    assert not open_commitment(parse_record(BODY), "case", salt, SECRETS["case"])


def test_value_without_canonical_form_opens_nothing() -> None:
    salt = seal(MEMBERS_OF_AN_ANSWER, SECRETS, MASTER).openings["case"]
    assert not open_commitment(parse_record(BODY), "case", salt, 1.5)  # type: ignore[arg-type]


def test_commitment_that_is_absent_or_unknown_opens_nothing() -> None:
    salt = seal(MEMBERS_OF_AN_ANSWER, SECRETS, MASTER).openings["case"]
    assert not open_commitment({}, "case", salt, SECRETS["case"])
    assert not open_commitment({"commitments": {"case": 7}}, "case", salt, SECRETS["case"])
    assert not open_commitment({"commitments": {"case": "é" * 43}}, "case", salt, SECRETS["case"])
    assert not open_commitment({"commitments": {"colour": "A" * 43}}, "colour", salt, SECRETS["case"])


@pytest.mark.parametrize(
    ("members", "secrets", "master", "says"),
    [
        ({}, {}, MASTER, "kind"),
        ({"kind": "batch"}, {}, MASTER, "kind"),
        ({"kind": "token", "v": 1}, {}, MASTER, "own members"),
        ({"kind": "token", "commitments": {}}, {}, MASTER, "own members"),
        ({"kind": "token"}, {"id_number": "x"}, MASTER, "committed field"),
        ({"kind": "token"}, {"case": "x"}, b"short", "32 bytes"),
        ({"kind": "token", "note": "x" * MAX_BODY}, {}, MASTER, "does not fit"),
    ],
    ids=["no kind", "unknown kind", "v", "commitments", "other secret", "short master", "too large"],
)
def test_record_that_would_not_verify_is_never_sealed(
    members: dict[str, Any], secrets: dict[str, Any], master: bytes, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        seal(members, secrets, master)


def test_float_is_sealed_neither_as_member_nor_as_secret() -> None:
    with pytest.raises(NotCanonical):
        seal({"kind": "token", "price": 1.5}, {}, MASTER)  # type: ignore[dict-item]
    with pytest.raises(NotCanonical):
        seal({"kind": "token"}, {"declared": {"price": 1.5}}, MASTER)  # type: ignore[dict-item]


def test_largest_body_that_fits_a_bundle_is_sealed() -> None:
    empty = len(seal({"kind": "token", "note": ""}, {}, MASTER).body)
    assert len(seal({"kind": "token", "note": "x" * (MAX_BODY - empty)}, {}, MASTER).body) == MAX_BODY


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"not json",
        BODY + b"\n",
        BODY.replace(b'"v":1', b'"v": 1'),
        b'{"commitments":{},"v":1}',
        b" " * (MAX_BODY + 1),
        altered(v=2),
        altered(v=True),
        altered(v="1"),
        altered(kind="batch"),
        altered(kind=["question"]),
        altered(id=None),
        altered(at=None),
        altered(state=None),
        altered(commitments=None),
        altered(commitments=[]),
        altered(commitments={"colour": "A" * 43}),
        altered(commitments={"result": "A" * 42}),
        altered(commitments={"result": 1}),
        altered(decision=None),
        altered(decision="deny"),
        altered(limit="budget"),
        altered(commitments={}),
    ],
)
def test_bytes_that_are_no_record_are_refused(body: bytes) -> None:
    with pytest.raises(RecordNotVerified):
        parse_record(body)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("id", "short"),
        ("id", "a b" * 8),
        ("at", "2026-03-05T01:02:03+08:00"),
        ("at", "2026-03-05"),
        ("at", "２026-03-05T01:02:03Z"),
        ("decision", "maybe"),
        ("limit", ""),
        ("state", "Answered"),
        ("rules", "one"),
        ("rules", [1]),
        ("service", ""),
        ("service", "x" * 257),
        ("policy", 7),
    ],
)
def test_member_of_a_wrong_form_is_refused(member: str, value: Any) -> None:
    with pytest.raises(RecordNotVerified, match=member):
        parse_record(altered(**{member: value}))


def test_member_that_a_later_node_adds_is_carried() -> None:
    assert parse_record(altered(witness="hz-notary"))["witness"] == "hz-notary"


def test_every_listed_member_occurs_in_some_record() -> None:
    assert set(MEMBERS) == {*MEMBERS_OF_AN_ANSWER, *MEMBERS_OF_A_STEP, *MEMBERS_OF_A_REVISION}


@pytest.mark.parametrize("members", [MEMBERS_OF_A_STEP, MEMBERS_OF_A_REVISION], ids=["step", "revision"])
def test_step_is_a_record_that_commits_to_nothing(members: dict[str, Any]) -> None:
    record = parse_record(seal(members, {}, MASTER).body)
    assert record == {"v": 1, **members, "commitments": {}}


@pytest.mark.parametrize("member", ["about", "document", "state"])
def test_step_that_does_not_say_what_it_was_is_refused(member: str) -> None:
    lacking = {name: value for name, value in MEMBERS_OF_A_STEP.items() if name != member}
    with pytest.raises(RecordNotVerified, match=member):
        parse_record(seal(lacking, {}, MASTER).body)


@pytest.mark.parametrize("number", [0, -1, True, "7", 1.0])
def test_revision_is_a_number_from_one(number: Any) -> None:
    record = {**json.loads(seal(MEMBERS_OF_A_REVISION, {}, MASTER).body), "revision": number}
    with pytest.raises(RecordNotVerified):
        check_record(record)


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": "deny", "state": "not-permitted"},
        {"limit": "budget", "state": "budget-exhausted"},
        {"state": "source-unavailable", "as_of": None, "contract": None},
        {"decision": None, "limit": None, "state": "invalid-request"},
    ],
    ids=["denied", "stopped by the budget", "source failed", "never decided"],
)
def test_refusal_limit_and_failure_are_records_of_their_own(changes: dict[str, Any]) -> None:
    assert parse_record(altered(**changes, commitments={}))["state"] == changes["state"]
