"""The catalogue: what accounts a question draws on, and what a service publishes of its conditions of sharing."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from adapters.judge import Judge
from app.registry.catalogue import Catalogue, Service
from app.registry.files import Members, NodeFileInvalid

WAGES: dict[str, Any] = {
    "service": "employment-status",
    "title": {"en": "Employment", "zh": "就业"},
    "summary": {"en": "Employed?", "zh": "在职?"},
    "category": "theme",
    "provider": "hz-tax",
    "sharing": "conditional",
    "basis": ["四川 第二十二条"],
    "update_cycle": "daily",
    "source": {"adapter": "sql", "url": "${HECHA_SOURCE_HZ_TAX}", "relation": "tax.wages"},
    "subject": {"id_number": {"column": "id_no", "type": "resident_id"}},
    "confirm": {"name": {"column": "full_name", "compare": "name"}},
    "attributes": {
        "employed_on": {"compare": "covers_date", "from": "start", "to": "end"},
        "employer": {"compare": "organisation", "column": "employer", "mask": "organisation"},
        "known": {"compare": "exists"},
    },
}
STARTED = {"started": {"compare": "date", "column": "start"}}
WITHHELD = {name: WAGES[name] for name in WAGES if name not in ("source", "subject", "confirm", "attributes")}
WITHHELD |= {"service": "adoption", "sharing": "withheld"}


def changed(change: dict[str, Any], service: str = "another") -> dict[str, Any]:
    """The service under another name, with other members; those of `source` one by one."""
    document = deepcopy(WAGES) | {"service": service}
    source = document["source"] | change.get("source", {})
    return document | change | {"source": source}


def catalogue(*documents: dict[str, Any]) -> dict[str, Service]:
    members = [Members(f"{document['service']}.yaml", document) for document in documents]
    return Catalogue(members, ["hz-tax", "hz-hrss"]).services


def one(change: dict[str, Any]) -> Service:
    return catalogue(changed(change))["another"]


START, END = ("hz-tax/tax.wages.start", "start"), ("hz-tax/tax.wages.end", "end")
EMPLOYER, EXISTENCE = ("hz-tax/tax.wages.employer", "employer"), ("hz-tax/tax.wages.*", "*")


class TestAccounts:
    @pytest.mark.parametrize(
        ("declared", "masked", "expected"),
        [
            ([], [], [EXISTENCE]),
            (["known"], [], [EXISTENCE]),
            (["employed_on"], [], [END, START]),
            (["employer"], [], [EMPLOYER]),
            ([], ["employer"], [EMPLOYER]),
            (["employer"], ["employer"], [EMPLOYER]),
            (["known", "employed_on"], ["employer"], [EXISTENCE, EMPLOYER, END, START]),
        ],
    )
    def test_question_draws_on_every_column_that_it_reads_once(
        self, declared: list[str], masked: list[str], expected: list[tuple[str, str]]
    ) -> None:
        service = one({})
        assert list(service.accounts_of(declared, masked)) == expected
        assert list(service.accounts_of(declared[::-1], masked)) == expected

    def test_columns_are_those_of_the_fingerprints(self) -> None:
        service = one({})
        assert service.answerable is not None
        judge = Judge(service.answerable.binding, b"k" * 32)
        for attribute in service.source_attributes:
            columns = {column for _, column in service.accounts_of([attribute], ())}
            assert columns <= {*judge.asked_columns, "*"}

    def test_services_on_one_column_share_its_account(self) -> None:
        services = catalogue(WAGES, changed({"attributes": STARTED}))
        here = services["employment-status"].accounts_of(["employed_on"], ())
        assert set(here) & set(services["another"].accounts_of(["started"], ())) == {START}
        assert services["employment-status"].existence == services["another"].existence

    def test_providers_and_relations_have_accounts_of_their_own(self) -> None:
        other = one({"provider": "hz-hrss"}), one({"source": {"relation": "wages"}})
        names = {service.accounts_of(["employer"], ())[0][0] for service in (one({}), *other)}
        assert names == {"hz-tax/tax.wages.employer", "hz-hrss/tax.wages.employer", "hz-tax/wages.employer"}

    def test_attribute_that_is_not_bound_has_no_account(self) -> None:
        with pytest.raises(KeyError):
            one({}).accounts_of(["salary"], ())

    @pytest.mark.parametrize(
        "change",
        [
            {"source": {"url": "${HECHA_SOURCE_HZ_TAX_ARCHIVE}"}},
            {"source": {"adapter": "another"}},
            {"subject": {"id_number": {"column": "employer_id_no", "type": "resident_id"}}},
            {"subject": {"id_number": {"column": "id_no", "type": "code"}}},
        ],
        ids=["another address", "another adapter", "another subject column", "another type of subject"],
    )
    def test_asking_one_relation_in_two_ways_by_turns_to_renew_its_budget_is_refused(
        self, change: dict[str, Any]
    ) -> None:
        with pytest.raises(NodeFileInvalid, match=r"another\.yaml: hz-tax/tax\.wages is read by another service"):
            catalogue(WAGES, changed(change))
        apart = {"source": change.get("source", {}) | {"relation": "tax.wages_by_employer"}}
        assert len(catalogue(WAGES, changed(change | apart))) == 2

    @pytest.mark.parametrize(
        "other", [{"tolerance": "30000.00", "grid": "30000.00"}, {"tolerance": "10000.00", "grid": "20000.00"}]
    )
    def test_two_grids_on_one_column_that_add_up_to_finer_steps_are_refused(self, other: dict[str, str]) -> None:
        """Steps of 20,000 and of 30,000 yuan together tell amounts to 10,000."""
        pay = {"compare": "within", "column": "pay", "tolerance": "20000.00", "grid": "20000.00"}
        alike = changed({"attributes": {"wage": pay}}, "alike")
        assert catalogue(changed({"attributes": {"pay": pay}}), alike).keys() == {"another", "alike"}
        with pytest.raises(NodeFileInvalid, match=r"pay: hz-tax/tax\.wages\.pay has the grid 20000.00 and"):
            catalogue(alike, changed({"attributes": {"pay": pay | other}}))

    def test_withheld_service_named_like_a_relation_is_no_service_on_it(self) -> None:
        services = catalogue(changed({"source": {"relation": "adoption"}}), WITHHELD)
        assert services["adoption"].source_attributes == {}

    def test_column_named_as_existence_is_refused(self) -> None:
        with pytest.raises(NodeFileInvalid, match="no column can be named"):
            one({"attributes": {"employer": {"compare": "exact", "column": "*"}}})


class TestConditions:
    def test_no_more_than_one_result_is_disclosed_unless_published(self) -> None:
        assert one({}).disclosure == "overall"
        assert one({"disclosure": "per_attribute"}).disclosure == "per_attribute"

    @pytest.mark.parametrize("level", ["masked", "", "none", "Overall"])
    def test_unknown_disclosure_is_refused(self, level: str) -> None:
        with pytest.raises(NodeFileInvalid, match="disclosure must be one of overall, per_attribute"):
            one({"disclosure": level})

    def test_withheld_service_publishes_no_disclosure(self) -> None:
        assert catalogue(WITHHELD)["adoption"].masks == frozenset()
        with pytest.raises(NodeFileInvalid, match="disclosure"):
            catalogue(WITHHELD | {"disclosure": "overall"})

    def test_masks_are_those_that_the_attributes_bind(self) -> None:
        assert one({}).masks == {"employer"}

    def test_disclosure_is_no_part_of_the_match_contract(self) -> None:
        assert one({}).contract_digest == one({"disclosure": "per_attribute"}).contract_digest
