"""House rules about what is generated or structural: the OpenAPI file is current, imports point down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.__main__ import openapi
from examples.demo.departments import NODE_DIR

ROOT = Path(__file__).parents[2]


def test_committed_openapi_document_is_current() -> None:
    committed = (ROOT / "openapi" / "openapi.json").read_bytes()
    assert openapi(NODE_DIR) == committed, "run: make openapi"


def test_imports_point_down(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--cache-dir", str(tmp_path), "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
