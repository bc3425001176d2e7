"""The published test subjects: a fixed cast whose numbers, names and lives never depend on a seed or a size.

Their numbers lie in `PERSONA_REGION`, which the rest of the population never has, so that documents and
service files may quote them. `world` puts them into every register beside the others.
"""

from __future__ import annotations

from datetime import date

from examples.demo.employment import Spell
from examples.demo.housing import Contract
from examples.demo.identifiers import PERSONA_REGION, Sex, credit_code, resident_id
from examples.demo.population import Enterprise, Person, Role

HOME = "演示中心区"


def _person(  # one argument per fact of a life
    name: str, sex: Sex, born: str, *, household: str = "", died_on: str | None = None, ordinal: int = 0
) -> Person:
    day = date.fromisoformat(born)
    number = resident_id(PERSONA_REGION, day, ordinal, sex)
    home = f"{PERSONA_REGION}{household}" if household else ""
    died = date.fromisoformat(died_on) if died_on else None
    return Person(number, name, sex, day, PERSONA_REGION, home, died)


EMPLOYED = _person("沈建国", "M", "1978-03-12", household="0000001")
FORMER = _person("陈丽华", "F", "1983-07-25", household="0000002")
TAIL = _person("买买提·艾力", "M", "1990-11-02")
DIRECTOR = _person("吴敏", "F", "1971-01-30", household="0000003")
TRADER = _person("周国强", "M", "1969-09-09", household="0000004")
SHAREHOLDER = _person("徐静", "F", "1986-05-17", household="0000005")
DECEASED = _person("朱福根", "M", "1938-12-08", household="0000006", died_on="2026-05-11")
BUYER = _person("何晓东", "M", "1988-08-08", household="0000007")
APPLICANT = _person("林秀英", "F", "1965-02-03", household="0000008")
APPLICANTS_SON = _person("林志远", "M", "1994-06-21", household="0000008")
MIGRANT = _person("高翔", "M", "1992-10-10")
SECOND_BUYER = _person("孙悦", "F", "1995-04-04", household="0000009")
HOMEMAKER = _person("唐雪梅", "F", "1980-12-24", household="0000010")

PEOPLE = (
    EMPLOYED, FORMER, TAIL, DIRECTOR, TRADER, SHAREHOLDER, DECEASED, BUYER,
    APPLICANT, APPLICANTS_SON, MIGRANT, SECOND_BUYER, HOMEMAKER,
)  # fmt: skip

UNKNOWN = _person("方圆", "F", "1977-07-07")
"""A valid number that no register knows."""

UNKNOWN_COMPANY = credit_code(PERSONA_REGION, 99_999, "91")
"""A valid credit code that was never registered."""


def _enterprise(serial: int, name: str, head: Person, founded: str) -> Enterprise:
    day = date.fromisoformat(founded)
    code = credit_code(PERSONA_REGION, serial, "91")
    return Enterprise(code, name, "company", head, "in-business", day, PERSONA_REGION)


MILL = _enterprise(1, "杭州之江示范纺织有限公司", DIRECTOR, "2019-04-01")
SOFTWARE = _enterprise(2, "杭州演示软件科技(浙江)有限公司", SHAREHOLDER, "2020-02-10")
SHOP = Enterprise(
    credit_code(PERSONA_REGION, 3, "92"),
    f"杭州市{HOME}老周便利店",
    "sole_trader",
    TRADER,
    "in-business",
    date(2021, 6, 1),
    PERSONA_REGION,
)
CLOSED = Enterprise(
    credit_code(PERSONA_REGION, 4, "91"),
    "杭州旧日示范贸易有限公司",
    "company",
    HOMEMAKER,
    "deregistered",
    date(2012, 3, 5),
    PERSONA_REGION,
)

ENTERPRISES = (MILL, SOFTWARE, SHOP, CLOSED)

ROLES = (
    Role(DIRECTOR, "legal_representative", MILL, MILL.established_on, None),
    Role(DIRECTOR, "shareholder", MILL, MILL.established_on, None),
    Role(SHAREHOLDER, "legal_representative", SOFTWARE, SOFTWARE.established_on, None),
    Role(SHAREHOLDER, "shareholder", SOFTWARE, SOFTWARE.established_on, None),
    Role(TRADER, "sole_trader", SHOP, SHOP.established_on, None),
    Role(HOMEMAKER, "legal_representative", CLOSED, CLOSED.established_on, date(2025, 12, 31)),
)

SPELLS = (
    Spell(EMPLOYED, MILL, date(2023, 5, 4), None, 8_650),
    Spell(EMPLOYED, SOFTWARE, date(2020, 3, 1), date(2023, 4, 30), 7_200),
    Spell(FORMER, MILL, date(2021, 2, 1), date(2026, 6, 30), 6_480),
    Spell(TAIL, SOFTWARE, date(2024, 8, 1), date(2026, 9, 20), 9_900),
    Spell(MIGRANT, SOFTWARE, date(2025, 1, 6), None, 12_300),
    Spell(APPLICANT, MILL, date(2019, 6, 1), date(2020, 1, 31), 3_900),
    Spell(APPLICANTS_SON, SOFTWARE, date(2026, 3, 2), None, 5_600),
)

CONTRACTS = (
    Contract("2025YS000101", BUYER, "1280000.00", "2025-06-18", "registered"),
    Contract("2026YS000102", SECOND_BUYER, "965000.00", "2026-04-27", "registered"),
    Contract("2014YS000103", APPLICANT, "610000.00", "2014-10-09", "registered"),
)
