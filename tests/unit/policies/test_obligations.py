"""What terms bind an answer to is executed or the answer is held back; nothing is disclosed beyond them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.obligations import (
    Disclose,
    Disclosed,
    Fold,
    Freshness,
    HumanReview,
    NotifyProvider,
    Obligation,
    ObligationNotMet,
    UnknownObligation,
    describe,
    disclose,
    obligations_of,
)

FULL: dict[str, Any] = {
    "attributes": ["employed_on", "employer"],
    "disclosure": {"level": "per_attribute", "masked": ["employer"]},
    "fold": False,
    "human_review": True,
    "freshness": "24h",
    "obligations": ["notify-provider", "human-review", "fax-to-minister"],
}


def test_terms_that_say_nothing_disclose_least() -> None:
    assert obligations_of({}) == (Disclose("overall"), Fold())


def test_every_member_is_read_and_each_obligation_stands_once() -> None:
    assert obligations_of(FULL) == (
        Disclose("per_attribute", frozenset({"employer"}), frozenset({"employed_on", "employer"})),
        HumanReview(),
        Freshness(timedelta(hours=24)),
        NotifyProvider(),
        UnknownObligation("fax-to-minister"),
    )


@pytest.mark.parametrize(
    ("text", "age"),
    [("1m", timedelta(minutes=1)), ("36h", timedelta(hours=36)), ("7d", timedelta(days=7))],
)
def test_freshness_is_minutes_hours_or_days(text: str, age: timedelta) -> None:
    assert Freshness(age) in obligations_of({"freshness": text})


MALFORMED: dict[str, Any] = {
    "disclosure": ["overall", {"level": "everything"}, {"level": None}, {"mask": []}, {"masked": "employer"}, None],
    "fold": ["no", None, 0],
    "human_review": ["yes", 1],
    "freshness": ["24", "0h", "h", "-1h", "24 h", "1w", 24, None],
    "obligations": ["fold", [1], {"fold": True}, None],
    "attributes": ["employer", [None]],
}


@pytest.mark.parametrize(
    ("member", "value"), [(member, value) for member, values in MALFORMED.items() for value in values]
)
def test_malformed_member_is_refused_and_not_defaulted(member: str, value: Any) -> None:
    with pytest.raises(ValueError, match=member.split("_", maxsplit=1)[0]):
        obligations_of({member: value})


def test_masked_attribute_that_is_not_agreed_is_refused() -> None:
    with pytest.raises(ValueError, match="wage"):
        obligations_of({"attributes": ["employer"], "disclosure": {"masked": ["wage"]}})


@pytest.mark.parametrize("name", ["fax-to-minister", "Fold", "freshness:24h", "disclose:per_attribute", ""])
def test_answer_under_an_unknown_obligation_is_held_back(name: str) -> None:
    bound = obligations_of({"obligations": [name]})
    assert UnknownObligation(name) in bound
    with pytest.raises(ObligationNotMet) as held_back:
        disclose("match", {}, {}, bound)
    assert str(held_back.value) == name


def test_every_unknown_obligation_is_named() -> None:
    with pytest.raises(ObligationNotMet, match=r"^fax, call$"):
        disclose("match", {}, {}, obligations_of({"obligations": ["fax", "fold", "call"]}))


SAID: dict[str, tuple[dict[str, Any], str]] = {
    "a text in place of a disclosure": ({"disclosure": "all"}, "disclosure has the members level and masked"),
    "a level that is none": ({"disclosure": {"level": "all"}}, "disclosure.level is overall or per_attribute"),
    "a mask in place of masks": ({"disclosure": {"masked": "wage"}}, "disclosure.masked is a list of names"),
    "an attribute in place of attributes": ({"attributes": "wage"}, "attributes is a list of names"),
    "masks not agreed": (
        {"disclosure": {"masked": ["wage", "sector"]}},
        "masked values need agreed attributes: sector, wage",
    ),
    "no age": ({"freshness": "soon"}, "freshness is a number with m, h or d, such as 24h"),
    "no flag": ({"fold": 1}, "fold is true or false"),
    "no names": ({"obligations": "fold"}, "obligations is a list of names"),
}


@pytest.mark.parametrize("flaw", SAID)
def test_refusal_says_what_the_member_must_be(flaw: str) -> None:
    document, said = SAID[flaw]
    with pytest.raises(ValueError, match=f"^{said}$"):
        obligations_of(document)


def test_names_for_publishing() -> None:
    assert describe(obligations_of(FULL)) == [
        "disclose:per_attribute",
        "mask:employer",
        "human-review",
        "freshness:24h",
        "notify-provider",
        "unknown:fax-to-minister",
    ]
    assert describe(obligations_of({"freshness": "90m"})) == ["disclose:overall", "fold", "freshness:90m"]


def test_overall_disclosure_has_no_attributes() -> None:
    assert disclose("match", {"employer": "match"}, {}, obligations_of({"attributes": ["employer"]})) == (
        Disclosed("match", None, None)
    )


def test_without_any_obligation_only_the_result_is_disclosed() -> None:
    assert disclose("not_found", {"a": "match"}, {"a": "x"}, ()) == Disclosed("not_found", None, None)


def test_per_attribute_disclosure_has_the_code_of_each() -> None:
    codes = {"employer": "no_match", "employed_on": "match", "wage": "match"}
    disclosed = disclose("no_match", codes, {"employer": "杭州****公司"}, bound_by("per_attribute", fold=False))
    assert disclosed == Disclosed("no_match", {"employed_on": "match", "employer": "no_match"}, {"employer": None})


def test_folded_answer_keeps_the_codes_of_a_subject_that_was_found() -> None:
    codes = {"employer": "not_found", "employed_on": "match"}
    for result in ("match", "no_match"):
        disclosed = disclose(result, codes, {}, bound_by("per_attribute", fold=True))
        assert disclosed.result == result
        assert disclosed.attributes == {"employed_on": "match", "employer": "no_match"}


def test_masked_value_is_disclosed_on_a_match_alone() -> None:
    seen = {
        result: disclose(result, {}, {"employer": "杭州****公司"}, bound_by("overall", fold=False)).masked
        for result in ("match", "no_match", "not_found")
    }
    assert seen == {
        "match": {"employer": "杭州****公司"},
        "no_match": {"employer": None},
        "not_found": {"employer": None},
    }


def test_masked_member_stands_even_where_the_source_gave_no_value() -> None:
    assert disclose("match", {}, {}, bound_by("overall", fold=True)).masked == {"employer": None}


def test_unfolded_answer_keeps_not_found() -> None:
    codes = {"employer": "not_found", "employed_on": "not_found"}
    disclosed = disclose("not_found", codes, {}, bound_by("per_attribute", fold=False))
    assert (disclosed.result, disclosed.attributes) == ("not_found", codes)


@pytest.mark.parametrize("result", ["", "error", "MATCH", "unavailable"])
def test_what_is_no_result_is_never_disclosed(result: str) -> None:
    with pytest.raises(ValueError, match="result"):
        disclose(result, {}, {}, ())


def test_refusal_of_what_is_no_result_lists_the_results() -> None:
    with pytest.raises(ValueError, match=r"^a result is match, no_match or not_found$"):
        disclose("error", {}, {}, ())


results = st.sampled_from(["match", "no_match", "not_found"])
names = st.sampled_from(["employed_on", "employer", "wage", "sector"])
levels = st.sampled_from(["overall", "per_attribute"])
codes_of_all = st.dictionaries(names, results)
values = st.dictionaries(names, st.sampled_from([None, "", "杭州****公司", "张**"]))


@st.composite
def terms(draw: st.DrawFn) -> dict[str, Any]:
    agreed = draw(st.lists(names, unique=True))
    masked = draw(st.lists(st.sampled_from(agreed), unique=True)) if agreed else []
    return {
        "attributes": agreed,
        "disclosure": {"level": draw(levels), "masked": masked},
        "fold": draw(st.booleans()),
    }


@given(terms(), results, codes_of_all, values)
def test_disclosure_never_contains_an_attribute_that_is_not_agreed(
    document: dict[str, Any], result: str, codes: dict[str, str], masked: dict[str, str | None]
) -> None:
    disclosed = disclose(result, codes, masked, obligations_of(document))
    assert set(disclosed.attributes or {}) <= set(document["attributes"])
    assert set(disclosed.masked or {}) == set(document["disclosure"]["masked"])
    assert (disclosed.attributes is None) == (document["disclosure"]["level"] == "overall")


@given(terms(), codes_of_all, values, st.sampled_from(["no_match", "not_found"]))
def test_folded_answer_does_not_tell_absent_from_disagreeing(
    document: dict[str, Any], codes: dict[str, str], masked: dict[str, str | None], absent_code: str
) -> None:
    bound = obligations_of(document | {"fold": True})
    absent = disclose("not_found", dict.fromkeys(codes, absent_code), {}, bound)
    assert absent == disclose("no_match", dict.fromkeys(codes, "no_match"), masked, bound)
    other = disclose("no_match", codes, masked, bound)
    assert list(absent.attributes or {}) == list(other.attributes or {})
    assert absent.masked == other.masked
    assert "not_found" not in {other.result, *(other.attributes or {}).values()}


@given(terms(), st.sampled_from(["no_match", "not_found"]), codes_of_all, values)
def test_masked_values_show_nothing_without_a_match(
    document: dict[str, Any], result: str, codes: dict[str, str], masked: dict[str, str | None]
) -> None:
    bound = obligations_of(document)
    assert disclose(result, codes, masked, bound) == disclose(result, codes, {}, bound)


def bound_by(level: str, *, fold: bool) -> tuple[Obligation, ...]:
    return obligations_of(
        {
            "attributes": ["employer", "employed_on"],
            "disclosure": {"level": level, "masked": ["employer"]},
            "fold": fold,
        }
    )
