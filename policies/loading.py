"""Rule files become checked rules, or `RulesInvalid` says which file, line and rule is wrong, and why.

Every rule has `@id`, `@basis`, `@reason` (English) and `@reason_zh`; ids are unique; every name it uses
stands in the schema. A file that narrows (a department's own) holds no permit. Templates are refused, because
they apply to nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import cedarpy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Effect: TypeAlias = Literal["permit", "forbid"]

SCHEMA_FILE = "schema.cedarschema"
REQUIRED = ("id", "basis", "reason", "reason_zh")
# A rule with `@ground("withheld_basis")` quotes that fact, the provider's legal ground, beside its articles.
GROUND = "withheld_basis"

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NUMERAL = "[一二三四五六七八九十百]+"
_ARTICLE = re.compile(rf"\S+ 第{_NUMERAL}条(第{_NUMERAL}款)?")
_TOKEN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;', re.DOTALL)
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")
_SCHEMA_NAME = re.compile(r'([A-Za-z_]\w*)"?\s*\??\s*:(?!:)')


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: effect, articles it rests on, reason in two languages, and the file it stands in."""

    id: str
    effect: Effect
    basis: tuple[str, ...]
    reason_en: str
    reason_zh: str
    file: str
    quotes_ground: bool = False


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
    schema: cedarpy.Schema = field(init=False)
    _names: frozenset[str] = field(init=False)
    _forms: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.schema = cedarpy.Schema.from_str(self.schema_text)
        except ValueError as error:
            raise RulesInvalid(SCHEMA_FILE, 1, None, str(error)) from None
        self._names = frozenset(_SCHEMA_NAME.findall(re.sub(r"//[^\n]*", "", self.schema_text)))

    def add(self, files: Mapping[str, str], *, narrowing: bool) -> None:
        """Check every rule of the files, in the order of their names, and add it. Raises RulesInvalid."""
        for file in sorted(files):
            for line, text in _statements(files[file]):
                for form in _parsed(file, line, text):
                    self._add(_Statement(file, line, text, form), narrowing=narrowing)

    def policies(self) -> cedarpy.PolicySet:
        """All rules added, as one prepared policy set whose policy ids are the rules' own."""
        return cedarpy.PolicySet.from_json_str(
            json.dumps({"staticPolicies": self._forms, "templates": {}, "templateLinks": []})
        )

    def _add(self, statement: _Statement, *, narrowing: bool) -> None:
        rule = _annotated(statement)
        if narrowing and rule.effect == "permit":
            raise statement.refuse("a department's own rules may only narrow, so it must be a forbid")
        if rule.id in self._forms or rule.id in (DEFAULT_DENY.id, EVALUATION_ERROR.id):
            raise statement.refuse("this id is taken")
        found = cedarpy.validate_policies(statement.text, self.schema)
        if not found.validation_passed:
            raise statement.refuse("; ".join(_shorn(error.error) for error in found.errors))
        # Cedar accepts any name after `has`, and a misspelt one would switch the rule off unseen.
        if unknown := set(_names_tested(statement.form)) - self._names:
            raise statement.refuse(f"`has` tests a name that the schema does not know: {', '.join(sorted(unknown))}")
        self._forms[rule.id] = statement.form
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
    if unknown := notes.keys() - {*REQUIRED, "ground"}:
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
    )


def _names_tested(form: object) -> Iterator[str]:
    match form:
        case {"has": {"attr": str(name)}}:
            yield name
    if isinstance(form, dict):
        form = list(form.values())
    if isinstance(form, list):
        for part in form:
            yield from _names_tested(part)


def _shorn(message: str) -> str:
    """Cedar's message without its positional policy name, which means nothing to an author."""
    return re.sub(r"^for policy `policy\d+`[,:] ", "", message)
