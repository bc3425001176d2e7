"""Documents that a record names: what is there under the right digest and still is none of its kind is flawed too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from app.log.storage import Store, archive
from app.recorded import Documents, Flawed, Recorded
from app.replay import Outcome, replay
from app.steps import digest_of
from policies.decision import RuleSet
from policies.packaged import packaged_rules, packaged_schema

FACTS = (
    b'{"address":"127.0.0.1","at":"2026-11-22T10:00:00.000Z","attributes":[],"case_agreed":true,"client":"c",'
    b'"client_suspended":false,"department":"d","department_restricted":false,"operator_agreed":true,"provider":"p",'
    b'"provider_suspended":false,"purpose":null,"rows":0,"service":"s","service_level":"overall","service_masks":[],'
    b'"sharing":"conditional","terms":null,"withheld_basis":null}'
)


@pytest.fixture
def documents(store: Store) -> Iterator[Documents]:
    with store.reading() as connection:
        yield Documents(connection)


def kept(store: Store, content: bytes) -> str:
    with store.writing() as connection:
        return archive(connection, "any", content)


def recorded(store: Store, **members: Any) -> Recorded:
    """A question that was denied for want of terms; `members` replace those of its record."""
    rules = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)
    kept(store, rules.archive())
    record = {"decision": "deny", "rules": ["no-terms"], "policy": rules.digest, "facts": digest_of(FACTS)}
    return Recorded(
        id="x", index=0, at_ms=0, record=record | members, facts=FACTS, case=None, operator=None, unaltered=True
    )


def test_denial_without_terms_or_contract_replays_equal(store: Store, documents: Documents) -> None:
    assert replay(recorded(store), documents).outcome is Outcome.EQUAL


def test_decision_of_other_rules_is_different(store: Store, documents: Documents) -> None:
    found = replay(recorded(store, rules=["no-terms", "department-restricted"]), documents)
    assert (found.outcome, found.flaws) == (Outcome.DIFFERENT, ())


def test_permit_that_the_rules_deny_is_different(store: Store, documents: Documents) -> None:
    assert replay(recorded(store, decision="permit"), documents).outcome is Outcome.DIFFERENT


def test_archived_bytes_that_are_no_rule_set_are_flawed(store: Store, documents: Documents) -> None:
    digest = kept(store, b"{}")
    with pytest.raises(Flawed, match=r"the rule set sha256-.* cannot be read: archive, line 1"):
        documents.rules({"policy": digest.removeprefix("sha256-")})


@pytest.mark.parametrize("content", [b"{}", b"[]", b"", b'{"service":1}'])
def test_archived_bytes_that_are_no_agreement_are_flawed(store: Store, documents: Documents, content: bytes) -> None:
    digest = kept(store, content)
    with pytest.raises(Flawed, match=f"the agreement {digest} cannot be read: "):
        documents.agreement(digest, "active", signed=True)


@pytest.mark.parametrize("facts", [b"", b"[]", b"{}", b"null", FACTS.replace(b'"rows":0', b'"rows":-1')])
def test_bytes_that_are_no_facts_are_flawed(store: Store, documents: Documents, facts: bytes) -> None:
    found = replay(dataclasses.replace(recorded(store, facts=digest_of(facts)), facts=facts), documents)
    assert (found.outcome, found.again) == (Outcome.FLAWED, None)
    assert found.flaws[0].startswith("the facts of this decision cannot be read: ")


def test_record_that_names_an_agreement_which_its_facts_do_not_is_flawed(store: Store, documents: Documents) -> None:
    found = replay(recorded(store, agreement="sha256-" + "0" * 64), documents)
    assert found.outcome is Outcome.FLAWED
    assert found.flaws == ("the record and the facts of this decision name different agreements",)
