"""What the demonstration reads of the node directory: departments, clients and their certificate names."""

from __future__ import annotations

from pathlib import Path

import yaml

NODE_DIR = Path(__file__).resolve().parents[1] / "hangzhou"
"""The example node directory: the unsigned template of the one that the demonstration runs on."""


def department_names() -> list[str]:
    """Return every department's id, in order."""
    return sorted(path.stem for path in (NODE_DIR / "departments").glob("*.yaml"))


def client_names() -> dict[str, str]:
    """Return the SAN dNSName of every registered client's certificate, by client id."""
    found: dict[str, str] = {}
    for path in sorted((NODE_DIR / "departments").glob("*.yaml")):
        department = yaml.safe_load(path.read_text(encoding="utf-8"))
        for client in department["clients"]:
            found[client["client"]] = client["certificate"]["tls_client_auth_san_dns"]
    return found
