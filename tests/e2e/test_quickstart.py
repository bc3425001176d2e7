"""The lines that /docs shows a newcomer, run as they stand by bash and curl against a real node."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from tests.servers.node import ROOT, RunningNode


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_quickstart_of_the_docs_page_gives_a_verdict(node: RunningNode) -> None:
    with node.client("hz-hrss-benefits") as client:
        description = client.get("/openapi.json").body["info"]["description"]
    (script,) = re.findall(r"```bash\n(.*?)```", description, re.DOTALL)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=os.environ | {"NODE": node.url, "PKI": str(node.var / "pki")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"] == "match"
