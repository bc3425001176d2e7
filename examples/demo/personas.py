"""The published test subjects as questions: who asks what about whom, and what the answer must be.

Each may be asked as it stands, at any time and again: `Persona.question` is the body. Accounts of disclosure
are kept by subject, so the questions are spread over the cast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from examples.demo import cast
from examples.demo.population import Person

OPERATOR = "demo.operator"
_DAY = "2026-09-15"


@dataclass(frozen=True, slots=True)
class Persona:
    """One published question; `expect` is a result (`match`, `no_match`, `not_found`) or a problem's slug."""

    service: str
    client: str
    purpose: str
    expect: str
    subject: Mapping[str, str]
    confirm: Mapping[str, str]
    declared: Mapping[str, Any] = field(default_factory=dict)

    def question(self, number: int) -> dict[str, Any]:
        """Return the body of the question; the case is the purpose's initials and a running number."""
        initials = "".join(word[0] for word in self.purpose.split("-")).upper()
        return {
            "purpose": self.purpose,
            "case": f"{initials}-DEMO-{number:03d}",
            "operator": OPERATOR,
            "subject": dict(self.subject),
            "confirm": dict(self.confirm),
            "declared": dict(self.declared),
        }

    def document(self, number: int) -> dict[str, Any]:
        """Return the persona as `personas.json` publishes it."""
        return {
            "service": self.service,
            "client": self.client,
            **self.question(number),
            "expect": self.expect,
        }


def personas() -> tuple[Persona, ...]:
    """Return all personas: for every service that answers at least one of each result, and the refusals."""
    return (
        *_employment(),
        *_business(),
        *_death(),
        *_property(),
        *_wage_base(),
        *_person_basic(),
        *_enterprise_basic(),
        *_household(),
        *_refused(),
    )


@dataclass(frozen=True, slots=True)
class _Asker:
    """A client that asks one service for one purpose."""

    service: str
    client: str
    purpose: str

    def ask(self, expect: str, person: Person, name: str | None = None, **declared: Any) -> Persona:
        subject = {"id_number": person.id_number}
        confirm = {"name": name or person.name}
        return Persona(self.service, self.client, self.purpose, expect, subject, confirm, declared)


def _employment() -> Iterator[Persona]:
    benefits = _Asker("employment-status", "hz-hrss-benefits", "unemployment-benefit")
    yield benefits.ask("match", cast.EMPLOYED, employed_on=_DAY)
    yield benefits.ask("match", cast.TAIL, "买买提・艾力", employed_on=_DAY)
    yield benefits.ask("no_match", cast.TAIL, employed_on="2026-09-21")
    yield benefits.ask("match", cast.MIGRANT, employed_on=_DAY, employer="杭州演示软件科技(浙江)有限公司")
    yield benefits.ask("no_match", cast.MIGRANT, employed_on=_DAY, employer=cast.MILL.name)
    yield benefits.ask("no_match", cast.FORMER, employed_on=_DAY)
    yield benefits.ask("no_match", cast.HOMEMAKER, employed_on=_DAY)
    yield benefits.ask("not_found", cast.EMPLOYED, "沈建华", employed_on=_DAY)
    yield benefits.ask("not_found", cast.UNKNOWN, employed_on=_DAY)
    review = _Asker("employment-status", "hz-hrss-review", "benefit-review")
    yield review.ask("match", cast.EMPLOYED, employed_on="2022-01-10", employer=cast.SOFTWARE.name)
    yield review.ask("no_match", cast.FORMER, employed_on="2026-07-01", employer=cast.MILL.name)
    yield review.ask("not_found", cast.FORMER, "陈丽花", employed_on="2026-07-01")
    dibao = _Asker("employment-status", "hz-civil-dibao", "low-income-household")
    yield dibao.ask("match", cast.APPLICANTS_SON, employed_on=_DAY)
    yield dibao.ask("no_match", cast.APPLICANT, employed_on=_DAY)
    yield dibao.ask("no_match", cast.APPLICANTS_SON, "林志强", employed_on=_DAY)  # folded


def _business() -> Iterator[Persona]:
    benefits = _Asker("business-registration", "hz-hrss-benefits", "unemployment-benefit")
    yield benefits.ask("match", cast.DIRECTOR, role="legal_representative", held_on=_DAY)
    yield benefits.ask("match", cast.TRADER, role="sole_trader", held_on=_DAY)
    yield benefits.ask("match", cast.SHAREHOLDER, role="shareholder", held_on=_DAY)
    yield benefits.ask("no_match", cast.HOMEMAKER, role="legal_representative", held_on=_DAY)
    yield benefits.ask("no_match", cast.FORMER, role="sole_trader", held_on=_DAY)
    yield benefits.ask("not_found", cast.UNKNOWN, role="shareholder", held_on=_DAY)
    dibao = _Asker("business-registration", "hz-civil-dibao", "low-income-household")
    yield dibao.ask("no_match", cast.APPLICANT, role="sole_trader", held_on=_DAY)
    yield dibao.ask("no_match", cast.TRADER, "周国富", role="sole_trader", held_on=_DAY)  # folded


def _death() -> Iterator[Persona]:
    benefits = _Asker("death-registration", "hz-hrss-benefits", "unemployment-benefit")
    yield benefits.ask("match", cast.DECEASED, deceased=True)
    yield benefits.ask("no_match", cast.DECEASED, deceased=True, died_on="2026-05-12")
    yield benefits.ask("no_match", cast.FORMER, deceased=True)
    yield benefits.ask("not_found", cast.UNKNOWN, deceased=True)


