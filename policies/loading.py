"""Rule files become checked rules, or `RulesInvalid` says which file, line and rule is wrong, and why.

Every rule has `@id`, `@basis`, `@reason` (English) and `@reason_zh`, every permit `@needs` and `@needs_zh`; ids
are unique; every name it uses stands in the schema. A file that narrows (a department's own) holds no permit, and
in a folder it holds for the provider of that name alone. Templates are refused, because they apply to nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import cedarpy

from policies.forms import DAY_S, confined, conjuncts, fineness_s, names_tested

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Effect: TypeAlias = Literal["permit", "forbid"]

SCHEMA_FILE = "schema.cedarschema"
REQUIRED = ("id", "basis", "reason", "reason_zh")
NEEDS = ("needs", "needs_zh")
# A rule with `@ground("withheld_basis")` quotes that fact, the provider's legal ground, beside its articles.
GROUND = "withheld_basis"

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NUMERAL = "[一二三四五六七八九十百]+"
_ARTICLE = re.compile(rf"\S+ 第{_NUMERAL}条(第{_NUMERAL}款)?")
_TOKEN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;', re.DOTALL)
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")
_OWN_FILE = re.compile(r"(?:([a-z0-9][a-z0-9-]*)/)?[^/]+")
_SCHEMA_NAME = re.compile(r'([A-Za-z_]\w*)"?\s*\??\s*:(?!:)')


@dataclass(frozen=True, slots=True)
class Need:
    """One condition of a permit in words, in English and Chinese."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: effect, articles it rests on, reason in two languages, and the file it stands in.

    `provider`: it holds for this provider's services alone. `needs`: what a permit needs, conjunct by conjunct.
    """

    id: str
    effect: Effect
    basis: tuple[str, ...]
    reason_en: str
    reason_zh: str
    file: str
    quotes_ground: bool = False
    provider: str | None = None
    needs: tuple[Need, ...] = ()


# When no rule speaks, or one cannot be evaluated, a denial still has a reason; these ids are reserved.
DEFAULT_DENY = Rule(
    id="default-deny",
    effect="forbid",
    basis=("四川 第二十二条",),
    reason_en="No rule permits this question.",
    reason_zh="没有任何规则允许本次核验。",
    file="",
)
EVALUATION_ERROR = Rule(
    id="evaluation-error",
    effect="forbid",
    basis=("四川 第三十二条",),
    reason_en="The rules could not be evaluated for this question, so it is denied.",
    reason_zh="规则无法对本次核验作出判定，故不予核验。",
    file="",
)


class RulesInvalid(ValueError):
    """A rule set that must not come into force. `rule` is the id, where one was readable."""

    def __init__(self, file: str, line: int, rule: str | None, reason: str) -> None:
        named = f"rule {rule}: " if rule else ""
        super().__init__(f"{file}, line {line}: {named}{reason}")
        self.file = file
        self.line = line
        self.rule = rule
        self.reason = reason


@dataclass(slots=True)
class Loader:
    """Checks rule files one after the other and collects the rules and their Cedar form."""

    schema_text: str
    rules: list[Rule] = field(default_factory=list)
    forms: dict[str, Any] = field(default_factory=dict)
    _schema: cedarpy.Schema = field(init=False)
    _names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        try:
            self._schema = cedarpy.Schema.from_str(self.schema_text)
        except ValueError as error:
            raise RulesInvalid(SCHEMA_FILE, 1, None, str(error)) from None
        self._names = frozenset(_SCHEMA_NAME.findall(re.sub(r"//[^\n]*", "", self.schema_text)))

    def add(self, files: Mapping[str, str], *, narrowing: bool) -> None:
        """Check every rule of the files, in the order of their names, and add it. Raises RulesInvalid.

        A narrowing file `<provider>/<name>` holds for the services of that provider alone.
        """
        for file in sorted(files):
            provider = _provider(file) if narrowing else None
            for line, text in _statements(files[file]):
                for form in _parsed(file, line, text):
                    self._add(_Statement(file, line, text, form), provider, narrowing=narrowing)

    def policies(self) -> cedarpy.PolicySet:
        """All rules added, as one prepared policy set whose policy ids are the rules' own."""
        return cedarpy.PolicySet.from_json_str(
            json.dumps({"staticPolicies": self.forms, "templates": {}, "templateLinks": []})
        )

    def fineness_s(self) -> dict[str | None, int]:
        """Tell the finest time that the rules see, by provider; under None, where one has no rules of its own."""
        finest: dict[str | None, int] = {None: DAY_S}
        # The rules for all services come first: those of one provider see no less than they do.
        for rule in sorted(self.rules, key=lambda rule: rule.provider is not None):
            seen = finest.get(rule.provider, finest[None])
            finest[rule.provider] = min(seen, fineness_s(self.forms[rule.id]))
        return finest

    def _add(self, statement: _Statement, provider: str | None, *, narrowing: bool) -> None:
        if narrowing and statement.form["effect"] != "forbid":
            raise statement.refuse("a department's own rules may only narrow, so it must be a forbid")
        rule = replace(_annotated(statement), provider=provider)
        taken = {known.id: known.file for known in (*self.rules, DEFAULT_DENY, EVALUATION_ERROR)}
        if rule.id in taken:
            raise statement.refuse(f"this id is taken by {taken[rule.id] or 'the node itself'}")
        found = cedarpy.validate_policies(statement.text, self._schema)
        if not found.validation_passed:
            raise statement.refuse("; ".join(_shorn(error.error) for error in found.errors))
        # Cedar accepts any name after `has`, and a misspelt one would switch the rule off unseen.
        if unknown := set(names_tested(statement.form)) - self._names:
            raise statement.refuse(f"`has` tests a name that the schema does not know: {', '.join(sorted(unknown))}")
        self.forms[rule.id] = confined(statement.form, provider) if provider else statement.form
        self.rules.append(rule)


