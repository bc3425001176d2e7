from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from evidence.base64s import encode
from evidence.checkpoint import Checkpoint, NoteSigner, NoteVerifier, open_checkpoint, parse_decimal
from evidence.errors import CheckpointNotVerified
from evidence.merkle import EMPTY_ROOT, MAX_SIZE

ORIGIN = "hz-tax.example/log"
LOG = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
WITNESS = NoteSigner("witness.example", Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
VERIFIERS = [NoteVerifier.parse(LOG.vkey), NoteVerifier.parse(WITNESS.vkey)]
ROOT = bytes(range(32))
HEAD = Checkpoint(ORIGIN, 20_852_163, ROOT)


def test_checkpoint_of_an_empty_log_opens() -> None:
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert open_checkpoint(LOG.sign(empty.text()), VERIFIERS) == empty


def test_text_is_origin_size_and_root() -> None:
    assert HEAD.text() == f"{ORIGIN}\n20852163\n{encode(ROOT)}\n"


@given(st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_signed_checkpoint_opens_to_itself(size: int, root: bytes) -> None:
    head = Checkpoint(ORIGIN, size, root)
    assert open_checkpoint(LOG.sign(head.text()), VERIFIERS) == head


def test_example_of_the_specification_parses() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert Checkpoint.parse(text).text() == text


def test_extension_lines_are_read_but_not_kept() -> None:
    note = LOG.sign(HEAD.text() + "an extension\nanother\n")
    assert open_checkpoint(note, VERIFIERS) == HEAD
    assert open_checkpoint(note, VERIFIERS).text().count("\n") == 3


def test_checkpoint_of_another_origin_than_the_signing_key_is_refused() -> None:
    with pytest.raises(CheckpointNotVerified, match="origin"):
        open_checkpoint(LOG.sign(Checkpoint("hz-law.example/log", 5, ROOT).text()), VERIFIERS)


def test_checkpoint_that_only_a_witness_signed_is_refused() -> None:
    with pytest.raises(CheckpointNotVerified, match="origin"):
        open_checkpoint(WITNESS.sign(HEAD.text()), VERIFIERS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{ORIGIN}\n5\n",
        f"{ORIGIN}\n5\n{encode(ROOT)}",
        f"\n5\n{encode(ROOT)}\n",
        f"{ORIGIN}\n5\n{encode(ROOT)}\n\n",
        f"{ORIGIN}\n5\n{encode(ROOT)}\n\nextension\n",
        f"{ORIGIN}\n05\n{encode(ROOT)}\n",
        f"{ORIGIN}\n+5\n{encode(ROOT)}\n",
        f"{ORIGIN}\n-5\n{encode(ROOT)}\n",
        f"{ORIGIN}\n5 \n{encode(ROOT)}\n",
        f"{ORIGIN}\n５\n{encode(ROOT)}\n",
        f"{ORIGIN}\n{2**63}\n{encode(ROOT)}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{encode(ROOT)}\n",
        f"{ORIGIN}\n5\n{encode(ROOT[:31])}\n",
        f"{ORIGIN}\n5\n{encode(ROOT)[:-1]}\n",
        f"{ORIGIN}\n0\n{encode(ROOT)}\n",
    ],
)
def test_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointNotVerified):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [("", 1, ROOT), ("a\nb", 1, ROOT), ("a", -1, ROOT), ("a", 2**63, ROOT), ("a", 1, b""), ("a", 0, ROOT)],
)
def test_impossible_head_is_never_written(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(ValueError, match=r"checkpoint|log"):
        Checkpoint(origin, size, root)


@pytest.mark.parametrize("text", ["", "01", "1_0", " 1", "1\n", "0x1", "٣", str(2**63)])
def test_number_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        parse_decimal(text)


def test_largest_number_is_read() -> None:
    assert (parse_decimal("0"), parse_decimal(str(MAX_SIZE))) == (0, MAX_SIZE)
