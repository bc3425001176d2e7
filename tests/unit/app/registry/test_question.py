"""The compiled reader and the published marshmallow schema are one law: they accept, refuse and type the same."""

from __future__ import annotations

import copy
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from app.api.schemas import question_schema
from app.refusals import Refusal
from app.registry.catalogue import Service
from app.registry.question import Asked, QuestionReader
from tests.nodes.routes import example_app, example_directory

SERVICES = example_directory().catalogue.services
READERS = {name: QuestionReader(service) for name, service in SERVICES.items()}
SCHEMAS = {name: question_schema(service)() for name, service in SERVICES.items()}
DOCUMENT = example_app().test_client().get("/openapi.json").get_json()

ID = "339881197803120013"
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
# Values that are right for some member of some service, or nearly so.
NEAR = st.sampled_from(
    [
        *("2026-09-15", "2026-02-29", "2026-9-15", " 2026-09-15", "２０２６-09-15", "0000-01-01", "9999-12-31"),
        *("1280000.00", "1280000", "-1", "01", "1e6", "0.001", "9999999999999.99", "99999999999999"),
        *(ID, ID[:-1] + "4", ID[:6] + ID[8:17], "33988119780312001３", "339881197803120013 ", "33988119880808001x"),
        *("913398810000000194", "913398810000000195", "91339881000000019４"),
        *(
            "沈建国",
            "买买提・艾力",
            "沈 建 国",
            "",
            " ",
            "\u200b",
            "a" * 100,
            "a" * 101,
            "a\u0000b",
            "\ud800",
            "ﷺ" * 20,
        ),
        *(
            "legal_representative",
            "Legal_representative",
            "sole_trader",
            "normal",
            "in-business",
            "339881",
            "２０２６",
        ),
        *("2026-09", "2026-13", "2025YS000101", "2025ys000101", "3398810000008", "13800138000", "138-0013-8000"),
        *("unemployment-benefit", "A", "a", "ab", "a" * 63, "a" * 64, "UB-2026-0001", "x" * 64, "x" * 65, "\u00a0"),
        *(True, False, None, 0, 1, 2026, [], {}, [ID], {"id_number": ID}, Decimal("1.5")),
    ]
)


def sound(service: Service) -> dict[str, Any]:
    """A question that fits: the service's own example, where it has one."""
    example: dict[str, Any] = copy.deepcopy(dict(service.example))
    return {"purpose": "unemployment-benefit", "case": "UB-2026-0001", "operator": "op-17", **example}


