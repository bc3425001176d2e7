from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.registry.files import MAX_DEPTH, Members, NodeFileInvalid, documents, parse, read
from evidence.canonical import canonical


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def members(**values: Any) -> Members:
    return Members("file.yaml", values)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeFileInvalid, match=r"absent\.yaml: No such file"):
        read(tmp_path / "absent.yaml")


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NodeFileInvalid, match="directory"):
        read(tmp_path)


def test_documents_of_a_folder_come_in_order_and_without_those_below_it() -> None:
    names = ("x/b.yaml", "x/a.yaml", "x/a.json", "x/deep/c.yaml", "xx/d.yaml", "e.yaml")
    files = {name: f"name: {name}".encode() for name in names}
    assert [(name, item.text("name")) for name, item in documents(files, "x")] == [
        ("x/a.yaml", "x/a.yaml"),
        ("x/b.yaml", "x/b.yaml"),
    ]
    assert list(documents(files, "absent")) == []


GUESSES = {
    "no": "no",
    "yes": "yes",
    "on": "on",
    "Off": "Off",
    "True": "True",
    "012": "012",
    "0x1F": "0x1F",
    "1_000": "1_000",
    "1.5": "1.5",
    ".inf": ".inf",
    "1e3": "1e3",
    "-1": "-1",
    "+1": "+1",
    "12:30:45": "12:30:45",
    "2026-11-22": "2026-11-22",
    "2026-11-22T06:00:00Z": "2026-11-22T06:00:00Z",
    "339881197803120013": "339881197803120013",
    "1234567890": "1234567890",
    "=": "=",
    "true": True,
    "false": False,
    "0": 0,
    "123456789": 123_456_789,
    "~": None,
    "": None,
    '"123"': "123",
    "'true'": "true",
}


@pytest.mark.parametrize(("text", "value"), GUESSES.items(), ids=GUESSES.keys())
def test_nothing_is_guessed_into_another_type(tmp_path: Path, text: str, value: Any) -> None:
    """An id number that turns into an integer, or Norway into false, is a wrong answer waiting to happen."""
    found = read(written(tmp_path, f"value: {text}\n")).document["value"]
    assert found == value
    assert type(found) is type(value)


BAD = {
    "duplicate member": ("a: 1\nb: 2\na: 3\n", r"file\.yaml:3: 'a' stands twice"),
    "duplicate deep down": ("a:\n  b: 1\n  b: 2\n", r"file\.yaml:3: 'b' stands twice"),
    "duplicate in a list": ("a:\n  - {b: 1, b: 2}\n", r"file\.yaml:2: 'b' stands twice"),
    "duplicate by quotes": ("a: 1\n'a': 2\n", r"file\.yaml:2: 'a' stands twice"),
    "number as a name": ("1: a\n", r"file\.yaml:1: a member's name must be text"),
    "null as a name": ("~: a\n", r"file\.yaml:1: a member's name must be text"),
    "list as a name": ("[a]: b\n", r"file\.yaml:1: a member's name must be text"),
    "map as a name": ("{a: b}: c\n", r"file\.yaml:1: a member's name must be text"),
    "open bracket": ("a: [1, 2\n", r"file\.yaml:2: "),
    "tab as indent": ("a:\n\tb: 1\n", r"file\.yaml:2: "),
    "python object": ("a: !!python/object/apply:os.system [id]\n", r"file\.yaml:1: tags are not allowed"),
    "custom tag": ("a: !secret x\n", r"file\.yaml:1: tags are not allowed"),
    "tag of text": ("a: 1\nb: !!str 1\n", r"file\.yaml:2: tags are not allowed"),
    "unknown alias": ("a: *b\n", r"file\.yaml:1: anchors and aliases"),
    "anchor": ("a: 1\nb: &x 1\n", r"file\.yaml:2: anchors and aliases"),
    "merge key": ("a: &x {b: 1}\nc: {<<: *x, d: 2}\n", r"file\.yaml:1: anchors and aliases"),
    "endless alias": ("a: &x [*x]\n", r"file\.yaml:1: anchors and aliases"),
    "two documents": ("a: 1\n---\nb: 2\n", r"file\.yaml:2: a second document"),
    "brackets that would end a process": ("[" * 100_000, r"file\.yaml:1: nested deeper"),
    "braces that would end a process": ("{a: " * 100_000, r"file\.yaml:1: nested deeper"),
    "dashes that would end a process": ("- " * 100_000, r"file\.yaml:1: nested deeper"),
    "JSON with a member twice": ('{"a":1,"a":2}', r"file\.yaml:1: 'a' stands twice"),
    "empty file": ("", "a map of members is needed"),
    "list on top": ("- a\n", "a map of members is needed"),
    "text on top": ("a\n", "a map of members is needed"),
    "not UTF-8": (b"a: \xff\n", "not UTF-8"),
    "control character": ("a: \x07\n", r"file\.yaml"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_file_that_is_not_plain_is_refused_with_its_place(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(NodeFileInvalid, match=words) as error:
        read(path)
    assert str(path) in str(error.value)


def test_nesting_is_read_up_to_its_bound() -> None:
    """The top level is one of the levels, the value inside another."""
    depth = MAX_DEPTH - 2
    assert parse("f", b"a: " + b"[" * depth + b"]" * depth).document["a"]
    with pytest.raises(NodeFileInvalid, match=f"deeper than {MAX_DEPTH} levels"):
        parse("f", b"a: " + b"[" * (depth + 2) + b"]" * (depth + 2))


# JSON writes any other character as two escapes, which YAML does not join.
TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 999_999_999) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text('abcé"\\\u2028', max_size=5), JSON_VALUES, max_size=4), st.sampled_from([b"", b"\n"]))
def test_canonical_json_is_read_as_what_it_says(document: dict[str, Any], end: bytes) -> None:
    assert parse("f", canonical(document) + end).document == document


