"""C2SP tlog-tiles: the names of tiles and entry bundles, and the bytes of a bundle.

A position is `x001/x234/067` for index 1234067, with `.p/W` behind it for a partial tile of width W.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from evidence.errors import TileNotVerified
from evidence.merkle import MAX_SIZE, TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LEVEL = 63
MAX_ENTRY = 65_535
_POSITION = re.compile(r"((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)
_LEVEL = re.compile("0|[1-9][0-9]?", re.ASCII)


class Position(NamedTuple):
    """Where a tile or bundle stands in its level, and how many of its 256 places are filled."""

    number: int
    width: int


def format_position(number: int, width: int = TILE_WIDTH) -> str:
    """Return the path of tile `number`; raises `ValueError` outside 0 ≤ number < 2**63, 1 ≤ width ≤ 256."""
    if not 0 <= number <= MAX_SIZE or not 1 <= width <= TILE_WIDTH:
        raise ValueError(f"there is no tile {number} of width {width}")
    elements = [f"{number % 1000:03d}"]
    while number := number // 1000:
        elements.append(f"x{number % 1000:03d}")
    path = "/".join(reversed(elements))
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def parse_position(path: str) -> Position:
    """Return the position that `format_position` wrote as `path`; raises `TileNotVerified` otherwise."""
    found = _POSITION.fullmatch(path)
    if found:
        number = int(found[1].replace("x", "").replace("/", ""))
        width = int(found[2] or TILE_WIDTH)
        # Writing it again refuses x000/ in front, `.p/256`, widths and numbers out of range.
        if number <= MAX_SIZE and width <= TILE_WIDTH and format_position(number, width) == path:
            return Position(number, width)
    raise TileNotVerified("The path does not name a tile.")


def tile_path(level: int, number: int, width: int = TILE_WIDTH) -> str:
    """Return `tile/<level>/<position>`; raises `ValueError` for a level outside 0 to 63."""
    if not 0 <= level <= MAX_LEVEL:
        raise ValueError(f"there is no tile level {level}")
    return f"tile/{level}/{format_position(number, width)}"


def entries_path(number: int, width: int = TILE_WIDTH) -> str:
    """Return `tile/entries/<position>`, the path of an entry bundle."""
    return f"tile/entries/{format_position(number, width)}"


def parse_level(text: str) -> int:
    """Return a tile level written in plain decimal; raises `TileNotVerified`."""
    if not _LEVEL.fullmatch(text) or int(text) > MAX_LEVEL:
        raise TileNotVerified("The path does not name a tile level.")
    return int(text)


def tile_width(size: int, level: int, number: int) -> int:
    """Return how many hashes tile `number` of `level` has in a log of `size` leaves: 0 to 256."""
    return max(0, min(TILE_WIDTH, (size >> (8 * level)) - TILE_WIDTH * number))


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Return a bundle: each entry behind its length as big-endian uint16; raises `ValueError` over 65,535."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise ValueError(f"an entry of {len(entry)} bytes does not fit into a bundle")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_entries(bundle: bytes) -> list[bytes]:
    """Return the entries of a bundle; raises `TileNotVerified` unless they fill it, 256 at most."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if at + 2 > len(bundle) or end > len(bundle) or len(entries) == TILE_WIDTH:
            raise TileNotVerified("The entry bundle is cut short or holds more than 256 entries.")
        entries.append(bundle[at + 2 : end])
        at = end
    return entries
