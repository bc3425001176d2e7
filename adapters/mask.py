"""Masks: what of a source value an agreement may let out. Pure.

Every mask has one width whatever it hides, and leaves at least 10,000 candidates (the field's own forms do
not: an id number shown 6 + 4 leaves 3,351, a name shown 张*三 some 8,000). A value of unknown shape is
hidden whole. Counted are the values that the number or the language allows, not those in use: masked data
stay personal data (个人信息保护法 第七十三条).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from adapters import normalise
from adapters.normalise import ValueInvalid

HIDDEN: Final = "****"
"""What stands for a value hidden whole."""

_HAN_NAME = re.compile(r"[\u4e00-\u9fff]{2,4}")
_CARD = re.compile(r"[0-9]{16,19}")
_ALL_HAN = re.compile(r"[\u4e00-\u9fff()a-zA-Z0-9]{2,}")

# Provinces, their capitals and the cities of sub-provincial rank. The list is closed: a place cannot be
# told from a trade name by its characters (欧亚超市有限公司 begins with no city), and smaller places would
# narrow too far.
_PROVINCE = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|"
    "湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
_CITY = (
    "石家庄|太原|沈阳|长春|哈尔滨|南京|杭州|合肥|福州|南昌|济南|郑州|武汉|长沙|广州|海口|成都|"
    "贵阳|昆明|西安|兰州|西宁|呼和浩特|南宁|拉萨|银川|乌鲁木齐|深圳|宁波|厦门|青岛|大连"
)
_PLACE = re.compile(
    f"(?:({_PROVINCE})(?:省|市|(?:壮族|回族|维吾尔)?自治区)?)?(?:({_CITY})市?)?",
)
# Longer endings first; several endings share one shown form.
_FORMS = {
    "股份有限公司": "有限公司",
    "有限责任公司": "有限公司",
    "有限公司": "有限公司",
    "合伙企业": "合伙企业",
    "合伙企业(有限合伙)": "合伙企业",
    "合伙企业(普通合伙)": "合伙企业",
    "专业合作社": "专业合作社",
    "事务所": "事务所",
    "经营部": "经营部",
    "商行": "商行",
    "店": "店",
    "厂": "厂",
}


def name(value: str) -> str:
    """Return `张**`: the first character of a Han name of two to four; others are hidden whole.

    Two hidden characters of the standard table (通用规范汉字表, 8,105) make over 65 million candidates;
    that a name hides only one is not told.
    """
    return f"{value[0]}**" if _HAN_NAME.fullmatch(value) else HIDDEN


def resident_id(value: str) -> str:
    """Return the six digits of the region and twelve stars.

    Each birthday leaves 999 sequence numbers, each with one check digit: over 360,000 candidates in one
    birth year.
    """
    return value[:6] + "*" * 12


def credit_code(value: str) -> str:
    """Return the kind and the region (eight characters) and ten stars: 10^8 organisation codes and more."""
    return value[:8] + "*" * 10


def organisation(value: str) -> str:
    """Return `杭州****有限公司`: a leading province or large city, and the form of organisation.

    Trade name and line of business are hidden, at least two characters: over 65 million. Without a known
    form, or with less than two characters to hide, the name is hidden whole.
    """
    place = _PLACE.match(value)
    shown = "".join(part for part in place.groups() if part) if place else ""
    start = place.end() if place else 0
    for ending in sorted(_FORMS, key=len, reverse=True):
        if value.endswith(ending) and _ALL_HAN.fullmatch(value[start : len(value) - len(ending)]):
            return shown + HIDDEN + _FORMS[ending]
    return HIDDEN


def phone(value: str) -> str:
    """Return `138******34` of a mobile number: 10^6 candidates; any other number is hidden whole."""
    return f"{value[:3]}******{value[-2:]}" if len(value) == 11 and value[0] == "1" else HIDDEN


def bank_card(value: str) -> str:
    """Return the last four of 16 to 19 digits: 10^5 candidates even if the issuer is known."""
    return f"************{value[-4:]}" if _CARD.fullmatch(value) else HIDDEN


def _digits(value: str) -> str:
    return re.sub(r"[\s-]", "", value)


_Normaliser = Callable[[str], str]
_SHAPES: Final[Mapping[str, tuple[_Normaliser, _Normaliser]]] = {
    "name": (normalise.name, name),
    "resident_id": (normalise.resident_id, resident_id),
    "credit_code": (normalise.credit_code, credit_code),
    "organisation": (normalise.organisation, organisation),
    "phone": (normalise.phone, phone),
    "bank_card": (_digits, bank_card),
}


def mask(kind: str, value: str) -> str:
    """Return a source value masked as `kind`, one of `MASKS`; odd values are hidden whole."""
    normal, shape = _SHAPES[kind]
    try:
        return shape(normal(value.strip()))
    except ValueInvalid:
        return HIDDEN


MASKS: Final = MappingProxyType({kind: shape for kind, (_, shape) in _SHAPES.items()})
"""The masks that a binding may name; each takes a normalised value."""
