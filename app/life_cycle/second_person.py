"""Two persons for what widens (等保三级): what a proposal keeps of who sent it, and whom its decision takes.

INVARIANT: the one who decides is neither the one who proposed nor the client that it is about, and holds another key:
two ids with one key are one person.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from app.life_cycle.clients import Ground, is_officer
from app.refusals import Refusal
from app.registry import lockouts
from app.steps import rfc3339

LAPSES = timedelta(days=30)

_SECOND_PERSON = {
    "rule": "second-person",
    "basis": ["等保三级 (GB/T 22239)"],
    "reason": {
        "en": "Another security administrator, with another key, decides than the one who proposed it, and than "
        "the one it is about.",
        "zh": "该事项须由提出人及当事人以外的另一名安全管理员使用其本人密钥决定。",
    },
}


def sender(ground: Ground) -> dict[str, Any]:
    """What a proposal says of how it was sent: when, under which epoch, over which certificate, with which key."""
    presented = ground.act.caller.presented
    return {
        "at": rfc3339(ground.act.at),
        "epoch": ground.registry.epoch,
        "certificates": sorted(filter(None, (presented.thumbprint, presented.twin))),
        "key": presented.key,
    }


def check_second_person(ground: Ground, document: Mapping[str, Any]) -> None:
    """Raise the `Refusal` not-permitted of whoever is no second person, by id or by key."""
    same_key = ground.act.caller.presented.key == document["sent"]["key"]
    if same_key or ground.by in {document["by"], document["id"]}:
        text = "This takes a second person: see reasons."
        raise Refusal("not-permitted", text, members={"reasons": [_SECOND_PERSON]})


def check_first_person(connection: Connection, ground: Ground, document: Mapping[str, Any]) -> None:
    """Raise the `Refusal` conflict where a proposal lapsed, or nobody knows any more who sent it.

    Two persons agree: of one who was locked out or changed since, whoever has the lost key may have sent it.
    """
    sent, registry = document["sent"], ground.registry
    if ground.act.at - datetime.fromisoformat(sent["at"]) > LAPSES:
        raise Refusal("conflict", f"The proposal lapsed {LAPSES.days} days after it was made: propose anew.")
    first = registry.departments.clients.get(document["by"])
    if first is None or not is_officer(first):
        raise Refusal("conflict", "Whoever proposed this is no active security administrator any more: propose anew.")
    if not registry.lockouts.certificates.isdisjoint(sent["certificates"]):
        raise Refusal("conflict", "The certificate that this was proposed over was suspended since: propose anew.")
    row = lockouts.row_of(connection, first.name)
    moved = row is not None and row.epoch > sent["epoch"]
    if moved or (first.public_keys and sent["key"] not in first.public_keys):
        raise Refusal("conflict", "Whoever proposed this was suspended or changed since: propose anew.")
