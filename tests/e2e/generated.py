"""Requests that schemathesis makes up from a node's OpenAPI document, sent over mutual TLS, and what came of them.

Its engine makes all of its checks. `HECHA_TEST_EXAMPLES` says how many requests it makes up for each operation where
the document sets no bound; without it there are few, and what covers an operation is thinned out.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import orjson
import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData

from examples.demo import identifiers
from tests.e2e.beyond_schema import is_beyond_schema
from tests.servers.node import RunningNode

SEED = 20_261
READER = "hz-outsider"  # whoever reads the document, which is everybody's
ALL = "HECHA_TEST_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("HECHA_TEST_EXAMPLES", "2"))
PHASES = ("examples", "coverage", "fuzzing", "stateful")
HEAD, STEP = 12, 5  # of what covers an operation: the first requests, then every fifth
FEW = 3  # requests without a body to an operation that is not covered
_BORN = date(1960, 1, 1)

Chosen: TypeAlias = Callable[[str], bool]
"""Says of an operation's label, such as `GET /v1/services/{service}`, whether it is to be called."""

schemathesis.openapi.format(
    "resident-id",
    st.builds(
        lambda days, number: identifiers.resident_id("339881", _BORN + timedelta(days), number, "F"),
        st.integers(0, 15_000),
        st.integers(0, 400),
    ),
)
schemathesis.openapi.format(
    "credit-code",
    st.builds(lambda number: identifiers.credit_code("339882", number, "91"), st.integers(0, 99_999_999)),
)
schemathesis.openapi.format("ip-network", st.ip_addresses().map(lambda found: f"{found}/{found.max_prefixlen}"))


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: the name of the certificate's files in the demonstration's PKI, and a token; None leaves one out."""

    certificate: str | None
    token: str | None

    @property
    def authorization(self) -> str | None:
        """The header that bears the token."""
        return None if self.token is None else f"Bearer {self.token}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its response; names of headers are in small letters."""

    phase: str
    method: str
    path: str
    authorization: str | None
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object of the response."""
        found: dict[str, Any] = orjson.loads(self.content)
        return found

    def __str__(self) -> str:
        return f"{self.method} {self.path} ({self.phase}): {self.status} {self.content[:300]!r}"


@dataclass(frozen=True, slots=True)
class Findings:
    """What came of a run: every exchange, how often each check was made, and what is wrong."""

    exchanges: list[Exchange] = field(default_factory=list)
    checks: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def take(self, event: events.EngineEvent) -> None:
        """Keep what the engine tells."""
        if isinstance(event, events.ScenarioFinished):
            self._scenario(event)
        elif isinstance(event, events.NonFatalError):
            self.faults.append(f"{event.label}: {event.info.title}: {event.info.message}")
        elif isinstance(event, events.FatalError):
            raise event.exception

    def _scenario(self, event: events.ScenarioFinished) -> None:
        made = event.recorder.interactions
        for found in made.values():
            if found.response is None:
                self.faults.append(f"{found.request.method} {found.request.uri}: no response")
            else:
                self.exchanges.append(_exchange(event.phase.value, found.request, found.response))
        for case, nodes in event.recorder.checks.items():
            for node in nodes:
                self.checks[node.name] += 1
                if node.failure_info is not None:
                    failure = node.failure_info.failure
                    told = _told(made[failure.case_id or case])
                    self.faults.append(f"{node.name}: {failure.title}: {failure.message}\n{told}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is called: the operations chosen, those of them that are covered, and whether also in sequences.

    Of the others, examples are sent, and a few requests without a body. No client that is `spared` is suspended, so
    that it can be used later on.
    """

    chosen: Chosen
    covered: Chosen
    sequences: bool = False
    spared: AbstractSet[str] = frozenset()


