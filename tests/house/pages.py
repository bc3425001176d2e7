"""The project's pages as tests read them: prose, fenced blocks, tables, sections, links and names in backticks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "README.zh-CN.md", "CHANGELOG.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def prose(text: str) -> str:
    return FENCE.sub("", text)


def fences(text: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text) if found == language]


def sections(name: str) -> dict[str, str]:
    """The sections of a page whose heading is one name in backticks, by that name."""
    parts = re.split(r"^## (.+)\n", prose(read(name)), flags=re.MULTILINE)[1:]
    return {
        title.strip("`"): body
        for title, body in zip(parts[::2], parts[1::2], strict=True)
        if re.fullmatch(r"`[^`]+`", title)
    }


def tables(text: str) -> list[list[list[str]]]:
    """Every table's rows of cells, its head first, the line under the head left out."""
    blocks = re.findall(r"(?:^\|.*\|\n?)+", prose(text), flags=re.MULTILINE)
    rows = [[line.strip().strip("|").split("|") for line in block.strip().splitlines()] for block in blocks]
    return [[[cell.strip() for cell in row] for row in (head, *rest)] for head, _line, *rest in rows]


def table(text: str, first_head: str) -> list[list[str]]:
    (found,) = (rows[1:] for rows in tables(text) if rows[0][0] == first_head)
    return found


def column(text: str, first_head: str) -> set[str]:
    return {name for row in table(text, first_head) for name in CODE.findall(row[0])}
