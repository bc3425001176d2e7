"""/docs in a real browser: the page works, and asks no other host."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers.node import RunningNode

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)")
def test_docs_page_runs_and_asks_no_other_host(node: RunningNode, tmp_path: Path) -> None:
    network = tmp_path / "network.json"
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--ignore-certificate-errors", f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={network}"),
            # The browser's own habits (updates, sign-in) end here: every other name is unknown to it.
            *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-domain-reliability"),
            *("--timeout=8000", f"--screenshot={tmp_path / 'docs.png'}", f"{node.url}/docs"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    requested = page_requests(network)
    # Its scripts ran, since the page then asked for the document that it shows.
    assert f"{node.url}/openapi.json" in requested, done.stderr[-2000:]
    assert {urlsplit(url).hostname for url in requested} == {"127.0.0.1"}


def page_requests(network: Path) -> list[str]:
    """URLs of every request that the page made; the browser's own requests belong to no page of ours."""
    log = json.loads(network.read_text())
    started = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    found = [event["params"] for event in log["events"] if event["type"] == started and "params" in event]
    return [item["url"] for item in found if "127.0.0.1" in item.get("network_isolation_key", "")]