@given(st.dictionaries(st.text("ab c", min_size=1, max_size=5), JSON_VALUES, max_size=4))
def test_json_reads_as_canonical_or_as_yaml_to_the_same_end(document: dict[str, Any]) -> None:
    """Whoever writes an agreement as JSON with spaces has written the same agreement."""
    plain = json.dumps(document, ensure_ascii=True, indent=1).encode()
    assert parse("f", plain).document == document


def test_members_are_taken_by_type() -> None:
    taken = members(t="x", i=3, f=True, l=["a"], n=[1], m={"k": "v"}, c="day", s={"en": "a", "zh": "b"}, maps=[{}])
    assert taken.text("t") == "x"
    assert taken.integer("i") == 3
    assert taken.flag("f", default=False) is True
    assert taken.texts("l") == ("a",)
    assert taken.integers("n") == (1,)
    assert taken.members("m").text("k") == "v"
    assert taken.choice("c", ("day", "month")) == "day"
    assert taken.titles("s") == {"en": "a", "zh": "b"}
    assert len(taken.maps("maps")) == 1
    taken.done()


WRONG: dict[str, list[Any]] = {
    "text": [1, True, None, [], {}],
    "integer": ["1", True, False, None, [], 1.5],
    "texts": ["a", {"a": 1}, [1], ["a", None], True],
    "integers": ["1", [True], ["1"], {}, 1],
    "members": ["a", [], None, 1],
    "maps": [{}, "a", [1], ["a"]],
    "titles": ["a", {"en": "a"}, {"en": 1, "zh": "b"}, {"en": "a", "zh": "b", "fr": "c"}],
}
CASES = [(method, value) for method, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("method", "value"), CASES, ids=[f"{method}-{value!r}" for method, value in CASES])
def test_wrong_type_is_refused_where_it_stands(method: str, value: Any) -> None:
    with pytest.raises(NodeFileInvalid, match=r"^file\.yaml"):
        getattr(members(x=value), method)("x")


@pytest.mark.parametrize("value", ["true", 1, 0, None, []])
def test_flag_is_true_or_false_and_nothing_like_it(value: Any) -> None:
    with pytest.raises(NodeFileInvalid, match="x has the wrong type"):
        members(x=value).flag("x", default=True)


@pytest.mark.parametrize("method", ["text", "integer", "texts", "integers", "members", "maps", "titles"])
def test_missing_member_is_named(method: str) -> None:
    with pytest.raises(NodeFileInvalid, match=r"^file\.yaml: x is missing$"):
        getattr(members(), method)("x")


def test_defaults_stand_in_for_what_is_missing() -> None:
    empty = members()
    assert (empty.text("t", "d"), empty.integer("i", 7), empty.flag("f", default=True)) == ("d", 7, True)
    assert (empty.texts("l", []), empty.maps("m", []), empty.optional("o")) == ((), [], None)


def test_choice_names_what_there_is_to_choose() -> None:
    with pytest.raises(NodeFileInvalid, match="x must be one of day, month"):
        members(x="week").choice("x", ("day", "month"))


def test_member_that_nobody_takes_is_refused() -> None:
    """A misspelt rule must not be a rule that silently does not hold."""
    taken = members(quota=1, qouta=2, fold=True)
    taken.integer("quota")
    with pytest.raises(NodeFileInvalid, match=r"^file\.yaml: unknown member fold, qouta$"):
        taken.done()


def test_inner_place_is_named() -> None:
    with pytest.raises(NodeFileInvalid, match=r"^file\.yaml clients\[1\] certificate: dns is missing$"):
        members(clients=[{}, {"certificate": {}}]).maps("clients")[1].members("certificate").text("dns")


def test_left_and_rest_count_as_taken() -> None:
    taken = members(a=1, b=2, c=3)
    taken.leave(("a", "absent"))
    assert taken.rest() == {"b": 2, "c": 3}
    taken.done()
