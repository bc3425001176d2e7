"""Where one question's time goes: the node in this process, asked through WSGI by one thread, under cProfile.

One thread asks, so every question pays for a commit of its own, which under load a whole group shares; gunicorn and
TLS are left out. cProfile charges a fixed price per call, so that small functions look dearer than they are.
"""

from __future__ import annotations

import cProfile
import gc
import io
import pstats
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from flask import Flask
from werkzeug.wsgi import ClosingIterator

from app.factory import app_for
from app.identity.connection import PEER_CERTIFICATE
from app.keys import node_keys as keys
from app.server import prepare_state
from app.services import build
from app.settings import Settings
from app.valkey import EmbeddedValkey
from bench import questions
from bench.echo import PATH as ECHO_PATH
from bench.echo import echo_app
from bench.load import HOST
from bench.questions import Questions
from examples.demo.node import environment

TOP = 10
_REPOSITORY = str(Path(__file__).parent.parent) + "/"
_SITE = "/site-packages/"


@dataclass(frozen=True, slots=True)
class Cost:
    """One function's cost per question: calls, microseconds of its own, microseconds with all it called."""

    where: str
    calls: float
    own_us: float
    total_us: float


@dataclass(frozen=True, slots=True)
class Hotspots:
    """What a question and an echo cost in this process (µs, by clock and by CPU), and where the question's went."""

    asked: int
    echo_us: tuple[float, float]
    question_us: tuple[float, float]
    costs: Sequence[Cost]

    def text(self) -> str:
        """The report: totals, then the top ten by own and by cumulative time."""
        calls = sum(cost.calls for cost in self.costs)
        lines = [
            f"{self.asked} questions in process, one by one; µs each",
            f"question: {self.question_us[0]:.0f} by the clock, {self.question_us[1]:.0f} of CPU",
            f"echo: {self.echo_us[0]:.0f} by the clock, {self.echo_us[1]:.0f} of CPU",
            f"under the profiler {calls:.0f} calls a question",
        ]
        for title, key in (("own time", lambda cost: cost.own_us), ("cumulative time", lambda cost: cost.total_us)):
            lines += ["", f"top {TOP} by {title}", f"{'own µs':>8} {'total µs':>9} {'calls':>6}  function"]
            ranked = sorted(self.costs, key=key, reverse=True)[:TOP]
            lines += [f"{c.own_us:8.1f} {c.total_us:9.1f} {c.calls:6.1f}  {c.where}" for c in ranked]
        return "\n".join(lines)


def hotspots(var: Path, asked: int) -> Hotspots:
    """Ask `asked` questions without and as many under the profiler, over the data in `var`."""
    with _node(var) as (application, token, certificate):
        bodies = Questions(var).peek(asked * 2 + asked // 10)
        environs = [_environ(questions.PATH, body, token, certificate) for body in bodies]
        warm, plain, profiled = environs[: asked // 10], environs[asked // 10 : -asked], environs[-asked:]
        _call(application, warm)
        question_us = _timed(application, plain)
        profiler = cProfile.Profile()
        profiler.runcall(_call, application, profiled)
    echo = echo_app()
    echoes = [_environ(ECHO_PATH, body, token, certificate) for body in bodies]
    _call(echo, echoes[: asked // 10])
    return Hotspots(asked, _timed(echo, echoes[-asked:]), question_us, _costs(profiler, asked))


@contextmanager
def _node(var: Path) -> Iterator[tuple[Flask, str, bytes]]:
    """The node's application, a token, and the certificate it is bound to (DER); its Valkey stops at the end."""
    env = environment(var, 8443)
    keys.create(var / "keys")
    settings = Settings.from_env(env)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    valkey = EmbeddedValkey(settings.state_dir)
    valkey.start()
    try:
        prepare_state(settings, env)
        node = build(settings, env)
        application = app_for(node)
        gc.collect()
        gc.freeze()  # as the server does before the first request
        leaf = load_pem_x509_certificates((var / "pki" / f"{questions.CLIENT}.pem").read_bytes())[0]
        certificate = leaf.public_bytes(Encoding.DER)
        yield application, _token(application, certificate), certificate
        node.close()
    finally:
        valkey.stop()


def _token(application: Flask, certificate: bytes) -> str:
    form = {"grant_type": "client_credentials", "client_id": questions.CLIENT}
    answer = application.test_client().post(
        "/oauth2/token", data=form, environ_overrides={PEER_CERTIFICATE: certificate}
    )
    return str(answer.get_json()["access_token"])


def _environ(path: str, body: bytes, token: str, certificate: bytes) -> dict[str, Any]:
    """What gunicorn would hand over for the same request."""
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "RAW_URI": path,
        "QUERY_STRING": "",
        "SERVER_NAME": HOST,
        "SERVER_PORT": "8443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": HOST,
        "HTTP_HOST": f"{HOST}:8443",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "HTTP_ACCEPT": "application/json",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        PEER_CERTIFICATE: certificate,
    }


def _call(application: Flask, environs: Sequence[dict[str, Any]]) -> None:
    for environ in environs:
        answer = application(environ, _expect_ok)
        for _ in answer:
            pass
        if isinstance(answer, ClosingIterator):
            answer.close()


def _expect_ok(status: str, _headers: Any, _exception: Any = None) -> Callable[[bytes], object]:
    if not status.startswith("200"):
        raise RuntimeError(f"an answer was {status}")
    return bytes


def _timed(application: Flask, environs: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Microseconds per request by the clock and by this process's CPU."""
    started = time.perf_counter(), time.process_time()
    _call(application, environs)
    clock_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
    return clock_s / len(environs) * 1e6, cpu_s / len(environs) * 1e6


def _costs(profiler: cProfile.Profile, asked: int) -> list[Cost]:
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    return [
        Cost(_where(*place), calls / asked, own / asked * 1e6, total / asked * 1e6)
        for place, (_primitive, calls, own, total, _callers) in stats.items()
    ]


def _where(file: str, line: int, function: str) -> str:
    if file == "~":
        return function
    short = file.partition(_SITE)[2] or file.removeprefix(_REPOSITORY)
    return f"{short}:{line} {function}"
