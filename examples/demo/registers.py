"""The registers of each provider department as tables: columns, rows and indexes, as that office spells.

Offices spell alike things unlike: each has its own middle dot, the tax office writes full-width brackets and
pads some short names. Comparisons must see through it; the truth is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from examples.demo.employment import Spell, wage_bases
from examples.demo.population import TODAY, Enterprise, Person, Role
from examples.demo.world import World

Row: TypeAlias = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One relation: its columns in order (all text), its rows, and the columns of its indexes.

    Everything is text: SQLite has no date and no decimal, and a price must not pass through a float.
    """

    name: str
    columns: Sequence[str]
    rows: Iterable[Row]
    unique: Sequence[str] = ()
    indexes: Sequence[Sequence[str]] = ()


def registers(world: World) -> Mapping[str, Sequence[Table]]:
    """Return the tables of every provider department of a world, by department id."""
    return {
        "hz-tax": _tax(world),
        "hz-market": _market(world),
        "hz-civil": _civil(world),
        "hz-housing": _housing(world),
        "hz-police": _police(world),
    }


def _tax(world: World) -> Sequence[Table]:
    return (
        Table(
            "taxpayers",
            ("id_no", "full_name", "district_code"),
            ((p.id_number, _tax_spelling(p), p.district) for p in world.people if p.age_on(TODAY) >= 18),
            unique=("id_no",),
        ),
        Table(
            "wage_declarations",
            ("id_no", "employer_code", "employer_name", "start_date", "end_date", "income_item"),
            (_declaration(spell) for spell in world.spells),
            indexes=(("id_no", "start_date"),),
        ),
        Table(
            "wage_bases",
            ("id_no", "month", "wage_base", "employer_code"),
            (
                (s.person.id_number, month, f"{base}.00", s.employer.credit_code)
                for s in world.spells
                for month, base in wage_bases(s)
            ),
            indexes=(("id_no", "month"),),
        ),
    )


def _declaration(spell: Spell) -> Row:
    code, name = spell.employer.credit_code, _wide_brackets(spell.employer.name)
    return spell.person.id_number, code, name, spell.start.isoformat(), _iso(spell.end), "工资薪金"


def _market(world: World) -> Sequence[Table]:
    return (
        Table(
            "natural_persons",
            ("id_no", "full_name"),
            ((p.id_number, _bullet(p.name)) for p in world.people if p.age_on(TODAY) >= 16),
            unique=("id_no",),
        ),
        Table(
            "enterprises",
            ("credit_code", "name", "kind", "legal_representative", "status", "established_on", "district_code"),
            (_enterprise(enterprise) for enterprise in world.enterprises),
            unique=("credit_code",),
        ),
        Table(
            "enterprise_roles",
            ("id_no", "role", "credit_code", "enterprise_name", "since", "until"),
            (_role(role) for role in world.roles),
            indexes=(("id_no",), ("credit_code",)),
        ),
    )


def _enterprise(e: Enterprise) -> Row:
    head, founded = _bullet(e.representative.name), e.established_on.isoformat()
    return e.credit_code, e.name, e.kind, head, e.status, founded, e.district


def _role(r: Role) -> Row:
    code, name = r.enterprise.credit_code, r.enterprise.name
    return r.person.id_number, r.role, code, name, r.since.isoformat(), _iso(r.until)


def _civil(world: World) -> Sequence[Table]:
    return (
        Table(
            "residents",
            ("id_no", "full_name"),
            ((p.id_number, p.name) for p in world.people),
            unique=("id_no",),
        ),
        Table(
            "death_records",
            ("id_no", "certificate_no", "died_on", "district_code"),
            (
                (p.id_number, f"SW{p.died_on:%Y}{number:07d}", p.died_on.isoformat(), p.district)
                for number, p in enumerate(world.people)
                if p.died_on is not None
            ),
            indexes=(("id_no",),),
        ),
    )


def _housing(world: World) -> Sequence[Table]:
    buyers = {c.buyer.id_number: c.buyer for c in world.contracts}
    return (
        Table(
            "contract_parties",
            ("id_no", "full_name"),
            ((p.id_number, p.name) for p in buyers.values()),
            unique=("id_no",),
        ),
        Table(
            "property_contracts",
            ("contract_number", "buyer_id_no", "price", "signed_on", "status", "district_code"),
            (
                (c.number, c.buyer.id_number, c.price, c.signed_on, c.status, c.buyer.district)
                for c in world.contracts
            ),
            indexes=(("buyer_id_no",), ("contract_number",)),
        ),
    )


def _police(world: World) -> Sequence[Table]:
    return (
        Table(
            "residents",
            ("id_no", "full_name", "sex", "birth_date", "status"),
            ((p.id_number, p.name, p.sex, p.born.isoformat(), _status(p)) for p in world.people),
            unique=("id_no",),
        ),
        Table(
            "household_members",
            ("id_no", "household_no", "district_code", "registered_on"),
            (
                (p.id_number, p.household, p.district, p.born.isoformat())
                for p in world.people
                if p.household and p.died_on is None
            ),
            indexes=(("id_no",), ("household_no",)),
        ),
    )


def _status(person: Person) -> str:
    if person.died_on is not None:
        return "deceased"
    # A few people without a household here have moved out and not yet been struck off.
    return "moved-out" if not person.household and person.id_number[-2] == "7" else "normal"


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _bullet(name: str) -> str:
    return name.replace("·", "•")


def _tax_spelling(person: Person) -> str:
    name = person.name.replace("·", "・")
    # One short name in about forty is padded to three characters' width (U+3000), as old forms had it.
    padded = len(name) == 2 and int(person.id_number[11:14]) % 40 == 0
    return f"{name[0]}\u3000{name[1]}" if padded else name


def _wide_brackets(name: str) -> str:
    return name.replace("(", "（").replace(")", "）")
