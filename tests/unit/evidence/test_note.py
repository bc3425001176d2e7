from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from evidence.base64s import decode, encode
from evidence.errors import CheckpointNotVerified, KeyNotVerified, NotVerified, SignatureNotVerified
from evidence.note import MAX_NOTE, MAX_SIGNATURES, NoteSigner, NoteVerifier, open_note

TEXT = "hz-tax.example/log\n1\nsome root\n"
LOG = NoteSigner("hz-tax.example/log", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
OTHER = NoteSigner("witness.example", Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
# Another key under the log's own name.
IMPOSTOR = NoteSigner("hz-tax.example/log", Ed25519PrivateKey.from_private_bytes(b"\x03" * 32))
VERIFIER = NoteVerifier.parse(LOG.vkey)
NOTE = LOG.sign(TEXT)
LOG_KEY = LOG.vkey.split("+", 2)[2]
COSIGNER_KEY = encode(b"\x04" + decode(LOG_KEY)[1:])
DASH = "\N{EM DASH}"


def signature_line(note: str) -> str:
    return note.rpartition("\n\n")[2]


def test_note_of_the_go_package_verifies() -> None:
    # The example in the documentation of golang.org/x/mod/sumdb/note, made by another implementation.
    verifier = NoteVerifier.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    lines = (
        "If you think cryptography is the answer to your problem,",
        "then you don't know what your problem is.",
        "",
    )
    text = "\n".join(lines)
    signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    opened = open_note(f"{text}\n{DASH} PeterNeumann {signature}\n", [verifier])
    assert opened.text == text
    assert opened.signed_by == {"PeterNeumann"}


def test_note_signed_here_opens_as_text_and_as_bytes() -> None:
    assert open_note(NOTE, [VERIFIER]) == open_note(NOTE.encode(), [VERIFIER])
    assert open_note(NOTE, [VERIFIER]).text == TEXT


def test_note_is_refused_without_any_trusted_key() -> None:
    with pytest.raises(CheckpointNotVerified, match="no signature"):
        open_note(NOTE, [])
    with pytest.raises(CheckpointNotVerified, match="no signature"):
        open_note(NOTE, [NoteVerifier.parse(OTHER.vkey)])


def test_signature_of_an_unknown_key_is_ignored() -> None:
    both = NOTE + signature_line(OTHER.sign(TEXT)) + f"{DASH} later.example {encode(b'x' * 2_500)}\n"
    assert open_note(both, [VERIFIER]).signed_by == {LOG.name}


def test_impostor_under_the_name_of_a_known_key_proves_nothing() -> None:
    with pytest.raises(CheckpointNotVerified, match="no signature"):
        open_note(IMPOSTOR.sign(TEXT), [VERIFIER])
    assert open_note(NOTE + signature_line(IMPOSTOR.sign(TEXT)), [VERIFIER]).signed_by == {LOG.name}


def test_wrong_signature_under_a_known_key_id_rejects_the_note_despite_a_good_one() -> None:
    forged = f"{DASH} {LOG.name} {encode(VERIFIER.key_id + b'x' * 64)}\n"
    for note in (NOTE + forged, TEXT + "\n" + forged + signature_line(NOTE)):
        with pytest.raises(SignatureNotVerified):
            open_note(note, [VERIFIER])


def test_signatures_of_two_known_keys_are_both_named() -> None:
    both = NOTE + signature_line(OTHER.sign(TEXT))
    assert open_note(both, [VERIFIER, NoteVerifier.parse(OTHER.vkey)]).signed_by == {LOG.name, OTHER.name}


@given(st.data())
def test_any_flipped_bit_of_a_note_is_noticed(data: st.DataObject) -> None:
    spoiled = bytearray(NOTE.encode())
    bit = data.draw(st.integers(0, 8 * len(spoiled) - 1))
    spoiled[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotVerified):
        open_note(bytes(spoiled), [VERIFIER])


def test_text_may_hold_empty_lines() -> None:
    note = LOG.sign("a\n\nb\n\n")
    assert open_note(note, [VERIFIER]).text == "a\n\nb\n\n"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("\n\n", "\n"),
        NOTE.replace(DASH, "-"),
        NOTE.replace(f"{DASH} ", f"{DASH}  "),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("some", "so\tme"),
        NOTE + f"{DASH} name {encode(b'four')}\n",
        NOTE + f"{DASH} name not-base64\n",
        NOTE + f"{DASH} na+me {encode(b'12345')}\n",
        NOTE + f"{DASH} na\u00a0me {encode(b'12345')}\n",
        NOTE + f"{DASH}  {encode(b'12345')}\n",
        NOTE + "words\n",
        NOTE + f"{DASH} x {encode(b'12345')}\n" * MAX_SIGNATURES,
        "x" * MAX_NOTE + NOTE,
        NOTE.replace("some", "\ud800"),
    ],
)
def test_malformed_note_is_refused(note: str) -> None:
    with pytest.raises(CheckpointNotVerified):
        open_note(note, [VERIFIER])


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(CheckpointNotVerified, match="UTF-8"):
        open_note(b"\xff" + NOTE.encode(), [VERIFIER])


def test_sixteen_signatures_of_five_kilobytes_are_read() -> None:
    many = NOTE + "".join(f"{DASH} w{i}.example {encode(bytes(5_000))}\n" for i in range(16))
    assert open_note(many, [VERIFIER]).signed_by == {LOG.name}


@pytest.mark.parametrize("text", ["", "no newline", "carriage\r\n", "nul\x00\n", "tab\t\n"])
def test_text_that_no_note_can_carry_is_not_signed(text: str) -> None:
    with pytest.raises(ValueError, match="newline"):
        LOG.sign(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u3000b", "a\nb", "a\x00b"])
def test_name_that_no_note_can_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of a note key"):
        NoteSigner(name, Ed25519PrivateKey.generate())


def test_verifier_key_is_read_with_its_line_end() -> None:
    assert NoteVerifier.parse(LOG.vkey + "\n").key_id == VERIFIER.key_id


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        LOG.vkey.replace("hz-tax", "hz-law"),
        LOG.vkey[:-4] + "AAA=",
        LOG.vkey.replace("+AY", "+BY"),
        LOG.vkey + "AAAA",
        LOG.vkey + "!",
        LOG.vkey.replace(VERIFIER.key_id.hex(), VERIFIER.key_id.hex().upper()),
        LOG.vkey.replace(VERIFIER.key_id.hex(), "00000000"),
        f"{LOG.name}+{VERIFIER.key_id.hex()}+{COSIGNER_KEY}",
        f"+{VERIFIER.key_id.hex()}+{LOG_KEY}",
    ],
    ids=[
        "empty",
        "name",
        "renamed",
        "key",
        "type",
        "long",
        "no base64",
        "upper case",
        "id",
        "cosigner type",
        "no name",
    ],
)
def test_verifier_key_that_contradicts_itself_is_refused(vkey: str) -> None:
    with pytest.raises(KeyNotVerified):
        NoteVerifier.parse(vkey)
