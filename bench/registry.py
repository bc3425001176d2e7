"""`python -m bench.registry`: a node of 10,000 agreements and 500 services: how it starts, what a decision costs.

The node directory is generated, signed and put in force as an operator's would be. A start is the real command, timed
until the node answers; a decision is what a question needs of the registry: reading, finding its agreement, deciding.
"""

from __future__ import annotations

import gc
import http.client
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import orjson
import yaml

from app.keys import node_keys as keys
from app.recording import Event
from app.server import prepare_state
from app.services import Node, build
from app.settings import Settings
from app.valkey import EmbeddedValkey
from app.verification import Request, now
from bench import node as bench_node
from bench.callers import unchecked_caller
from bench.load import HOST
from evidence.canonical import canonical
from examples.demo import signing
from examples.demo.departments import NODE_DIR
from examples.demo.node import NodeFailed, environment
from examples.demo.personas import personas

FEW, MANY, SERVICES = 10, 10_000, 500
QUICK_MANY, QUICK_SERVICES = 1_000, 50
START_LIMIT_S, DECISION_LIMIT = 5.0, 1.3
ROUNDS, ASKED = 7, 10_000
PROVIDER, SERVICE = "hz-tax", "employment-status"
TERMS = "agreements/hz-civil-employment-status-low-income-household.yaml"


@dataclass(frozen=True, slots=True)
class Place:
    """One agreement of the generated registry: who asks what under which purpose."""

    number: int
    services: int

    @property
    def department(self) -> str:
        """The consumer: as many agreements as there are services."""
        return f"dept-{self.number // self.services}"

    @property
    def service(self) -> str:
        """The service asked."""
        return f"service-{self.number % self.services}"

    @property
    def purpose(self) -> str:
        """One of 500: no two agreements of a department and service have the same."""
        return f"purpose-{self.number % 500}"


def write_directory(folder: Path, target: Path, keys_dir: Path, size: tuple[int, int]) -> None:
    """Generate and sign a directory of so many agreements and services beside those of the example."""
    agreements, services = size
    places = [Place(number, services) for number in range(agreements)]
    departments = sorted({place.department for place in places})
    template = {path.relative_to(NODE_DIR).as_posix(): path.read_bytes() for path in sorted(NODE_DIR.rglob("*.*"))}
    service = yaml.load(template[f"services/{SERVICE}.yaml"], yaml.BaseLoader)  # noqa: S506 - texts only, our own file
    terms = _terms(template[TERMS])
    made: dict[str, Any] = {}
    for name in departments:
        client = {
            "client": f"{name}-client",
            "title": {"en": name, "zh": name},
            "roles": ["consumer"],
            "certificate": {"tls_client_auth_san_dns": f"{name}.clients.hangzhou.example"},
        }
        # A map in flow style, which the signer appends the department's keys to.
        text = yaml.safe_dump({"department": name, "name": {"en": name, "zh": name}, "clients": [client]})
        made[f"departments/{name}.yaml"] = text.encode()
    for number in range(services):
        made[f"services/service-{number}.yaml"] = orjson.dumps({**_typed(service), "service": f"service-{number}"})
    for place in places:
        own = {"agreement": f"agreement-{place.number}", "service": place.service, "consumer": place.department}
        document = {**terms, **own, "purposes": [place.purpose]}
        made[f"agreements/agreement-{place.number:05d}.yaml"] = canonical(document)
    for name, content in (template | made).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    known = signing.read_keys(keys_dir)
    signing.signed_directory(folder, target, known | signing.ensure_keys(folder.parent / "more-keys", departments))


def _terms(text: bytes) -> dict[str, Any]:
    document: dict[str, Any] = _typed(yaml.load(text, yaml.BaseLoader))  # noqa: S506 - the same
    document["quota"] = {"count": 1_000_000, "per": "month"}
    document["budget"] = {"bits": 40}
    return document


