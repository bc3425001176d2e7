"""Reading the node directory's YAML files strictly: duplicate keys, unknown members and wrong types are refused.

YAML 1.1 guesses are switched off (`no`, `012`, 18-digit numbers, dates stay text), because an id number that
turns into an integer is a wrong answer waiting to happen.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


class NodeFileInvalid(ValueError):
    """A file of the node directory cannot be used. The text names file, line where known, member and reason."""


class _StrictLoader(yaml.SafeLoader):
    """YAML with text, true/false, plain integers, null, lists and maps only."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class-level table


_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^(?:0|[1-9][0-9]{0,8})$"), list("0123456789")
)
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, "a member's name must be text", key_node.start_mark)
        if key in result:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(path: Path) -> Members:
    """Read one file whose top level is a map. Raises `NodeFileInvalid`."""
    try:
        with path.open(encoding="utf-8") as file:
            document = yaml.load(file, Loader=_StrictLoader)  # noqa: S506 - a subclass of SafeLoader
    except OSError as error:
        raise NodeFileInvalid(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NodeFileInvalid(f"{path}: not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise NodeFileInvalid(f"{path}:{line}: {error.problem}") from None
    except yaml.YAMLError:
        raise NodeFileInvalid(f"{path}: holds characters that YAML does not allow") from None
    if not isinstance(document, dict):
        raise NodeFileInvalid(f"{path}: a map of members is needed at the top level")
    return Members(str(path), document)


def read_folder(folder: Path) -> list[Members]:
    """Read every `*.yaml` of a folder in the order of names; a folder that is missing is empty."""
    return [read(path) for path in sorted(folder.glob("*.yaml"))]


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
