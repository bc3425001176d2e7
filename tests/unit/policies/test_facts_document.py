"""A question whose facts were kept as a document is decided as it was on the day."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.decision import RuleSet
from policies.facts_document import document_bytes, from_document, to_document
from policies.packaged import packaged_rules, packaged_schema
from tests.unit.policies.test_laws import questions

if TYPE_CHECKING:
    from policies.facts import Facts, Terms

RULES = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)


def test_document_says_what_the_decision_rests_on(asked: Facts) -> None:
    assert to_document(replace(asked, rows=7, withheld_basis="某法 第一条")) == {
        "address": "10.8.3.4",
        "at": "2026-06-02T02:00:00Z",
        "attributes": ["employed_on"],
        "case_agreed": True,
        "client": "hz-hrss-benefits",
        "client_suspended": False,
        "department": "hz-hrss",
        "department_restricted": False,
        "operator_agreed": True,
        "provider": "hz-tax",
        "provider_suspended": False,
        "purpose": "unemployment-benefit",
        "rows": 7,
        "service": "employment-status",
        "service_level": "per_attribute",
        "service_masks": ["employer", "wage"],
        "sharing": "conditional",
        "signed_request": False,
        "terms": {"digest": "5d" * 32, "state": "active", "signed": True},
        "withheld_basis": "某法 第一条",
    }


def test_document_has_every_fact(asked: Facts) -> None:
    assert to_document(asked).keys() == {field.name for field in fields(asked)}


def test_purpose_that_is_not_known_stays_out(asked: Facts) -> None:
    told = replace(asked, purpose="for the neighbour of Zhang San")
    assert to_document(told)["purpose"] is None
    assert b"Zhang" not in document_bytes(told)
    assert to_document(replace(told, terms=None))["purpose"] is None
    assert to_document(told, known_purpose=True)["purpose"] == told.purpose
    assert b"Zhang" in document_bytes(told, known_purpose=True)
    assert b"Zhang" not in document_bytes(told)
    assert from_document(to_document(told), archive(told)).purpose == ""


def test_question_without_terms_has_none_in_its_document(asked: Facts) -> None:
    bare = replace(asked, terms=None)
    assert to_document(bare)["terms"] is None
    assert from_document(to_document(bare, known_purpose=True), nothing) == bare


def test_only_the_time_is_written_anew(asked: Facts) -> None:
    for later in range(3):
        facts = replace(asked, at=(asked.at + timedelta(seconds=later, microseconds=7)).astimezone(UTC))
        assert json.loads(document_bytes(facts))["at"] == f"2026-06-02T02:00:0{later}Z"


@pytest.mark.parametrize("address", ["", '"at":"', '","at":"1970-01-01T00:00:00Z"', "1970-01-01T00:00:00Z\n\x1f"])
def test_hostile_address_cannot_displace_the_time(asked: Facts, address: str) -> None:
    facts = replace(asked, address=address)
    document: Any = to_document(facts)
    assert document_bytes(facts) == rfc8785.dumps(document)


@settings(deadline=None)
@given(questions(), st.booleans())
def test_facts_from_their_document_are_decided_alike(facts: Facts, known: bool) -> None:  # noqa: FBT001
    told = document_bytes(facts, known_purpose=known)
    document: Any = to_document(facts, known_purpose=known)
    assert told == rfc8785.dumps(document) == document_bytes(replace(facts), known_purpose=known)
    again = from_document(json.loads(told), archive(facts))
    assert RULES.decide(again) == RULES.decide(facts)
    if to_document(facts, known_purpose=known)["purpose"] is not None:
        assert again == replace(facts, at=facts.at.replace(microsecond=0))


# What is put in place of a member (or ... to take it away), and what must be said about it.
FLAWS: dict[str, tuple[str, Any, str]] = {
    "a member less": ("rows", ..., "other members: rows"),
    "a member more": ("case", "A-1", "other members: case"),
    "two members less": ("several", ..., "^facts have other members: case_agreed, rows$"),
    "a text that is none": ("client", 3, "client is not of the type"),
    "a flag that is a number": ("case_agreed", 1, "case_agreed is not of the type"),
    "a number that is a flag": ("rows", True, "rows is not of the type"),
    "a text in place of names": ("attributes", "employed_on", "attributes is not of the type"),
    "a name that is none": ("attributes", [3], "^attributes is a list of names$"),
    "a mask that is none": ("service_masks", ["employer", None], "service_masks is a list of names"),
    "a signature that is a number": ("signed_request", 1, "signed_request is not of the type"),
    "terms in full": ("terms", {"digest": "5d", "state": "active"}, "other members: signed"),
    "terms that are a text": ("terms", "5d", "terms is not of the type"),
    "terms signed by a text": ("terms", {"digest": "5d", "state": "active", "signed": "yes"}, "signed is not"),
    "no time": ("at", "yesterday", "yesterday"),
    "a time without a zone": ("at", "2026-06-02T02:00:00", "aware"),
    "a level that is none": ("service_level", "all", "level of disclosure"),
    "fewer than no rows": ("rows", -1, "rows"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_is_no_document_of_facts_is_refused(asked: Facts, agreement: Terms, flaw: str) -> None:
    member, value, said = FLAWS[flaw]
    document = to_document(asked) | {member: value}
    if value is ...:
        for name in ("case_agreed", "rows") if member == "several" else (member,):
            del document[name]
        document.pop("several", None)
    with pytest.raises(ValueError, match=said):
        from_document(document, lambda *_: agreement)


def before_signatures() -> RuleSet:
    """The packaged rules as they were archived before a question could be signed."""
    rules, schema = packaged_rules(), packaged_schema()
    kept = {
        name: "".join(
            part for part in re.split(r"(?=^@id)", text, flags=re.MULTILINE) if "signature-required" not in part
        )
        for name, text in rules.items()
    }
    older = re.sub(r"^  (signed_request|request_signature): Bool,\n", "", schema, flags=re.MULTILINE)
    assert kept != rules
    assert older != schema
    return RuleSet.from_texts(kept, older, 1)


BEFORE = before_signatures()


@settings(deadline=None)
@given(questions())
def test_document_of_before_there_were_signatures_is_decided_alike(facts: Facts) -> None:
    """Facts, rules and schema of that day, read by the program of today."""
    unsigned = replace(
        facts,
        signed_request=False,
        terms=facts.terms and replace(facts.terms, request_signature=False),
    )
    document = to_document(unsigned, known_purpose=True)
    del document["signed_request"]
    again = from_document(document, archive(unsigned))
    assert again == replace(unsigned, at=facts.at.replace(microsecond=0))
    of_the_day, today = BEFORE.decide(again), RULES.decide(again)
    assert [rule.id for rule in of_the_day.rules] == [rule.id for rule in today.rules]
    assert (of_the_day.permitted, of_the_day.errors) == (today.permitted, False)


def test_terms_that_are_not_archived_are_missed_by_their_digest(asked: Facts) -> None:
    with pytest.raises(ValueError, match="no terms are archived under 5d5d"):
        from_document(to_document(asked), nothing)


def test_terms_are_looked_up_in_the_state_of_the_day(asked: Facts, agreement: Terms) -> None:
    looked_up: list[tuple[str, str, bool]] = []

    def terms_of(digest: str, state: str, signed: bool) -> Terms:  # noqa: FBT001 — the contract's own form
        looked_up.append((digest, state, signed))
        return replace(agreement, state=state, signed=signed)

    revoked = replace(asked, terms=replace(agreement, state="revoked", signed=False))
    assert from_document(to_document(revoked), terms_of) == revoked
    assert looked_up == [("5d" * 32, "revoked", False)]


def nothing(_digest: str, _state: str, _signed: bool) -> None:  # noqa: FBT001 — the contract's own form
    return None


def archive(facts: Facts) -> Any:
    return lambda *named: facts.terms if facts.terms and terms_named(facts.terms) == named else None


def terms_named(terms: Terms) -> tuple[str, str, bool]:
    return terms.digest, terms.state, terms.signed


def again(facts: Facts) -> Facts:
    return from_document(json.loads(document_bytes(facts)), archive(facts))
