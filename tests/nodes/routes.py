"""Every route of the application with a path that can be asked for, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Flask

from app.api.security import PUBLIC
from app.factory import bare_app
from app.registry import node_directory
from app.registry.agreements import Agreements
from app.registry.node_directory import NodeDirectory
from examples.demo.departments import NODE_DIR

VALUES = {
    "service": "employment-status",
    "identifier": "00000000-0000-4000-8000-000000000000",
    "level": "0",
    "position": "000",
    "name": "swagger-ui.css",
    "filename": "swagger-ui.css",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one rule; `path` has its parameters filled, `view` is the function behind it."""

    method: str
    path: str
    rule: str
    view: Any

    @property
    def public(self) -> bool:
        """Whether the route needs no certificate."""
        return self.path.startswith(PUBLIC)

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"


@cache
def example_directory() -> NodeDirectory:
    """The example node directory, read once in each process."""
    return node_directory.load(NODE_DIR)


@cache
def example_agreements() -> Agreements:
    """The agreements of the example as if all were active; they are not signed."""
    return example_directory().agreements_if_active()


@cache
def example_app() -> Flask:
    """The application of the example node without a node behind it."""
    return bare_app(example_directory(), example_agreements(), 65_536)


def routes() -> Iterator[Route]:
    """Every route but the HEAD and OPTIONS that Flask adds by itself."""
    app = example_app()
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        values = {name: VALUES[name] for name in rule.arguments}
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = adapter.build(rule.endpoint, values, method=method)
            yield Route(method, path, rule.rule, app.view_functions[rule.endpoint])
