from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import unicodedata
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.normalise import find_identifiers
from app.registry.agreement_document import unsigned_by
from app.registry.node_directory import read_files
from app.registry.revision import load_signed, read_signers
from examples.demo import build as build_module
from examples.demo.build import PROVIDERS, build
from examples.demo.departments import NODE_DIR, department_names
from examples.demo.sources import LOADED_AT

DATA = ("personas.json", "claimants.ndjson", "expected.json", "confirmable.json")


def digests(var: Path) -> dict[str, str]:
    files = [*(var / name for name in DATA), *(var / "sources").glob("*.db")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(var: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (var / "claimants.ndjson").read_text(encoding="utf-8").splitlines()]


def plain(name: str) -> str:
    text = unicodedata.normalize("NFKC", name)
    return "".join(character for character in text if character not in " ·•・")


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def naive_answer(tax: dict[str, list[tuple[Any, ...]]], row: dict[str, Any]) -> tuple[str, bool]:
    """Answer by reading everything, and say whether some wages were declared after the month."""
    number, name = row["subject"]["id_number"], row["confirm"]["name"]
    day = date.fromisoformat(row["declared"]["employed_on"])
    if not any(t[0] == number and plain(t[1]) == plain(name) for t in tax["taxpayers"]):
        return "not_found", False
    spells = [
        (date.fromisoformat(start), date.fromisoformat(end) if end else date.max)
        for id_no, _, _, start, end, _ in tax["wage_declarations"]
        if id_no == number
    ]
    covering = [(start, end) for start, end in spells if start <= day <= end]
    return ("match" if covering else "no_match"), any(end > date(2026, 9, 30) for _, end in covering)


def test_contradicting_counts_build_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        build(tmp_path, people=100, enterprises=5, claimants=10, hits=11, confirmable=0)
    assert not (tmp_path / "built.json").exists()


def test_same_seed_and_scale_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    assert build(tmp_path, people=2_000, enterprises=150, claimants=200, hits=8, confirmable=4)
    assert digests(tmp_path) == digests(small)


def test_second_build_changes_nothing(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*") if path.is_file()}
    said: list[str] = []
    scale = {"people": 2_000, "enterprises": 150, "claimants": 200, "hits": 8, "confirmable": 4}
    assert not build(small, **scale, progress=said.append)
    assert said == []
    assert before == {path: path.stat().st_mtime_ns for path in small.rglob("*") if path.is_file()}


def test_missing_file_is_built_again(tmp_path: Path) -> None:
    def once() -> bool:
        return build(tmp_path, people=300, enterprises=20, claimants=20, hits=2, confirmable=1)

    once()
    before = digests(tmp_path)
    (tmp_path / "sources" / "hz-tax.db").unlink()
    assert once()
    assert digests(tmp_path) == before


def test_node_directory_is_signed_by_the_key_that_the_node_trusts(small: Path) -> None:
    directory, revision = load_signed(read_files(small / "node"), read_signers(small / "keys"))
    assert (directory.name, revision.number) == ("hangzhou", 1)
    assert all(department.signing_keys for department in directory.departments.all.values())
    for item in directory.filed():
        draft = item.draft
        assert unsigned_by(directory.departments, draft.signers, draft.document, item.signatures) == ()


def test_signing_keys_are_their_owners_alone(small: Path) -> None:
    keys = sorted((small / "pki" / "signing").glob("*.key"))
    assert [path.stem for path in keys] == sorted([*department_names(), "policy"])
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert not list((small / "node").rglob("*.key"))


class TestNodeDirectory:
    """Its signing does not wait for data, so it is built by itself here."""

    def ensure(self, var: Path) -> bool:
        return build_module._ensure_node(var, lambda _: None)

    def test_unchanged_template_is_left_as_it_stands_with_what_people_changed(self, tmp_path: Path) -> None:
        assert self.ensure(tmp_path)
        (tmp_path / "node" / "node.yaml").write_text("changed")
        assert not self.ensure(tmp_path)
        assert (tmp_path / "node" / "node.yaml").read_text() == "changed"

    def test_changed_template_is_signed_anew_under_a_higher_revision(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.ensure(tmp_path)
        shutil.copytree(NODE_DIR, tmp_path / "template")
        (tmp_path / "template" / "README.md").write_text("another")
        monkeypatch.setattr(build_module, "NODE_DIR", tmp_path / "template")
        assert self.ensure(tmp_path)
        directory, revision = load_signed(read_files(tmp_path / "node"), read_signers(tmp_path / "keys"))
        assert revision.number == directory.rules.revision == 2
        assert directory.files["README.md"] == b"another"

    @pytest.mark.parametrize("lost", ["pki", "node", "keys", "node.json"])
    def test_whatever_is_lost_a_node_can_start_again(self, tmp_path: Path, lost: str) -> None:
        self.ensure(tmp_path)
        shutil.rmtree(tmp_path / lost) if (tmp_path / lost).is_dir() else (tmp_path / lost).unlink()
        self.ensure(tmp_path)
        load_signed(read_files(tmp_path / "node"), read_signers(tmp_path / "keys"))
        assert not self.ensure(tmp_path)


def test_every_expected_answer_is_what_the_sources_say(small: Path) -> None:
    tax = tables(small / "sources" / "hz-tax.db")
    expected = json.loads((small / "expected.json").read_text())
    confirmable = json.loads((small / "confirmable.json").read_text())
    found = {str(line): naive_answer(tax, row) for line, row in enumerate(rows_of(small), start=1)}
    assert {line: result for line, (result, _) in found.items()} == expected
    assert [int(line) for line, (_, later) in found.items() if later] == confirmable
    counts = [list(expected.values()).count(result) for result in ("match", "no_match", "not_found")]
    assert counts == [8, 190, 2]
    assert len(confirmable) == 4


def test_claimants_are_distinct_and_in_the_rows_format(small: Path) -> None:
    rows = rows_of(small)
    assert len({row["subject"]["id_number"] for row in rows}) == len(rows) == 200
    for row in rows:
        assert {key: set(value) for key, value in row.items()} == {
            "subject": {"id_number"},
            "confirm": {"name"},
            "declared": {"employed_on"},
        }


def test_comparing_numbers_alone_would_give_hits_too_many(small: Path) -> None:
    tax = tables(small / "sources" / "hz-tax.db")
    names = {row[0]: row[1] for row in tax["taxpayers"]}
    careless = [
        naive_answer(tax, row | {"confirm": {"name": names.get(row["subject"]["id_number"], "")}})[0]
        for row in rows_of(small)
    ]
    assert careless.count("match") > 8


def test_every_source_says_when_each_relation_was_loaded(small: Path) -> None:
    assert datetime.fromisoformat(LOADED_AT).tzinfo is not None
    for provider in PROVIDERS:
        found = tables(small / "sources" / f"{provider}.db")
        status = found.pop("load_status")
        assert status == [(name, LOADED_AT) for name in found]
        assert all(found.values())


def test_sources_spell_some_names_in_their_own_way(small: Path) -> None:
    police = {row[0]: row[1] for row in tables(small / "sources" / "hz-police.db")["residents"]}
    tax = {row[0]: row[1] for row in tables(small / "sources" / "hz-tax.db")["taxpayers"]}
    market = {row[0]: row[1] for row in tables(small / "sources" / "hz-market.db")["natural_persons"]}
    assert any("\u3000" in name for name in tax.values())
    assert any("・" in name for name in tax.values())
    assert any("•" in name for name in market.values())
    assert all(plain(name) == plain(police[number]) for number, name in {**tax, **market}.items())


def test_personas_can_be_asked_as_they_are(small: Path) -> None:
    published = json.loads((small / "personas.json").read_text(encoding="utf-8"))
    members = {"service", "client", "purpose", "case", "operator", "subject", "confirm", "declared", "expect"}
    assert all(set(persona) == members for persona in published)
    assert len({persona["case"] for persona in published}) == len(published)
    for persona in published:
        assert not find_identifiers(persona["case"])
        assert not find_identifiers(persona["operator"])


def test_ids_of_personas_and_people_do_not_depend_on_the_scale(small: Path, tmp_path: Path) -> None:
    build(tmp_path, people=300, enterprises=20, claimants=20, hits=2, confirmable=1)
    assert (tmp_path / "personas.json").read_bytes() == (small / "personas.json").read_bytes()
