"""Fixtures of the tests of revocation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path as File

import pytest

from app.trust.authorities import Authorities
from app.trust.revocation import RevocationLists
from tests.unit.app.trust.list_server import Published, list_server
from tests.unit.app.trust.revocation_ground import GRACE_S, ISSUING, ROOT, Make, authorities_of, root_list


@pytest.fixture
def authorities(tmp_path: File) -> Authorities:
    return authorities_of(tmp_path, ROOT, ISSUING)


@pytest.fixture
def make(tmp_path: File, authorities: Authorities) -> Iterator[Make]:
    """Make lists over sources, by default those of an authority file with root and issuing authority."""
    with ExitStack() as stack:

        def made(*sources: File | str, check: str = "chain", known: Authorities = authorities) -> RevocationLists:
            lists = RevocationLists(
                list(map(str, sources)), known, check=check, grace_s=GRACE_S, folder=tmp_path / "copies"
            )
            stack.callback(lists.close)
            return lists

        yield made


@pytest.fixture
def published() -> Iterator[Published]:
    with list_server() as found:
        yield found


@pytest.fixture
def of_root(tmp_path: File) -> File:
    """A list of the root that names nobody and holds long."""
    return root_list(tmp_path)
