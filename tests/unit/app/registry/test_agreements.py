"""What the node holds: which terms apply, whether both sides accepted them, and what they bound."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.registry.agreement_document import ANYONE, check_document, check_signature, digest_of, unsigned_by
from app.registry.agreements import Agreement, Agreements, Bounds, Budget, Held
from app.registry.departments import Client
from app.registry.files import Members, NodeFileInvalid
from evidence import jws
from evidence.canonical import canonical
from evidence.errors import NotVerified
from policies.facts import STATES
from tests.unit.app.registry.conftest import Signed

BENEFIT = "hz-hrss-employment-status-unemployment-benefit"
REVIEW = "hz-hrss-employment-status-benefit-review"
OPEN = "hz-police-person-basic-standing-terms"
ACCOUNT = ("hz-hrss", "hz-tax/wage_declarations.start_date")


def held(signed: Signed, identifier: str = BENEFIT, state: str = "active", **changes: Any) -> Held:
    """An agreement of the example, changed and accepted anew by both sides."""
    document = {**orjson.loads(signed.filed(identifier).draft.document), **changes}
    content = canonical({name: value for name, value in document.items() if value is not None})
    sides = {document["provider"], document.get("consumer", document["provider"])}
    signatures = {
        side: jws.sign(signed.keys[side], jws.AGREEMENT, content, detached=True)
        for side in sides
        if side in signed.keys
    }
    return Held(document["agreement"], content, digest_of(content), state, signatures)


def of(signed: Signed, items: Iterable[Held]) -> Agreements:
    return Agreements.of(items, signed.directory.catalogue, signed.directory.departments)


def found(agreements: Agreements, identifier: str = BENEFIT) -> Agreement:
    agreement = agreements.find(identifier)
    assert agreement is not None
    return agreement


@pytest.fixture
def benefits(signed: Signed) -> Client:
    return signed.directory.departments.clients["hz-hrss-benefits"]


def test_nothing_held_applies_to_nobody(signed: Signed, benefits: Client) -> None:
    empty = of(signed, [])
    assert empty.applying(benefits, "employment-status", "unemployment-benefit") is None
    assert empty.find(BENEFIT) is None
    assert (len(empty), empty.purposes, empty.budgets) == (0, frozenset(), {})


def test_questions_are_signed_where_the_document_says_so(signed: Signed) -> None:
    assert not found(of(signed, [held(signed)])).terms.request_signature
    assert not found(of(signed, [held(signed, request_signature=False)])).terms.request_signature
    assert found(of(signed, [held(signed, request_signature=True)])).terms.request_signature
    members = Members("agreement", orjson.loads(held(signed, request_signature="yes").document))
    with pytest.raises(NodeFileInvalid, match="request_signature"):
        check_document(members, signed.directory.catalogue, signed.directory.departments)


@pytest.mark.parametrize("state", STATES)
def test_state_is_the_databases_and_not_the_documents(signed: Signed, state: str) -> None:
    assert found(of(signed, [held(signed, state=state)])).terms.state == state


def test_facts_of_the_terms_are_those_of_the_document(signed: Signed) -> None:
    agreement = found(of(signed, [held(signed)]))
    terms = agreement.terms
    assert terms.signed
    assert (terms.level, terms.batch_rows) == ("overall", 20_000)
    assert terms.digest == signed.filed(BENEFIT).draft.digest
    assert (agreement.provider, agreement.consumer) == ("hz-tax", "hz-hrss")
    assert agreement.masked == terms.masked == {"employer"}
    assert agreement.budget == Budget(240, renews=False)
    assert agreement.document["legal_basis"] == terms.legal_basis


class TestSignatures:
    def test_both_sides_signed(self, signed: Signed) -> None:
        assert found(of(signed, [held(signed)])).terms.signed

    def test_standing_terms_are_signed_by_their_provider_alone(self, signed: Signed) -> None:
        item = held(signed, OPEN)
        assert item.signatures.keys() == {"hz-police"}
        assert found(of(signed, [item]), OPEN).terms.signed

    @pytest.mark.parametrize("missing", ["hz-tax", "hz-hrss"])
    def test_missing_signature_of_either_side_is_not_signed(
        self, signed: Signed, missing: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        item = held(signed)
        rest = {name: value for name, value in item.signatures.items() if name != missing}
        agreements = of(signed, [replace(item, signatures=rest)])
        for _ in range(3):
            assert not found(agreements).terms.signed
        assert [record.getMessage() for record in caplog.records] == [
            f"agreement {BENEFIT} permits nothing: no valid signature of {missing}"
        ], "said once"

    def test_signature_over_other_bytes_is_none(self, signed: Signed) -> None:
        other = held(signed, fold=True)
        assert not found(of(signed, [replace(held(signed), signatures=other.signatures)])).terms.signed

    def test_signature_by_an_unknown_key_is_none(self, signed: Signed) -> None:
        item = held(signed)
        stranger = jws.sign(ec.generate_private_key(ec.SECP256R1()), jws.AGREEMENT, item.document, detached=True)
        changed = replace(item, signatures={**item.signatures, "hz-tax": stranger})
        assert not found(of(signed, [changed])).terms.signed

    def test_one_side_cannot_accept_for_the_other(self, signed: Signed) -> None:
        item = held(signed)
        both = dict.fromkeys(item.signatures, item.signatures["hz-hrss"])
        assert not found(of(signed, [replace(item, signatures=both)])).terms.signed

    def test_signature_of_a_third_department_counts_for_nothing(self, signed: Signed) -> None:
        item = held(signed)
        third = jws.sign(signed.keys["hz-civil"], jws.AGREEMENT, item.document, detached=True)
        swapped = {"hz-hrss": item.signatures["hz-hrss"], "hz-civil": third}
        assert not found(of(signed, [replace(item, signatures=swapped)])).terms.signed

    def test_policy_signers_signature_is_not_a_departments(self, signed: Signed) -> None:
        item = held(signed)
        revision = jws.sign(signed.keys["hz-tax"], jws.REVISION, item.document, detached=True)
        assert not found(of(signed, [replace(item, signatures={**item.signatures, "hz-tax": revision})])).terms.signed

    def test_side_without_registered_keys_never_signed(self, signed: Signed) -> None:
        departments = signed.directory.departments
        assert unsigned_by(departments, ("hz-tax", "nobody"), b"x", {"nobody": "x"}) == ("hz-tax", "nobody")
        with pytest.raises(NotVerified):
            check_signature(departments, "nobody", b"x", signed.filed(BENEFIT).signatures["hz-tax"])

    def test_signature_checks_by_itself(self, signed: Signed) -> None:
        item = held(signed)
        check_signature(signed.directory.departments, "hz-tax", item.document, item.signatures["hz-tax"])
        with pytest.raises(NotVerified, match="not trusted"):
            check_signature(signed.directory.departments, "hz-hrss", item.document, item.signatures["hz-tax"])


DAMAGED = {
    "other bytes": lambda item: replace(item, document=item.document.replace(b"false", b"true ")),
    "no JSON": lambda item: replace(item, document=b"{"),
    "no map": lambda item: replace(item, document=b"[]", digest=digest_of(b"[]")),
    "no members": lambda item: replace(item, document=b"{}", digest=digest_of(b"{}")),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_agreement_applies_to_nothing_and_harms_no_other(
    signed: Signed, benefits: Client, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    agreements = of(signed, [damage(held(signed)), held(signed, OPEN)])
    assert agreements.find(BENEFIT) is None
    assert agreements.applying(benefits, "employment-status", "unemployment-benefit") is None
    assert found(agreements, OPEN).terms.signed
    assert BENEFIT in caplog.text
    assert "失业保险条例" not in caplog.text, "ids only"


def test_agreement_that_this_version_cannot_read_applies_to_nothing(
    signed: Signed, benefits: Client, caplog: pytest.LogCaptureFixture
) -> None:
    agreements = of(signed, [held(signed, watermark=True)])
    assert agreements.applying(benefits, "employment-status", "unemployment-benefit") is None
    assert f"agreement {BENEFIT}: unknown member watermark" in caplog.text


def test_agreement_on_a_service_that_is_gone_bounds_nothing(signed: Signed) -> None:
    agreements = of(signed, [held(signed, service="gone")])
    assert found(agreements).service == "gone"
    assert agreements.budgets == {}


class TestApplying:
    def test_overlapping_active_ones_are_decided_by_id_whatever_their_order(
        self, signed: Signed, benefits: Client
    ) -> None:
        pair = [held(signed, agreement="b-2"), held(signed, agreement="a-1")]
        for order in (pair, pair[::-1]):
            agreement = of(signed, order).applying(benefits, "employment-status", "unemployment-benefit")
            assert agreement is not None
            assert agreement.terms.id == "a-1"

    def test_active_one_goes_before_others_of_the_purpose(self, signed: Signed, benefits: Client) -> None:
        items = [held(signed, agreement="a-1", state="superseded"), held(signed, agreement="b-2")]
        agreement = of(signed, items).applying(benefits, "employment-status", "unemployment-benefit")
        assert agreement is not None
        assert agreement.terms.id == "b-2"

    def test_departments_own_terms_go_before_those_for_all(self, signed: Signed, benefits: Client) -> None:
        own = held(signed, OPEN, agreement="z-own", departments=["hz-hrss"])
        agreement = of(signed, [held(signed, OPEN), own]).applying(benefits, "person-basic", "identity-check")
        assert agreement is not None
        assert agreement.terms.id == "z-own"

    def test_terms_that_name_other_clients_leave_those_for_all(self, signed: Signed, benefits: Client) -> None:
        own = held(signed, OPEN, agreement="z-own", departments=["hz-hrss"], clients=["hz-hrss-review"])
        agreement = of(signed, [held(signed, OPEN), own]).applying(benefits, "person-basic", "identity-check")
        assert agreement is not None
        assert agreement.terms.id == OPEN

    def test_one_that_cannot_be_read_gives_way_to_the_next(self, signed: Signed, benefits: Client) -> None:
        own = held(signed, OPEN, agreement="z-own", departments=["hz-hrss"], watermark=True)
        agreement = of(signed, [held(signed, OPEN), own]).applying(benefits, "person-basic", "identity-check")
        assert agreement is not None
        assert agreement.terms.id == OPEN


class TestChanges:
    def test_change_gives_a_new_set_and_leaves_the_old_one(self, signed: Signed, benefits: Client) -> None:
        before = of(signed, [held(signed), held(signed, OPEN)])
        after = before.with_changes([held(signed, state="revoked")])
        for agreements, state in ((before, "active"), (after, "revoked")):
            applying = agreements.applying(benefits, "employment-status", "unemployment-benefit")
            assert applying is not None
            assert applying.terms.state == state
            assert found(agreements).terms.state == state
        assert ACCOUNT in before.budgets
        assert ACCOUNT not in after.budgets
        assert len(before) == len(after) == 2

    def test_changed_set_equals_one_made_anew(self, signed: Signed, benefits: Client) -> None:
        every = [item.held("active") for item in signed.directory.filed()]
        changes = [
            held(signed, state="suspended"),
            held(signed, REVIEW, budget={"bits": 7}),
            held(signed, agreement="n"),
        ]
        changed = of(signed, every).with_changes(changes)
        fresh = of(signed, [*every, *changes])
        assert changed.budgets == fresh.budgets
        assert changed.purposes == fresh.purposes
        for client in signed.directory.departments.clients.values():
            for service in signed.directory.catalogue.services:
                for purpose in [*changed.purposes, "none"]:
                    one, other = (item.applying(client, service, purpose) for item in (changed, fresh))
                    assert (one and one.terms) == (other and other.terms)

    def test_unchanged_agreement_is_not_read_again(self, signed: Signed) -> None:
        before = of(signed, [held(signed), held(signed, OPEN)])
        agreement = found(before, OPEN)
        assert found(before.with_changes([held(signed, state="revoked")]), OPEN) is agreement

    def test_new_agreement_brings_its_purposes(self, signed: Signed) -> None:
        before = of(signed, [held(signed)])
        after = before.with_changes([held(signed, agreement="n", purposes=["other-purpose"])])
        assert before.purposes == {"unemployment-benefit"}
        assert after.purposes == {"unemployment-benefit", "other-purpose"}


class TestBudgets:
    def test_tightest_of_a_departments_agreements_wins_over_all_its_services(self, signed: Signed) -> None:
        items = [held(signed, budget={"bits": 240}), held(signed, REVIEW, budget={"bits": 30})]
        assert of(signed, items).budgets[ACCOUNT] == Bounds(ever=30)

    def test_every_column_that_an_attribute_reads_is_bounded_and_that_there_is_a_row(self, signed: Signed) -> None:
        columns = {column for _, column in of(signed, [held(signed)]).budgets}
        assert columns == {
            *(f"hz-tax/wage_declarations.{name}" for name in ("start_date", "end_date", "employer_name", "*")),
            "hz-tax/taxpayers.full_name",
        }

    def test_bounds_of_all_time_and_of_the_year_stand_side_by_side(self, signed: Signed) -> None:
        renewing = held(signed, budget={"bits": 240, "renews": "year"})
        assert of(signed, [renewing]).budgets[ACCOUNT] == Bounds(yearly=240)
        lasting = held(signed, REVIEW, budget={"bits": 300})
        assert of(signed, [renewing, lasting]).budgets[ACCOUNT] == Bounds(ever=300, yearly=240)

    @pytest.mark.parametrize("state", sorted(set(STATES) - {"active"}))
    def test_agreement_that_is_not_active_bounds_nothing(self, signed: Signed, state: str) -> None:
        assert of(signed, [held(signed, state=state)]).budgets == {}

    def test_agreement_without_budget_and_terms_for_all_bound_no_department(self, signed: Signed) -> None:
        assert of(signed, [held(signed, budget=None), held(signed, OPEN)]).budgets == {}

    def test_bound_of_one_department_is_not_anothers(self, signed: Signed) -> None:
        assert {department for department, _ in of(signed, [held(signed)]).budgets} == {"hz-hrss"}


class TestLineage:
    def test_first_of_its_chain_names_every_successor(self, signed: Signed) -> None:
        chain = [held(signed, agreement="a1"), held(signed, agreement="b1", supersedes="a1")]
        chain.append(held(signed, agreement="c1", supersedes="b1"))
        assert {found(of(signed, chain), name).lineage for name in ("a1", "b1", "c1")} == {"a1"}

    def test_renewed_later_it_keeps_its_name(self, signed: Signed) -> None:
        before = of(signed, [held(signed, agreement="a1")])
        after = before.with_changes([held(signed, agreement="b1", supersedes="a1")])
        assert found(after, "b1").lineage == found(before, "a1").lineage == "a1"

    def test_predecessor_that_is_not_held_still_gives_its_name(self, signed: Signed) -> None:
        assert found(of(signed, [held(signed, agreement="b1", supersedes="a1")]), "b1").lineage == "a1"

    def test_circle_ends_under_one_name(self, signed: Signed) -> None:
        circle = [held(signed, agreement="a1", supersedes="b1"), held(signed, agreement="b1", supersedes="a1")]
        assert {found(of(signed, circle), name).lineage for name in ("a1", "b1")} == {"a1"}


class TestDrafts:
    def check(self, signed: Signed, **changes: Any) -> Any:
        document = {**orjson.loads(signed.filed(BENEFIT).draft.document), **changes}
        return check_document(
            Members("agreement", document), signed.directory.catalogue, signed.directory.departments
        )

    def test_checked_document_is_held_as_it_was_signed(self, signed: Signed) -> None:
        assert self.check(signed) == signed.filed(BENEFIT).draft

    def test_successor_is_known_from_its_draft(self, signed: Signed) -> None:
        draft = self.check(signed, agreement="next", supersedes=BENEFIT)
        assert (draft.supersedes, draft.parties) == (BENEFIT, ("hz-hrss",))
        assert self.check(signed).supersedes is None

    @pytest.mark.parametrize("value", [1.5, {1: "a"}, "\ud800"])
    def test_value_without_canonical_form_is_refused(self, signed: Signed, value: Any) -> None:
        with pytest.raises(NodeFileInvalid):
            self.check(signed, legal_basis=value)

    def test_parties_of_terms_for_all_are_anyone(self, signed: Signed) -> None:
        assert signed.filed(OPEN).draft.parties == (ANYONE,)


def test_ten_thousand_agreements_are_indexed_well_under_a_second(signed: Signed, benefits: Client) -> None:
    """Only what is asked for is read: the start of a node does not wait for ten thousand signatures."""
    template = held(signed)
    items = []
    for number in range(10_000):
        changes = template.document.replace(BENEFIT.encode(), b"agreement-%05d" % number)
        document = changes.replace(b'"unemployment-benefit"', b'"purpose-%05d"' % number)
        items.append(Held(f"agreement-{number:05}", document, digest_of(document), "active", {}))
    began = time.process_time()
    agreements = of(signed, items)
    made_s = time.process_time() - began
    began = time.process_time()
    changed = agreements.with_changes([replace(items[7], state="revoked")])
    changed_s = time.process_time() - began
    assert made_s < 1.0
    assert changed_s < 0.25
    assert len(changed) == len(agreements.purposes) == 10_000
    applying = changed.applying(benefits, "employment-status", "purpose-09999")
    assert applying is not None
    assert applying.terms.id == "agreement-09999"
