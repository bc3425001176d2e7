"""Reading the node directory's YAML files strictly: duplicate keys, unknown members and wrong types are refused.

YAML 1.1 guesses are switched off (`no`, `012`, 18-digit numbers, dates stay text), because an id number that
turns into an integer is a wrong answer waiting to happen. Tags, anchors and aliases are refused: what a person
reads at a place is what stands there. A file that is canonical JSON (RFC 8785) is read as such, which is quicker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import yaml

from evidence.canonical import NotCanonical, canonical

DirectoryFiles: TypeAlias = "Mapping[str, bytes]"
"""The files of a node directory: content by path relative to it, with `/` between the parts."""

MAX_DEPTH = 32
_TRUE_FALSE = {"true": True, "false": False}
_NULL = frozenset(("", "~", "null"))
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")
# libyaml's parser where PyYAML was built with it: it is ten times as quick, and both give the same events.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NodeFileInvalid(ValueError):
    """A file of the node directory cannot be used. The text names file, line where known, member and reason."""


def read(path: Path) -> Members:
    """Read one file whose top level is a map. Raises `NodeFileInvalid`."""
    try:
        return parse(str(path), path.read_bytes())
    except OSError as error:
        raise NodeFileInvalid(f"{path}: {error.strerror}") from None


def parse(name: str, content: bytes) -> Members:
    """Read the content of one file, whose top level is a map; errors call it `name`. Raises `NodeFileInvalid`."""
    document = _canonical_json(content)
    if document is None:
        document = _yaml(name, content)
    if not isinstance(document, dict):
        raise NodeFileInvalid(f"{name}: a map of members is needed at the top level")
    return Members(name, document)


def documents(files: DirectoryFiles, folder: str) -> Iterator[tuple[str, Members]]:
    """Name and members of every `*.yaml` right in a folder, in the order of names. Raises `NodeFileInvalid`."""
    for name in sorted(files):
        if name.startswith(f"{folder}/") and name.endswith(".yaml") and name.count("/") == 1:
            yield name, parse(name, files[name])


def _canonical_json(content: bytes) -> Any:
    """The value of a file that is canonical JSON, perhaps with a newline at its end; else None."""
    if not content.startswith(b"{"):
        return None
    line = content.removesuffix(b"\n")
    try:
        value = orjson.loads(line)
        # INVARIANT: whatever JSON leaves open (members named twice, spelling of numbers) is not canonical.
        return value if canonical(value) == line else None
    except (orjson.JSONDecodeError, NotCanonical):
        return None


def _yaml(name: str, content: bytes) -> Any:
    try:
        return _Document(yaml.parse(content.decode(), Loader=_PARSER)).value()
    except UnicodeDecodeError:
        raise NodeFileInvalid(f"{name}: not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise NodeFileInvalid(f"{name}:{line}: {error.problem}") from None
    except yaml.YAMLError:
        raise NodeFileInvalid(f"{name}: holds characters that YAML does not allow") from None


class _Document:
    """Builds the one document of a YAML stream from its events; raises `yaml.MarkedYAMLError`."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events

    def value(self) -> Any:
        self._next()  # the stream begins
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), MAX_DEPTH)
        self._next()  # the document ends
        if not isinstance(event := self._next(), yaml.StreamEndEvent):
            raise _refused(event, "a second document begins here; a file has one")
        return value

    def _next(self) -> Any:
        return next(self._events)

    def _value(self, event: Any, depth: int) -> Any:
        if not depth:
            raise _refused(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _refused(event, "anchors and aliases are not allowed: write the value where it holds")
        if event.tag is not None:
            raise _refused(event, "tags are not allowed")
        if isinstance(event, yaml.MappingStartEvent):
            return self._map(depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(depth)
        return _scalar(event.value) if event.implicit[0] else event.value

    def _map(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._value(event, depth - 1)
            if not isinstance(key, str):
                raise _refused(event, "a member's name must be text")
            if key in found:
                raise _refused(event, f"{key!r} stands twice")
            found[key] = self._value(self._next(), depth - 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            found.append(self._value(event, depth - 1))
        return found


def _scalar(text: str) -> Any:
    """A plain scalar: true, false, null, whole numbers of up to nine digits; everything else is text."""
    if text in _TRUE_FALSE:
        return _TRUE_FALSE[text]
    if text in _NULL:
        return None
    return int(text) if _INTEGER.fullmatch(text) else text


def _refused(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class Members:
    """The members of a map, taken one by one; whatever is left at `done` is refused as unknown."""

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        self.where = where
        self.document = values
        self._left = dict(values)

    def refuse(self, reason: str) -> NodeFileInvalid:
        """An error that names this place; the caller raises it."""
        return NodeFileInvalid(f"{self.where}: {reason}")

    def _take(self, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self._left.pop(name, default)
        if value is _MISSING:
            raise self.refuse(f"{name} is missing")
        if value is not default and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise self.refuse(f"{name} has the wrong type")
        return value

    def text(self, name: str, default: Any = ...) -> str:
        """The text `name`; without a default it must be there."""
        value: str = self._take(name, str, _MISSING if default is ... else default)
        return value

    def integer(self, name: str, default: Any = ...) -> int:
        """The whole number `name`."""
        value: int = self._take(name, int, _MISSING if default is ... else default)
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """The true or false `name`."""
        value: bool = self._take(name, bool, default)
        return value

    def texts(self, name: str, default: Any = ...) -> tuple[str, ...]:
        """The list of texts `name`."""
        value = self._take(name, list, _MISSING if default is ... else default)
        if not all(isinstance(item, str) for item in value):
            raise self.refuse(f"{name} must be a list of texts")
        return tuple(value)

    def integers(self, name: str) -> tuple[int, ...]:
        """The list of whole numbers `name`."""
        value = self._take(name, list, _MISSING)
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            raise self.refuse(f"{name} must be a list of whole numbers")
        return tuple(value)

    def choice(self, name: str, values: tuple[str, ...], default: Any = ...) -> str:
        """The text `name`, which must be one of `values`."""
        value = self.text(name, default)
        if value not in values:
            raise self.refuse(f"{name} must be one of {', '.join(values)}")
        return value

    def members(self, name: str) -> Members:
        """The map `name`, to be taken member by member."""
        value = self._take(name, dict, _MISSING)
        return Members(f"{self.where} {name}", value)

    def optional(self, name: str) -> Members | None:
        """The map `name`, or None where the file has none."""
        return self.members(name) if name in self._left else None

    def maps(self, name: str, default: Any = ...) -> list[Members]:
        """The list of maps `name`."""
        value = self._take(name, list, _MISSING if default is ... else default)
        if not all(isinstance(item, dict) for item in value):
            raise self.refuse(f"{name} must be a list of maps")
        return [Members(f"{self.where} {name}[{position}]", item) for position, item in enumerate(value)]

    def titles(self, name: str) -> dict[str, str]:
        """A text in English and Chinese: `{en: …, zh: …}`."""
        inner = self.members(name)
        result = {"en": inner.text("en"), "zh": inner.text("zh")}
        inner.done()
        return result

    def leave(self, names: tuple[str, ...]) -> None:
        """Count members as taken that another reader takes from `document`."""
        for name in names:
            self._left.pop(name, None)

    def rest(self) -> dict[str, Any]:
        """Everything that nobody took yet; afterwards nothing is left."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        """Refuse members that nobody took: a misspelt rule must not be a rule that silently doesn't hold."""
        if self._left:
            raise self.refuse(f"unknown member {', '.join(sorted(self._left))}")


_MISSING: Any = object()
