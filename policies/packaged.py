"""The rules and the schema that ship with the node: package data, read for the caller who loads them."""

from __future__ import annotations

from importlib.resources import files


def packaged_rules() -> dict[str, str]:
    """Text of every packaged rule file by its name (`sharing.cedar`), in the order of names."""
    folder = files("policies") / "rules"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".cedar"))
    return {name: (folder / name).read_text("utf-8") for name in names}


def packaged_schema() -> str:
    """Text of the Cedar schema that rules and facts are checked against."""
    return (files("policies") / "schema.cedarschema").read_text("utf-8")
