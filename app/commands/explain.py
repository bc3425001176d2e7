"""`python -m app explain`: which rules in force permit or forbid a question, and what is missing, in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from app.commands.opened import console, opened
from app.explaining import Explained, NotKnown, Wanted, explained
from app.registry.agreements import Agreement
from app.registry.current import Current
from policies.decision import Rule
from policies.examination import Examined, Language
from policies.facts import CHINA

# How a rule stands in a table, and the table's own words, by language.
_SAYS: dict[Language, dict[str, str]] = {
    "en": {
        "question": "{0} ({1}) asks {2} for {3} at {4}",
        "True": "permitted by revision {0} of the rules, {1}",
        "False": "denied by revision {0} of the rules, {1}",
        "agreement": "comes under {0}: {1}, {2}, {3}, valid from {4} until {5}\n{6}",
        "signed": "signed by every side",
        "unsigned": "NOT signed by every side",
        "none": "no agreement and no standing terms apply",
        "permit": "permits",
        "forbid": "forbids",
        "unknown": "cannot be evaluated",
        "lacking": "does not permit",
        "outweighed": "would permit",
        "columns": "rule|effect|articles|reason|missing",
    },
    "zh": {
        "question": "{0}（{1}）为 {3} 核验 {2}，时间 {4}",
        "True": "准予核验（规则第 {0} 版，{1}）",
        "False": "不予核验（规则第 {0} 版，{1}）",
        "agreement": "适用 {0}：{1}，{2}，{3}，有效期 {4} 至 {5}\n{6}",
        "signed": "各方签名有效",
        "unsigned": "缺少有关各方的有效签名",
        "none": "没有适用的共享协议或公布条款",
        "permit": "准予",
        "forbid": "否决",
        "unknown": "无法判定",
        "lacking": "不满足准予条件",
        "outweighed": "满足准予条件但被否决",
        "columns": "规则|效力|条款|理由|缺少的条件",
        "agreement:kind": "共享协议",
        "standing-terms:kind": "公布条款",
        "approved:state": "待签署",
        "active:state": "生效",
        "suspended:state": "暂停",
        "expired:state": "已到期",
        "revoked:state": "已终止",
        "superseded:state": "已被替代",
    },
}


@click.command()
@click.option("--client", required=True, help="The consuming system that would ask.")
@click.option("--service", required=True)
@click.option("--purpose", required=True)
@click.option("--attribute", "attributes", multiple=True, help="Declared; without any: those the service requires.")
@click.option("--at", type=click.UNPROCESSED, help="ISO 8601; without an offset, Asia/Shanghai. Without it: now.")
@click.option("--address", help="Without it: one of the agreed networks.")
@click.option("--case", help="Without it: of the agreed pattern.")
@click.option("--operator", help="Without it: of the agreed pattern.")
@click.option("--rows", type=click.IntRange(0), default=0, help="Rows of the batch that the question is part of.")
@click.option("--lang", type=click.Choice(("en", "zh")), default="en")
def explain(lang: Language, at: str | None, attributes: tuple[str, ...], **given: Any) -> None:
    """Say how the rules in force decide a question, and why. Exit code 0: permitted, 1: denied."""
    wanted = Wanted(at=_moment(at), attributes=attributes or None, **given)
    with opened() as (_, store):
        try:
            registry = Current(store, lambda _services: {}).registry
            found = explained(registry, wanted)
        except (NotKnown, ValueError) as error:
            raise click.UsageError(str(error)) from None
    department = registry.departments.clients[wanted.client].department
    _show(
        found,
        lang,
        (
            wanted.client,
            department,
            wanted.service,
            wanted.purpose,
            wanted.at.astimezone(CHINA).isoformat(timespec="seconds"),
        ),
    )
    sys.exit(0 if found.examination.decision.permitted else 1)


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError("--at needs a date and time such as 2026-03-02T09:30:00+08:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=CHINA)


def _show(found: Explained, lang: Language, question: tuple[str, ...]) -> None:
    says, decision, out = _SAYS[lang], found.examination.decision, console()
    out.print(says["question"].format(*question))
    out.print(says[str(decision.permitted)].format(decision.revision, decision.digest), style="bold")
    out.print(_terms(found.agreement, says))
    table = Table(box=SIMPLE_HEAD, show_lines=False)
    for place, heading in enumerate(says["columns"].split("|")):
        table.add_column(heading, overflow="fold", no_wrap=place == 0)
    for effect, rule, missing in _lines(found):
        reason = {"en": rule.reason_en, "zh": rule.reason_zh}[lang]
        needs = "\n".join(getattr(need, lang) for need in missing.missing) if missing else ""
        table.add_row(rule.id, says[effect], "; ".join(rule.basis), reason, needs)
    out.print(table)


def _lines(found: Explained) -> Iterator[tuple[str, Rule, Examined | None]]:
    """What decided comes first, then what could not be evaluated, and every permit that does not speak."""
    decision = found.examination.decision
    determining = {rule.id for rule in decision.rules}
    for rule in decision.rules:
        yield rule.effect, rule, None
    for item in found.examination.rules:
        if item.rule.id in determining:
            continue
        if item.holds is None:
            yield "unknown", item.rule, item
        elif item.rule.effect == "permit" and not item.holds:
            yield "lacking", item.rule, item
        elif item.rule.effect == "permit" and not decision.permitted:
            yield "outweighed", item.rule, item


def _terms(agreement: Agreement | None, says: dict[str, str]) -> str:
    if agreement is None:
        return says["none"]
    terms = agreement.terms
    signed = says["signed" if terms.signed else "unsigned"]
    begin, end = terms.valid_from.isoformat(), terms.valid_until.isoformat()
    kind, state = says.get(f"{terms.kind}:kind", terms.kind), says.get(f"{terms.state}:state", terms.state)
    return says["agreement"].format(terms.id, kind, state, signed, begin, end, terms.digest)
