from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import TileNotVerified
from evidence.merkle import MAX_SIZE
from evidence.tiles import (
    Position,
    decode_entries,
    encode_entries,
    entries_path,
    format_position,
    parse_level,
    parse_position,
    tile_path,
    tile_width,
)


@pytest.mark.parametrize(
    ("number", "width", "path"),
    [
        (0, 256, "000"),
        (999, 256, "999"),
        (1_000, 256, "x001/000"),
        (1_234_067, 256, "x001/x234/067"),
        (1_234_067, 112, "x001/x234/067.p/112"),
        (MAX_SIZE, 1, "x009/x223/x372/x036/x854/x775/807.p/1"),
    ],
)
def test_positions_are_written_as_the_specification_has_them(number: int, width: int, path: str) -> None:
    assert format_position(number, width) == path
    assert parse_position(path) == (number, width)


@given(st.integers(0, MAX_SIZE), st.integers(1, 256))
def test_position_survives_its_path(number: int, width: int) -> None:
    assert parse_position(format_position(number, width)) == Position(number, width)


@given(st.text(alphabet="x0123/.p", max_size=14))
def test_no_two_paths_name_one_tile(path: str) -> None:
    try:
        position = parse_position(path)
    except TileNotVerified:
        return
    assert format_position(position.number, position.width) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "0",
        "00",
        "0000",
        "x000/001",
        "000/001",
        "x001",
        "x001/",
        "/001",
        "x001/x002",
        "X001/002",
        "001.p",
        "001.p/",
        "001.p/0",
        "001.p/01",
        "001.p/256",
        "001.p/999",
        "001.p/1/",
        "001\n",
        "-01",
        "٠٠١",
        "../../etc/passwd",
        "x999/x999/x999/x999/x999/x999/999",
        "x001/x000/x000/x000/x000/x000/x000/000",
    ],
)
def test_bad_form_of_a_path_is_refused(path: str) -> None:
    with pytest.raises(TileNotVerified):
        parse_position(path)


def test_paths_of_tiles_and_bundles() -> None:
    assert tile_path(0, 5) == "tile/0/005"
    assert tile_path(63, 1_005, 17) == "tile/63/x001/005.p/17"
    assert entries_path(273, 112) == "tile/entries/273.p/112"


@pytest.mark.parametrize(("number", "width"), [(-1, 256), (2**63, 256), (0, 0), (0, 257), (0, -1)])
def test_position_that_cannot_be_is_not_written(number: int, width: int) -> None:
    with pytest.raises(ValueError, match="no tile"):
        format_position(number, width)


def test_level_is_a_number_from_0_to_63() -> None:
    assert [parse_level("0"), parse_level("7"), parse_level("63")] == [0, 7, 63]
    for text in ("", "-1", "00", "01", "64", "99", "100", "entries", "1 ", "१"):
        with pytest.raises(TileNotVerified):
            parse_level(text)
    for level in (-1, 64):
        with pytest.raises(ValueError, match="level"):
            tile_path(level, 0)


def test_widths_of_the_tree_of_70000_in_the_specification() -> None:
    assert [tile_width(70_000, 0, n) for n in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tile_width(70_000, 1, n) for n in (0, 1, 2)] == [256, 17, 0]
    assert [tile_width(70_000, 2, n) for n in (0, 1)] == [1, 0]
    assert tile_width(256, 1, 0) == 1


def test_empty_bundle_holds_no_entries() -> None:
    assert (encode_entries([]), decode_entries(b"")) == (b"", [])


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_entries_survive_their_bundle(entries: list[bytes]) -> None:
    assert decode_entries(encode_entries(entries)) == entries


def test_largest_entry_fits_and_a_larger_one_does_not() -> None:
    assert decode_entries(encode_entries([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(ValueError, match="does not fit"):
        encode_entries([bytes(65_536)])


@pytest.mark.parametrize(
    "bundle",
    [b"\x00", b"\x00\x01", b"\x00\x01ab", b"\xff\xffshort", b"\x00\x00" * 257],
    ids=["half a length", "no entry", "rest", "cut", "257 entries"],
)
def test_bundle_that_its_entries_do_not_fill_is_refused(bundle: bytes) -> None:
    with pytest.raises(TileNotVerified):
        decode_entries(bundle)
