from __future__ import annotations

from pathlib import Path

import pytest

from app.keys.key_files import KeyInvalid
from app.keys.pkcs11_uri import Place, read_uri

PATH = "module-path=/usr/lib/hsm.so&pin-source=file:/etc/hecha/pin"
GOOD = f"pkcs11:token=hecha;object=receipt?{PATH}"


def test_nothing_is_no_uri() -> None:
    with pytest.raises(KeyInvalid, match="not of the form pkcs11:token="):
        read_uri("")


def test_key_is_found_by_label_by_id_or_by_both() -> None:
    module, pin = Path("/usr/lib/hsm.so"), Path("/etc/hecha/pin")
    assert read_uri(GOOD) == Place(module, "hecha", pin, "receipt", None)
    assert read_uri(f"pkcs11:id=%01%ff;token=hecha?{PATH}") == Place(module, "hecha", pin, None, b"\x01\xff")
    both = read_uri(f"pkcs11:token=hecha;object=receipt;id=%01;type=private?{PATH}")
    assert both == Place(module, "hecha", pin, "receipt", b"\x01")


def test_names_are_percent_decoded() -> None:
    place = read_uri(f"pkcs11:token=%E6%A0%B8%E6%9F%A5%3B1;object=a%20b?{PATH}")
    assert (place.token, place.label) == ("核查;1", "a b")


def test_file_uri_may_have_an_empty_host() -> None:
    assert read_uri(GOOD.replace("file:/", "file:///")).pin == Path("/etc/hecha/pin")


def test_pin_in_the_uri_is_refused_by_name() -> None:
    with pytest.raises(KeyInvalid, match="the PIN must not stand in the URI") as refused:
        read_uri(f"{GOOD}&pin-value=1234")
    assert "1234" not in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "pkcs11:",
        "pkcs11:?",
        GOOD.replace("pkcs11:", "PKCS12:"),
        GOOD.replace("token=hecha;", ""),
        GOOD.replace("token=hecha", "token="),
        GOOD.replace(";object=receipt", ""),
        GOOD.replace("object=receipt", "object"),
        GOOD.replace("object=receipt", "object=receipt;object=token"),
        GOOD.replace("object=receipt", "object=receipt;"),
        GOOD.replace("object=receipt", "object=receipt;type=public"),
        GOOD.replace("object=receipt", "object=receipt;serial=1"),
        GOOD.replace("object=receipt", "object=%ff"),
        GOOD.replace("module-path=/usr/lib/hsm.so&", ""),
        GOOD.replace("module-path=/usr", "module-path=usr"),
        GOOD.replace("module-path=/usr/lib/hsm.so", "module-name=hsm"),
        GOOD.replace("&pin-source=file:/etc/hecha/pin", ""),
        GOOD.replace("file:/etc/hecha/pin", "/etc/hecha/pin"),
        GOOD.replace("file:/etc/hecha/pin", "file:etc/hecha/pin"),
        GOOD.replace("file:/etc/hecha/pin", "file://server/pin"),
        GOOD.replace("file:/etc/hecha/pin", "|cat%20/etc/hecha/pin"),
        GOOD + "?x=1",
        GOOD + "\n",
        " " + GOOD,
    ],
)
def test_uri_that_is_not_fully_understood_is_refused(line: str) -> None:
    with pytest.raises(KeyInvalid):
        read_uri(line)