def _property() -> Iterator[Persona]:
    levy = _Asker("property-contract", "hz-tax-levy", "property-tax")
    yield levy.ask("match", cast.BUYER, contract_number="2025YS000101", price="1280000.00")
    # Put on the grid of 20,000 yuan, 971,000.00 stands at 980,000: within the tolerance of 965,000.00.
    yield levy.ask("match", cast.SECOND_BUYER, contract_number="2026YS000102", price="971000.00")
    yield levy.ask("no_match", cast.SECOND_BUYER, contract_number="2026YS000102", price="820000.00")
    yield levy.ask("no_match", cast.BUYER, contract_number="2026YS000102", price="965000.00")
    yield levy.ask("not_found", cast.EMPLOYED, contract_number="2025YS000101")
    dibao = _Asker("property-contract", "hz-civil-dibao", "low-income-household")
    yield dibao.ask("match", cast.APPLICANT, contract_number="2014YS000103")
    yield dibao.ask("no_match", cast.APPLICANTS_SON, contract_number="2014YS000103")  # folded: bought nothing


def _wage_base() -> Iterator[Persona]:
    review = _Asker("wage-base", "hz-hrss-review", "social-insurance-levy")
    yield review.ask("match", cast.EMPLOYED, month="2026-09", wage_base="8650.00")
    yield review.ask("no_match", cast.MIGRANT, month="2026-09", wage_base="4812.00")
    yield review.ask("no_match", cast.FORMER, month="2026-09", wage_base="6480.00")
    yield review.ask("not_found", cast.UNKNOWN, month="2026-09", wage_base="8650.00")


def _person_basic() -> Iterator[Persona]:
    dibao = _Asker("person-basic", "hz-civil-dibao", "low-income-household")
    yield dibao.ask("match", cast.APPLICANT)
    yield dibao.ask("match", cast.EMPLOYED, status="normal")
    yield dibao.ask("no_match", cast.DECEASED, status="normal")
    yield dibao.ask("no_match", cast.APPLICANTS_SON, "林志强")  # folded
    # No agreement is needed where sharing is unconditional: the standing terms are open to every department.
    approval = _Asker("person-basic", "hz-outsider", "one-stop-approval")
    yield approval.ask("match", cast.DIRECTOR, birth_date="1971-01-30")
    yield approval.ask("no_match", cast.UNKNOWN)  # folded


def _enterprise_basic() -> Iterator[Persona]:
    def ask(expect: str, code: str, name: str, **declared: str) -> Persona:
        asker = ("enterprise-basic", "hz-outsider", "one-stop-approval")
        return Persona(*asker, expect, {"credit_code": code}, {"name": name}, declared)

    mill, software = cast.MILL, cast.SOFTWARE
    yield ask("match", mill.credit_code, mill.name, legal_representative=cast.DIRECTOR.name)
    yield ask("match", software.credit_code, "杭州演示软件科技（浙江）有限公司", status="in-business")
    yield ask("no_match", software.credit_code, software.name, legal_representative=cast.DIRECTOR.name)
    yield ask("no_match", cast.CLOSED.credit_code, cast.CLOSED.name, status="in-business")
    yield ask("not_found", mill.credit_code, "杭州之江纺织有限公司")
    yield ask("not_found", cast.UNKNOWN_COMPANY, mill.name)


def _household() -> Iterator[Persona]:
    dibao = _Asker("household-registration", "hz-civil-dibao", "low-income-household")
    home = cast.APPLICANT.household
    yield dibao.ask("match", cast.APPLICANT, district="339881", household_number=home)
    yield dibao.ask("match", cast.APPLICANTS_SON, district="339881", household_number=home)
    yield dibao.ask("no_match", cast.HOMEMAKER, district="339881", household_number=home)
    yield dibao.ask("no_match", cast.APPLICANT, "林秀兰", district="339881")  # folded
    statutory = _Asker("household-registration", "hz-hrss-benefits", "social-insurance")
    yield statutory.ask("match", cast.FORMER, district="339881")
    yield statutory.ask("no_match", cast.MIGRANT, district="339881")
    yield statutory.ask("not_found", cast.UNKNOWN, district="339881")


def _refused() -> Iterator[Persona]:
    refused = "not-permitted"
    employment = "employment-status"
    yield _Asker(employment, "hz-outsider", "unemployment-benefit").ask(refused, cast.EMPLOYED, employed_on=_DAY)
    yield _Asker(employment, "hz-hrss-benefits", "recruitment").ask(refused, cast.EMPLOYED, employed_on=_DAY)
    yield _Asker(employment, "hz-hrss-benefits", "benefit-review").ask(refused, cast.FORMER, employed_on=_DAY)
    # An attribute outside the agreement is refused, not left out: the consumer must know it was not compared.
    yield _Asker(employment, "hz-civil-dibao", "low-income-household").ask(
        refused, cast.APPLICANT, employed_on=_DAY, employer=cast.MILL.name
    )
    yield _Asker("property-contract", "hz-civil-dibao", "low-income-household").ask(
        refused, cast.APPLICANT, contract_number="2014YS000103", price="610000.00"
    )
    yield _Asker("property-contract", "hz-tax-levy", "revenue-forecast").ask(
        refused, cast.BUYER, contract_number="2025YS000101"
    )
    yield _Asker("wage-base", "hz-tax-levy", "property-tax").ask(
        refused, cast.EMPLOYED, month="2026-09", wage_base="8650.00"
    )
    yield Persona("adoption-registration", "hz-hrss-benefits", "unemployment-benefit", refused, {}, {})
    yield Persona("adoption-registration", "hz-civil-dibao", "low-income-household", refused, {}, {})
