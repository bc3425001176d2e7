"""GET /log/…: the decision log as C2SP tlog-tiles. Hashes for any caller, entries for auditors."""

from __future__ import annotations

from flask import Response
from flask_smorest import Blueprint
from sqlalchemy import Connection

from app.api.security import node, scope
from app.log import storage
from app.refusals import Refusal
from evidence.tiles import Position, encode_entries, parse_level, parse_position, tile_width

blueprint = Blueprint("log", __name__, description="The decision log, for auditors and witnesses (C2SP tlog-tiles).")

IMMUTABLE = "public, max-age=31536000, immutable"
PRIVATE = "private, max-age=31536000, immutable"  # entries are the auditors' alone


@blueprint.route("/log/checkpoint")
@scope()
@blueprint.doc(
    summary="The newest signed tree head (C2SP tlog-checkpoint)",
    operationId="checkpoint",
    responses={"200": {"description": "Note", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def checkpoint() -> Response:
    """A signed note over origin, size and root."""
    with node().store.reading() as connection:
        _size, note = storage.checkpoint(connection)
    return Response(note, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-cache, max-age=0"})


@blueprint.route("/log/tile/<level>/<path:position>")
@scope()
@blueprint.doc(
    summary="A tile of hashes, or an entry bundle (level `entries`, auditors only)",
    operationId="tile",
    responses={
        "200": {
            "description": "32-byte hashes one after the other; entries with a 16-bit length before each",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def tile(level: str, position: str) -> Response:
    """Full and partial tiles that the newest checkpoint covers."""
    return _entries(position) if level == "entries" else _hashes(level, position)


@scope("audit")
def _entries(position: str) -> Response:
    place = _position(position)
    with node().store.reading() as connection:
        _covered(connection, 0, place)
        bundle = encode_entries(storage.entries(connection, place.number, place.width))
    return _octets(bundle, PRIVATE)


def _hashes(level: str, position: str) -> Response:
    try:
        number = parse_level(level)
    except ValueError:
        raise _unknown() from None
    place = _position(position)
    with node().store.reading() as connection:
        _covered(connection, number, place)
        return _octets(b"".join(storage.tile(connection, number, place.number, place.width)))


def _position(text: str) -> Position:
    try:
        return parse_position(text)
    except ValueError:
        raise _unknown() from None


def _covered(connection: Connection, level: int, place: Position) -> None:
    size, _note = storage.checkpoint(connection)
    if tile_width(size, level, place.number) < place.width:
        raise _unknown()


def _unknown() -> Refusal:
    return Refusal("not-found", "The tree has no such tile: see /log/checkpoint for its size.")


def _octets(content: bytes, caching: str = IMMUTABLE) -> Response:
    return Response(content, content_type="application/octet-stream", headers={"Cache-Control": caching})
