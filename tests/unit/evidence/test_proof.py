from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.base64s import encode
from evidence.errors import ProofNotVerified
from evidence.merkle import MAX_SIZE
from evidence.proof import MAX_PROOF, Proof, format_proof, parse_proof

NOTE = "example.com/fancylog\n109482\nroot\n\n\N{EM DASH} example.com/fancylog c2ln\n"
HASHES = (bytes(range(32)), bytes(32))
TEXT = format_proof(73_894, HASHES, NOTE)


def test_proof_of_the_only_entry_has_no_hashes() -> None:
    assert format_proof(0, [], NOTE) == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{NOTE}"
    assert parse_proof(format_proof(0, [], NOTE)) == Proof(0, (), NOTE)


def test_text_is_as_the_specification_has_it() -> None:
    assert format_proof(73_894, HASHES, NOTE, b"extra data") == (
        "c2sp.org/tlog-proof@v1\n"
        f"extra {encode(b'extra data')}\n"
        "index 73894\n"
        f"{encode(HASHES[0])}\n{encode(HASHES[1])}\n"
        "\n"
        "example.com/fancylog\n109482\nroot\n"
        "\n"
        "\N{EM DASH} example.com/fancylog c2ln\n"
    )


@given(
    st.integers(0, MAX_SIZE),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.none() | st.binary(max_size=100),
)
def test_proof_survives_its_text(index: int, hashes: list[bytes], extra: bytes | None) -> None:
    assert parse_proof(format_proof(index, hashes, NOTE, extra)) == Proof(index, tuple(hashes), NOTE, extra)


@pytest.mark.parametrize(
    "text",
    [
        "",
        NOTE,
        TEXT.replace("@v1", "@v2"),
        TEXT.replace("index 73894\n", ""),
        TEXT.replace("index 73894", "index 073894"),
        TEXT.replace("index 73894", "index -1"),
        TEXT.replace("index 73894", f"index {2**63}"),
        TEXT.replace("index 73894", "Index 73894"),
        TEXT.replace("index 73894\n", "index 73894\nextra AAAA\n"),
        TEXT.replace("index 73894\n", "extra AA\nindex 73894\n"),
        TEXT.replace("index 73894\n", "extra \nextra \nindex 73894\n"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace(encode(HASHES[0]), encode(HASHES[0][:31])),
        TEXT.replace(encode(HASHES[0]), encode(HASHES[0])[:-1]),
        TEXT.replace(encode(HASHES[0]), "\N{EM DASH}"),
        format_proof(1, [bytes(32)] * 64, NOTE),
        TEXT.split("\n\n", maxsplit=1)[0],
        TEXT + "x" * MAX_PROOF,
    ],
)
def test_malformed_proof_is_refused(text: str) -> None:
    with pytest.raises(ProofNotVerified):
        parse_proof(text)