def run(node: RunningNode, sender: Sender, plan: Plan) -> Findings:
    """Carry out a plan, one request after another on a connection that is kept."""
    schema = _schema(node, sender, plan)
    schema.hook("filter_case")(_sends(plan))
    schema.hook("map_case")(_under_a_key_of_its_own)
    schema.hook("filter_failure")(_is_fault)
    findings = Findings()
    for event in from_schema(schema).execute():
        findings.take(event)
    return findings


def _schema(node: RunningNode, sender: Sender, plan: Plan) -> Any:
    with node.client(READER) as client:
        document = client.get("/openapi.json").body
    pki = node.var / "pki"
    settings: dict[str, Any] = {
        "base-url": node.url,
        "tls-verify": str(pki / "ca.pem"),
        "request-timeout": 30,
        "continue-on-failure": True,
        "seed": SEED,
        "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none", "no-shrink": True},
        "suppress-health-check": ["all"],
        # Sequences go on with what earlier answers named: other data in each run, so for the whole mode alone.
        "phases": {name: {"enabled": name != "stateful" or (plan.sequences and ALL)} for name in PHASES},
    }
    if sender.certificate is not None:
        settings["request-cert"] = str(pki / f"{sender.certificate}.pem")
        settings["request-cert-key"] = str(pki / f"{sender.certificate}.key")
    if sender.authorization is not None:
        settings["headers"] = {"Authorization": sender.authorization}
    settings["operations"] = [
        _operation(f"{method.upper()} {path}", plan, bare="requestBody" not in found)
        for path, item in document["paths"].items()
        for method, found in item.items()
        if "operationId" in found
    ]
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(settings))


def _operation(label: str, plan: Plan, *, bare: bool) -> dict[str, Any]:
    covered = ALL or plan.covered(label)
    phases = {"coverage": {"enabled": covered or bare}, "fuzzing": {"enabled": covered}}
    return {"include-name": label, "enabled": plan.chosen(label), "phases": phases}


def _sends(plan: Plan) -> Callable[[Any, schemathesis.Case[Any]], bool]:
    seen: Counter[str] = Counter()

    def is_sent(context: Any, case: schemathesis.Case[Any]) -> bool:
        if case.path.endswith("/suspension") and (case.path_parameters or {}).get("identifier") in plan.spared:
            return False
        if ALL or case.meta is None or case.meta.phase.name != "coverage":
            return True
        number = seen[case.operation.label]
        seen[case.operation.label] += 1
        if not plan.covered(case.operation.label):
            return number < FEW
        return number < HEAD or number % STEP == 0

    return is_sent


def _under_a_key_of_its_own(context: Any, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """A step goes further than to the answer that its Idempotency-Key is taken; keys that are the point stay."""
    meta = case.meta
    is_point = meta is not None and (
        meta.is_negative_at(ParameterLocation.HEADER)
        or getattr(meta.phase.data, "parameter", "") == "Idempotency-Key"
    )
    if case.headers and "Idempotency-Key" in case.headers and not is_point:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    return case


def _is_fault(context: Any, failure: Any, case: Any, response: Any) -> bool:
    return not (isinstance(failure, RejectedPositiveData) and is_beyond_schema(response.json()))


def _exchange(phase: str, request: Any, response: Any) -> Exchange:
    return Exchange(
        phase=phase,
        method=request.method,
        path=unquote(urlsplit(request.uri).path),
        authorization=next(iter(request.headers.get("Authorization", [])), None),
        status=response.status_code,
        headers={name.lower(): ", ".join(values) for name, values in response.headers.items()},
        content=response.content or b"",
    )


def _told(found: Any) -> str:
    """A request and its response for whoever has to repair the node; no token, and all persons are made up."""
    request, response = found.request, found.response
    headers = {name: values for name, values in request.headers.items() if name.lower() != "authorization"}
    told = f"  {request.method} {request.uri}\n  {headers}\n  {(request.body or b'')[:1_000]!r}\n"
    return told if response is None else told + f"  -> {response.status_code} {response.content[:600]!r}"