def _typed(value: Any) -> Any:
    """Texts of our own example with the types they have in it: `true` and `false`, and the one version number."""
    if isinstance(value, dict):
        return {name: 1 if name == "version" else _typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return {"true": True, "false": False}.get(value, value)


@contextmanager
def in_process(var: Path, name: str, size: tuple[int, int]) -> Iterator[tuple[Node, float]]:
    """A node in this process over a generated registry, and the seconds that putting it in force first took."""
    valkey_folder = var / name
    valkey_folder.mkdir()
    write_directory(var / name / "template", var / name / "node", var / "pki" / "signing", size)
    env = environment(var, 8443) | {
        "HECHA_NODE_DIR": str(var / name / "node"),
        "HECHA_STATE_DIR": str(valkey_folder),
        "HECHA_DATABASE_URL": f"sqlite:///{valkey_folder / 'node.db'}",
    }
    valkey = EmbeddedValkey(valkey_folder)
    valkey.start()
    try:
        settings = Settings.from_env(env)
        started_s = time.perf_counter()
        prepare_state(settings, env)
        first_s = time.perf_counter() - started_s
        node = build(settings, env)
        yield node, first_s
        node.close()
    finally:
        valkey.stop()


def questions(node: Node, size: tuple[int, int]) -> list[Request]:
    """One question under each of the generated agreements."""
    agreements, services = size
    [example] = [item for item in personas() if item.client == "hz-civil-dibao" and item.service == SERVICE][:1]
    body = example.question(1)
    clients = node.registry.departments.clients
    found = []
    for number in range(agreements):
        place = Place(number, services)
        caller = unchecked_caller(clients[f"{place.department}-client"], [f"verify:{place.service}"])
        content = orjson.dumps({**body, "purpose": place.purpose})
        found.append(Request(caller, place.service, content, "127.0.0.1"))
    return found


def decide(node: Node, requests: Sequence[Request]) -> float:
    """Microseconds of processor time that one decision takes, all being permitted."""
    verification, registry = node.verification, node.current.registry
    gc.collect()
    started_s = time.process_time()
    for request in requests:
        event = Event(id="bench", at=now(), caller=request.caller, epoch=registry.epoch)
        put = verification._read(event, registry, request)  # noqa: SLF001 - the part of the path that is measured
        verification._decide(event, registry, put)  # noqa: SLF001 - raises where the rules do not permit
    return (time.process_time() - started_s) / len(requests) * 1e6


def start_seconds(var: Path, directory: Path, state: Path) -> float:
    """Seconds from the command to the first answer of a node whose directory is in force already."""
    port = bench_node.free_port()
    env = environment(var, port) | {
        "HECHA_NODE_DIR": str(directory),
        "HECHA_STATE_DIR": str(state),
        "HECHA_DATABASE_URL": f"sqlite:///{state / 'node.db'}",
    }
    context = bench_node.client_context(var)
    started_s = time.perf_counter()
    with (state / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=Path(__file__).parent.parent,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while not _is_live(port, context):
            if process.poll() is not None or time.perf_counter() - started_s > 60:
                raise NodeFailed((state / "serve.log").read_text("utf-8", "replace")[-2_000:])
            time.sleep(0.02)
        return time.perf_counter() - started_s
    finally:
        process.terminate()
        process.wait(30)


def resident_mb() -> float:
    """Megabytes that this process holds."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def measured(var: Path, many: tuple[int, int], rounds: int) -> bool:
    """Measure a small and a large registry in turn, print what came of it, and say whether the limits are kept."""
    few = (FEW, FEW)
    with in_process(var, "few", few) as (small, _):
        with in_process(var, "many", many) as (large, first_s):
            click.echo(f"{many[0]:,} agreements, {many[1]:,} services: put in force first in {first_s:.1f} s")
            asked = {"few": questions(small, few) * (ASKED // FEW), "many": questions(large, many)}
            before = resident_mb()
            click.echo(f"first question of each agreement: {decide(large, asked['many']):.0f} µs")
            click.echo(f"resident for agreements that were read: {resident_mb() - before:.1f} MB more")
            decide(small, asked["few"])
            ratios = []
            for number in range(rounds):
                pair = [("few", small), ("many", large)]
                taken = {name: decide(one, asked[name]) for name, one in (pair if number % 2 else reversed(pair))}
                ratios.append(taken["many"] / taken["few"])
                click.echo(
                    f"a decision among {FEW}: {taken['few']:.1f} µs, among {many[0]:,}: {taken['many']:.1f} µs"
                )
        started = [start_seconds(var, var / "many" / "node", var / "many") for _ in range(3)]
        usual = [start_seconds(var, var / "few" / "node", var / "few") for _ in range(3)]
    ratio, start_s = median(ratios), median(started)
    kept = ratio <= DECISION_LIMIT and start_s <= START_LIMIT_S
    click.echo(f"decisions = {ratio:.2f}  (limit {DECISION_LIMIT}; {min(ratios):.2f} to {max(ratios):.2f})")
    click.echo(f"start = {start_s:.1f} s  (limit {START_LIMIT_S:g} s; with {FEW} agreements {median(usual):.1f} s)")
    click.echo("both limits are kept" if kept else "a limit is BROKEN")
    return kept


def _is_live(port: int, context: ssl.SSLContext) -> bool:
    connection = http.client.HTTPSConnection(HOST, port, timeout=5, context=context)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@click.command()
@click.option("--rounds", type=click.IntRange(1, 50), default=ROUNDS, show_default=True)
@click.option("--quick", is_flag=True, help="1,000 agreements and 50 services, two rounds: does it run at all?")
def main(*, rounds: int, quick: bool) -> None:
    """Measure start and decision over a large registry; exit 0 only if both limits are kept."""
    many = (QUICK_MANY, QUICK_SERVICES) if quick else (MANY, SERVICES)
    try:
        with bench_node.folder(1_000, 100) as var:
            keys.create(var / "keys")
            kept = measured(var, many, 2 if quick else rounds)
    except NodeFailed as error:
        sys.exit(f"bench: {error}")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