@dataclass(frozen=True, slots=True)
class _Statement:
    file: str
    line: int
    text: str
    form: Mapping[str, Any]

    @property
    def annotations(self) -> Mapping[str, str | None]:
        found: Mapping[str, str | None] = self.form.get("annotations", {})
        return found

    def refuse(self, reason: str) -> RulesInvalid:
        return RulesInvalid(self.file, self.line, self.annotations.get("id"), reason)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement of a file with the line it begins on; Cedar's own messages carry no position."""
    ends = [token.end() for token in _TOKEN.finditer(text) if token[0] == ";"]
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        blank = _BLANK.match(text, start, end)
        begin = blank.end() if blank else start
        if begin < end:
            yield text.count("\n", 0, begin) + 1, text[begin:end]


def _parsed(file: str, line: int, text: str) -> Iterator[Mapping[str, Any]]:
    try:
        document = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise RulesInvalid(file, line, None, str(error)) from None
    if document["templates"]:
        raise RulesInvalid(file, line, None, "a template with slots applies to nothing; name what it is about")
    yield from document["staticPolicies"].values()


def _annotated(statement: _Statement) -> Rule:
    notes = statement.annotations
    values = {name: (notes.get(name) or "").strip() for name in REQUIRED}
    if missing := [f"@{name}" for name, value in values.items() if not value]:
        raise statement.refuse(f"{', '.join(missing)} missing")
    if unknown := notes.keys() - {*REQUIRED, *NEEDS, "ground"}:
        raise statement.refuse(f"unknown annotation @{', @'.join(sorted(unknown))}")
    if notes.get("ground", GROUND) != GROUND:
        raise statement.refuse(f"@ground can only quote {GROUND}")
    if not _ID.fullmatch(values["id"]):
        raise statement.refuse("@id must be lower-case words joined by hyphens")
    basis = tuple(article.strip() for article in values["basis"].split(";"))
    if wrong := [article for article in basis if not _ARTICLE.fullmatch(article)]:
        raise statement.refuse(f"@basis cites no article, as 四川 第二十三条 does: {'; '.join(wrong)}")
    return Rule(
        id=values["id"],
        effect=statement.form["effect"],
        basis=basis,
        reason_en=values["reason"],
        reason_zh=values["reason_zh"],
        file=statement.file,
        quotes_ground="ground" in notes,
        needs=_needs(statement),
    )


def _needs(statement: _Statement) -> tuple[Need, ...]:
    """What a permit needs, in words: one text per conjunct, so that a permit that does not hold can say why."""
    en, zh = (_list(statement.annotations.get(name) or "") for name in NEEDS)
    if statement.form["effect"] == "forbid":
        if statement.annotations.keys() & set(NEEDS):
            raise statement.refuse("@needs belongs to permits; a forbid that holds states its @reason")
        return ()
    if any(condition["kind"] == "unless" for condition in statement.form["conditions"]):
        raise statement.refuse("a permit states what it needs under `when`; exclude the rest by a forbid")
    needed = len(conjuncts(statement.form))
    if not len(en) == len(zh) == needed:
        raise statement.refuse(f"@needs and @needs_zh say one thing for each of the permit's {needed} conditions")
    return tuple(Need(*texts) for texts in zip(en, zh, strict=True))


def _list(texts: str) -> list[str]:
    return [text.strip() for text in re.split("[;；]", texts) if text.strip()]


def _provider(file: str) -> str | None:
    found = _OWN_FILE.fullmatch(file)
    if found is None:
        raise RulesInvalid(file, 1, None, "a department's file stands in rules/, or in rules/<provider>/")
    return found[1]


def _shorn(message: str) -> str:
    """Cedar's message without its positional policy name, which means nothing to an author."""
    return re.sub(r"^for policy `policy\d+`[,:] ", "", message)
