"""What a signature says of itself is read within bounds, and whatever is not what a node demands is refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import http_sf
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from app.identity.signature_input import MAX_FIELD, Given, Message, SignatureInvalid, given
from evidence.signed_request import COMPONENTS

COVERED = " ".join(f'"{name}"' for name in COMPONENTS)
SAID = ';created=1;keyid="k";nonce="0123456789abcdef";tag="hecha"'
INPUT = f"sig=({COVERED}){SAID}"


def message(input_: str = INPUT, signature: str = "sig=:AAAA:") -> Message:
    return Message("POST", "/", {"signature-input": input_, "signature": signature})


def refused(input_: str = INPUT, signature: str = "sig=:AAAA:") -> str:
    with pytest.raises(SignatureInvalid) as caught:
        given(message(input_, signature))
    return caught.value.detail


def test_signature_is_read() -> None:
    assert given(message()) == Given(
        f"({COVERED}){SAID}",
        {"created": 1, "keyid": "k", "nonce": "0123456789abcdef", "tag": "hecha"},
        b"\x00\x00\x00",
    )


def test_signature_is_written_as_it_is_signed() -> None:
    loose = INPUT.replace('" "', '"   "').replace(";created=1", "; created=0001")
    found = given(message(loose))
    assert found is not None
    assert found.input == f"({COVERED}){SAID}"


@pytest.mark.parametrize("name", COMPONENTS)
def test_component_that_is_demanded_must_be_covered(name: str) -> None:
    assert refused(INPUT.replace(f'"{name}"', '"x"')) == f"The signature must cover {name} too."


def test_all_that_is_missing_is_told_at_once() -> None:
    assert refused(f"sig=(){SAID}") == f"The signature must cover {', '.join(COMPONENTS)} too."


@pytest.mark.parametrize("name", ["created", "keyid", "nonce"])
def test_parameter_that_is_demanded_must_be_there(name: str) -> None:
    parts = [part for part in SAID.split(";") if part and not part.startswith(name)]
    assert refused(f"sig=({COVERED});{';'.join(parts)}") == f"The signature needs its parameter {name}."


@pytest.mark.parametrize("derived", ["@authority", "@scheme", "@request-target", "@path", "@query"])
def test_what_every_request_has_may_be_covered(derived: str) -> None:
    assert given(message(INPUT.replace('("', f'("{derived}" "'))) is not None


@pytest.mark.parametrize("derived", ["@status", "@signature-params", "@query-param", "@unknown", "@"])
def test_what_no_request_has_may_not(derived: str) -> None:
    assert "plain names" in refused(INPUT.replace('("', f'("{derived}" "'))


@pytest.mark.parametrize("nonce", ["a" * 15, "a" * 129, ""])
def test_nonce_of_another_length_is_refused(nonce: str) -> None:
    assert "16 to 128" in refused(INPUT.replace("0123456789abcdef", nonce))


def test_field_of_the_greatest_length_is_read_and_one_longer_is_not() -> None:
    room = MAX_FIELD - len(f', other={"1"};a=""') - len(INPUT)
    longest = f'{INPUT}, other=1;a="{"x" * room}"'
    assert len(longest) == MAX_FIELD
    assert given(message(longest)) is not None
    assert "at most 4096" in refused(f"{longest} ")
    assert "at most 4096" in refused(signature=f"sig=:{'A' * MAX_FIELD}:")


def test_two_signatures_for_a_node_are_refused() -> None:
    assert "Several signatures" in refused(f"{INPUT}, {INPUT.replace('sig=', 'gis=')}", "sig=:AAAA:, gis=:AAAA:")


def test_label_that_stands_twice_is_refused() -> None:
    assert "dictionaries of structured fields" in refused(f"{INPUT}, {INPUT}")
    assert "dictionaries of structured fields" in refused(signature="sig=:AAAA:, sig=:AAAA:")


def test_parameter_that_stands_twice_has_its_last_value() -> None:
    found = given(message(INPUT.replace(";created=1", ";created=9;created=1")))
    assert found == given(message())


@pytest.mark.parametrize(
    "said", ["created=?1", 'created="1"', "created=1.0", "keyid=k", "alg=1", "tag=hecha", "audience=1"]
)
def test_parameter_of_another_type_or_name_is_refused(said: str) -> None:
    assert "of the types of RFC 9421" in refused(f"{INPUT};{said}")


def test_fields_of_others_are_not_even_read_to_their_signature() -> None:
    assert given(message('other=("@method");tag="other"', "((((")) is None


@pytest.mark.parametrize(("age_s", "said"), [(61, "older than 60 s"), (-11, "from the future")])
def test_times_are_held_against_the_clock_that_is_given(age_s: int, said: str) -> None:
    found = given(message())
    assert found is not None
    found.check_times(datetime.fromtimestamp(1, UTC))
    with pytest.raises(SignatureInvalid, match=said):
        found.check_times(datetime.fromtimestamp(1 + age_s, UTC))


FIELDS = (
    st.text(max_size=200)
    | st.text('()"@;=:,?*.- ahkt019\\', max_size=80)
    | st.builds(
        lambda start, stop, text: INPUT[:start] + text + INPUT[stop:],
        st.integers(0, len(INPUT)),
        st.integers(0, len(INPUT)),
        st.text('()"@;=:,? x1', max_size=8),
    )
)


@settings(deadline=None)
@examples(FIELDS, FIELDS | st.just("sig=:AAAA:"))
def test_whatever_is_sent_is_read_left_alone_or_refused(input_: str, signature: str) -> None:
    with suppress(SignatureInvalid):
        found = given(message(input_, signature))
        if found is not None:
            read = cast("dict[str, Any]", http_sf.parse(f"x={found.input}".encode(), tltype="dictionary"))
            components, parameters = read["x"]
            assert set(COMPONENTS) <= {name for name, _ in components}
            assert parameters == found.parameters
