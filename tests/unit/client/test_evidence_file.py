from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.evidence_file import (
    MAX_DOCUMENT,
    Evidence,
    EvidenceUnreadable,
    append_evidence,
    read_documents,
)

if TYPE_CHECKING:
    from pathlib import Path

ONE = Evidence(service="wage-base", body={"case": "c-1"}, reply={"id": "x"}, receipt="a.b.c")
TWO = Evidence(service="wage-base", body={"姓名": "张三"}, reply={}, receipt="d.e.f", proof="text")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


def test_empty_file_is_one_document_that_is_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert list(read_documents(path)) == [(str(path), b"")]
    with pytest.raises(EvidenceUnreadable):
        Evidence.parse(b"")


@given(TEXT, st.dictionaries(TEXT, TEXT | st.integers(-9, 9)), TEXT.filter(bool), st.none() | TEXT)
def test_evidence_survives_its_file(service: str, body: dict[str, Any], receipt: str, proof: str | None) -> None:
    evidence = Evidence(service=service, body=body, reply=body, receipt=receipt, proof=proof)
    assert Evidence.parse(evidence.to_json()) == evidence
    assert evidence.to_json().count(b"\n") == 1
    assert list(Evidence.parse(evidence.to_json()).body) == list(body)


def test_form_is_question_reply_receipt_and_proof() -> None:
    assert json.loads(TWO.to_json()) == {
        "question": {"service": "wage-base", "body": {"姓名": "张三"}},
        "reply": {},
        "receipt": "d.e.f",
        "proof": "text",
    }
    assert "proof" not in json.loads(ONE.to_json())


def test_appended_lines_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "kept.ndjson"
    append_evidence(path, ONE)
    assert list(read_documents(path)) == [(str(path), ONE.to_json())]
    append_evidence(path, TWO)
    documents = dict(read_documents(path))
    assert {label: Evidence.parse(data) for label, data in documents.items()} == {
        f"{path}:1": ONE,
        f"{path}:2": TWO,
    }


def test_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "kept.ndjson"
    append_evidence(path, ONE)
    assert path.stat().st_mode & 0o077 == 0


def test_object_over_several_lines_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(json.loads(TWO.to_json()), indent=2))
    [(label, document)] = read_documents(path)
    assert label == str(path)
    assert Evidence.parse(document) == TWO


def test_blank_lines_are_not_documents_and_bad_ones_are(tmp_path: Path) -> None:
    path = tmp_path / "kept.ndjson"
    path.write_bytes(ONE.to_json() + b"\n" + b"not json\n" + TWO.to_json() + b"\n\n")
    assert [label.rpartition(":")[2] for label, _ in read_documents(path)] == ["1", "3", "4"]


def test_document_of_any_size_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(ONE.to_json() + b" " * 10 + b"x" * (2 * MAX_DOCUMENT))
    pieces = [data for _, data in read_documents(path)]
    assert max(map(len, pieces)) == MAX_DOCUMENT
    for piece in pieces[1:]:
        with pytest.raises(EvidenceUnreadable):
            Evidence.parse(piece)


@pytest.mark.parametrize(
    "change",
    [
        {"question": None},
        {"question": {"service": 7, "body": {}}},
        {"question": {"service": "s", "body": []}},
        {"reply": "x"},
        {"receipt": ""},
        {"receipt": 7},
        {"proof": 7},
    ],
    ids=str,
)
def test_document_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EvidenceUnreadable):
        Evidence.parse(json.dumps(json.loads(TWO.to_json()) | change).encode())


@pytest.mark.parametrize("document", [b"[]", b"7", b"null", b"{}", b"{", b"\xff"])
def test_something_else_is_refused(document: bytes) -> None:
    with pytest.raises(EvidenceUnreadable):
        Evidence.parse(document)
