from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from app.log.sealing import NONCE, Sealer

SEALER = Sealer(b"k" * 32)


@given(st.binary(max_size=200), st.text(max_size=40))
def test_what_was_sealed_is_opened_again(content: bytes, identifier: str) -> None:
    assert SEALER.open(SEALER.seal(content, identifier), identifier) == content


def test_empty_content_is_sealed_too() -> None:
    sealed = SEALER.seal(b"", "id")
    assert len(sealed) == NONCE + 16
    assert SEALER.open(sealed, "id") == b""


def test_same_content_is_never_sealed_alike() -> None:
    assert len({SEALER.seal(b"match", "id") for _ in range(50)}) == 50


def test_row_cannot_be_swapped_with_another_decisions() -> None:
    with pytest.raises(InvalidTag):
        SEALER.open(SEALER.seal(b"match", "decision-1"), "decision-2")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(InvalidTag):
        Sealer(b"x" * 32).open(SEALER.seal(b"match", "id"), "id")


@given(st.integers(0, 8 * (NONCE + 5 + 16) - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    sealed = bytearray(SEALER.seal(b"match", "id"))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidTag):
        SEALER.open(bytes(sealed), "id")


@pytest.mark.parametrize("length", range(NONCE + 16))
def test_content_cut_short_is_noticed_at_any_length(length: int) -> None:
    with pytest.raises(InvalidTag):
        SEALER.open(SEALER.seal(b"match", "id")[:length], "id")
