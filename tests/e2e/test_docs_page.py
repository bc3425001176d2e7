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
def test_docs_page_shows_every_service_and_asks_no_other_host(node: RunningNode, tmp_path: Path) -> None:
    network = tmp_path / "network.json"
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--ignore-certificate-errors", f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={network}"),
            *("--virtual-time-budget=15000", "--dump-dom", f"{node.url}/docs"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "employment-status" in done.stdout, done.stderr[-2000:]
    assert page_hosts(network) == {"127.0.0.1"}


def page_hosts(network: Path) -> set[str | None]:
    """Hosts of every request that the page made; the browser's own start-up requests name their purpose."""
    log = json.loads(network.read_text())
    started = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    requests = [
        event["params"] for event in log["events"] if event["type"] == started and "url" in event.get("params", {})
    ]
    assert requests
    of_page = [item for item in requests if "127.0.0.1" in item.get("network_isolation_key", "")]
    assert of_page
    return {urlsplit(item["url"]).hostname for item in of_page}