def paths(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every member of a nested document."""
    found = [at] if at else []
    if isinstance(value, dict):
        for name, inner in value.items():
            found += paths(inner, (*at, name))
    return found


@st.composite
def bodies(draw: st.DrawFn, service: Service) -> dict[str, Any]:
    """A fitting question with up to three members replaced, taken out or added."""
    body = sound(service)
    for _ in range(draw(st.integers(0, 3))):
        if not body:
            break
        *way, last = draw(st.sampled_from(paths(body)))
        inner = body
        for name in way:
            inner = inner[name]
        match draw(st.sampled_from(["replace", "remove", "add", "attribute"])):
            case "replace":
                inner[last] = copy.deepcopy(draw(NEAR | WILD))
            case "remove":
                del inner[last]
            case "add":
                inner[draw(TEXT)] = copy.deepcopy(draw(NEAR | WILD))
            case "attribute":
                known = list(service.answerable.attributes) if service.answerable else ["declared"]
                place = body.get("declared")
                (place if isinstance(place, dict) else body)[draw(st.sampled_from(known))] = copy.deepcopy(draw(NEAR))
    return body


def read(name: str, body: dict[str, Any]) -> Asked | None:
    """What the compiled reader makes of a body, None if it refuses."""
    with suppress(Refusal):
        return READERS[name].read(body)
    return None


def loaded(name: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """What the published schema makes of a body, None if it refuses."""
    try:
        found: dict[str, Any] = SCHEMAS[name].load(body)
    except ValidationError:
        return None
    return found


def agree(name: str, body: dict[str, Any]) -> None:
    """Hold both against each other, and what both accept against the published JSON Schema."""
    asked, values = read(name, body), loaded(name, body)
    assert (asked is None) is (values is None), body
    if asked is None or values is None:
        return
    assert (asked.purpose, asked.case, asked.operator) == (values["purpose"], values["case"], values["operator"])
    answerable = SERVICES[name].answerable
    if answerable is not None:
        assert asked.subject == values["subject"][answerable.binding.subject_field]
        assert asked.confirm == values["confirm"]
        assert asked.declared == values.get("declared", {})
        assert {key: type(value) for key, value in asked.declared.items()} == {
            key: type(value) for key, value in values.get("declared", {}).items()
        }
        published(name, body)


def published(name: str, body: dict[str, Any]) -> None:
    """Raise where the OpenAPI document refuses what the node accepts."""
    content = DOCUMENT["paths"][f"/v1/services/{name}/verifications"]["post"]["requestBody"]["content"]
    whole = {**content["application/json"]["schema"], "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(whole).validate(orjson.loads(orjson.dumps(body)))


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_at_all_is_refused_by_both(name: str) -> None:
    assert read(name, {}) is None
    assert loaded(name, {}) is None


@pytest.mark.parametrize("name", SERVICES)
def test_example_is_accepted_by_both(name: str) -> None:
    body = sound(SERVICES[name])
    assert read(name, body) is not None
    agree(name, body)


@pytest.mark.parametrize("name", SERVICES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_reader_and_schema_agree_on_nearly_right_questions(name: str, data: st.DataObject) -> None:
    agree(name, data.draw(bodies(SERVICES[name])))


@given(name=st.sampled_from(sorted(SERVICES)), body=st.dictionaries(TEXT, WILD, max_size=6))
@settings(max_examples=200, deadline=None)
@example(name="adoption-registration", body={"subject": None})
def test_reader_and_schema_agree_on_wild_bodies(name: str, body: dict[str, Any]) -> None:
    agree(name, body)


@pytest.mark.parametrize("part", ["subject", "confirm", "declared"])
@pytest.mark.parametrize("value", [None, [], "", 0, {}, {"x": 1}], ids=repr)
def test_reader_and_schema_agree_on_every_shape_of_a_part(part: str, value: Any) -> None:
    for name, service in SERVICES.items():
        agree(name, sound(service) | {part: value})


@given(value=NEAR | TEXT, member=st.sampled_from(["purpose", "case", "operator"]))
@settings(max_examples=300, deadline=None)
def test_reader_and_schema_agree_on_labels(value: Any, member: str) -> None:
    agree("person-basic", sound(SERVICES["person-basic"]) | {member: value})


def test_values_come_out_parsed_and_on_the_grid() -> None:
    body = sound(SERVICES["property-contract"])
    body["declared"]["price"] = "1270001"
    asked = READERS["property-contract"].read(body)
    assert asked.declared == {"contract_number": "2025YS000101", "price": Decimal("1280000.00")}
    asked = READERS["employment-status"].read(sound(SERVICES["employment-status"]))
    assert asked.declared == {"employed_on": date(2026, 9, 15)}


def test_every_fault_is_named_in_the_order_of_pointers() -> None:
    body = sound(SERVICES["employment-status"]) | {"purpose": 1, "case": "", "declared": {}, "zz": 1}
    with pytest.raises(Refusal) as refused:
        READERS["employment-status"].read(body)
    pointers = [error["pointer"] for error in refused.value.members["errors"]]
    assert pointers == sorted(pointers) == ["/case", "/declared/employed_on", "/purpose", "/zz"]
    assert "4 place(s)" in refused.value.detail


@given(name=st.sampled_from(sorted(SERVICES)), data=st.data())
@settings(max_examples=200, deadline=None)
def test_refusal_never_quotes_a_value(name: str, data: st.DataObject) -> None:
    canary = "CANARY-" + data.draw(st.text("0123456789", min_size=4, max_size=8))
    body = sound(SERVICES[name])
    *way, last = data.draw(st.sampled_from(paths(body)))
    inner = body
    for step in way:
        inner = inner[step]
    inner[last] = data.draw(st.sampled_from([canary, [canary], {canary: canary}, canary + ID]))
    said = ""
    try:
        READERS[name].read(body)
    except Refusal as refusal:
        said = refusal.detail + str(refusal.members)
    assert canary not in said
