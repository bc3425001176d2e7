"""Frozen settings from the environment (`HECHA_*`); a bad value refuses to start.

`docs/settings.md` describes each one; a test holds that page against this module. Secrets are never settings:
keys are files in `HECHA_KEYS_DIR`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

UNIX = "unix:"


class SettingInvalid(ValueError):
    """A setting is missing or has a value the node will not start with. The text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator decides outside the node directory. Paths are absolute, durations in seconds."""

    node_dir: Path
    state_dir: Path
    keys_dir: Path
    database_url: str
    redis_url: str | None
    bind: str
    issuer: str
    tls_certificate: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    tls_minimum: str
    client_crls: tuple[str, ...]
    crl_check: str
    crl_grace_s: int
    proxy_peers: tuple[str, ...]
    connections: int
    workers: int
    threads: int
    token_lifetime_s: int
    max_body_bytes: int
    source_timeout_s: float

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read `HECHA_*` from `env`. Raises `SettingInvalid` for unknown, missing or unusable settings."""
        _refuse_unknown(env)
        read = _Reader(env)
        state_dir = read.path("STATE_DIR", Path("var/state"))
        bind = read.bind("BIND", "127.0.0.1:8443")
        settings = cls(
            node_dir=read.directory("NODE_DIR"),
            state_dir=state_dir,
            keys_dir=read.path("KEYS_DIR", Path("var/keys")),
            database_url=read.text("DATABASE_URL", f"sqlite:///{state_dir / 'node.db'}"),
            redis_url=env.get("HECHA_REDIS_URL") or None,
            bind=bind,
            issuer=read.issuer("ISSUER", f"https://{'localhost' if bind.startswith(UNIX) else bind}"),
            tls_certificate=read.file("TLS_CERTIFICATE"),
            tls_key=read.file("TLS_KEY"),
            tls_client_ca=read.file("TLS_CLIENT_CA"),
            tls_minimum=read.choice("TLS_MINIMUM", ("1.3", "1.2")),
            client_crls=read.lists("CLIENT_CRLS"),
            crl_check=read.choice("CRL_CHECK", ("chain", "leaf")),
            crl_grace_s=read.integer("CRL_GRACE", 3_600, 0, 604_800),
            proxy_peers=read.peers("PROXY_PEERS"),
            connections=read.integer("CONNECTIONS", 1_000, 64, 100_000),
            workers=read.integer("WORKERS", 2, 1, 64),
            threads=read.integer("THREADS", 32, 1, 512),
            token_lifetime_s=read.integer("TOKEN_LIFETIME", 600, 30, 600),
            max_body_bytes=read.integer("MAX_BODY", 65_536, 1_024, 1_048_576),
            source_timeout_s=float(read.integer("SOURCE_TIMEOUT", 5, 1, 60)),
        )
        settings._refuse_contradictions()
        return settings

    def _refuse_contradictions(self) -> None:
        server = (self.tls_certificate, self.tls_key)
        if any(server) and not all((*server, self.tls_client_ca)):
            raise SettingInvalid(
                "HECHA_TLS_CERTIFICATE, HECHA_TLS_KEY and HECHA_TLS_CLIENT_CA belong together: set all three"
            )
        if self.client_crls and self.tls_client_ca is None:
            raise SettingInvalid("HECHA_CLIENT_CRLS needs HECHA_TLS_CLIENT_CA: a list is checked with its authority")
        if self.bind.startswith(UNIX) and self.tls_certificate is not None:
            raise SettingInvalid("HECHA_BIND names a Unix socket, which is for a proxy on this machine, without TLS")
        if self.threads > self.connections:
            raise SettingInvalid("HECHA_CONNECTIONS must not be less than HECHA_THREADS")

    @property
    def host(self) -> str:
        """The address the node listens on; for a Unix socket its path."""
        return self.bind.removeprefix(UNIX) if self.is_local_socket else self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port the node listens on; 0 for a Unix socket."""
        return 0 if self.is_local_socket else int(self.bind.rpartition(":")[2])

    @property
    def is_local_socket(self) -> bool:
        """Whether the node listens on a Unix socket, behind a proxy."""
        return self.bind.startswith(UNIX)


def names() -> frozenset[str]:
    """The environment variables that are settings; units are left out of the names (`HECHA_TOKEN_LIFETIME`)."""
    return frozenset("HECHA_" + re.sub(r"_(s|bytes)$", "", field.name).upper() for field in fields(Settings))


def _refuse_unknown(env: Mapping[str, str]) -> None:
    known = names()
    for name in env:
        # Sources (HECHA_SOURCE_<DEPARTMENT>) are named by the service files; tests have a prefix of their own.
        if name.startswith(("HECHA_SOURCE_", "HECHA_TEST_")) or not name.startswith("HECHA_"):
            continue
        if name not in known:
            raise SettingInvalid(f"{name} is not a setting of this node: see docs/settings.md")


@dataclass(frozen=True, slots=True)
class _Reader:
    """One reader per kind of value, so that every refusal names the setting and what it takes."""

    env: Mapping[str, str]

    def text(self, name: str, default: str) -> str:
        return self.env.get(f"HECHA_{name}") or default

    def path(self, name: str, default: Path) -> Path:
        return Path(self.env.get(f"HECHA_{name}") or default).absolute()

    def directory(self, name: str) -> Path:
        value = self.env.get(f"HECHA_{name}")
        if not value:
            raise SettingInvalid(f"HECHA_{name} is missing: the folder with node.yaml, services/ and agreements/")
        path = Path(value).absolute()
        if not path.is_dir():
            raise SettingInvalid(f"HECHA_{name}={value} is no folder")
        return path

    def file(self, name: str) -> Path | None:
        value = self.env.get(f"HECHA_{name}")
        if not value:
            return None
        path = Path(value).absolute()
        if not path.is_file():
            raise SettingInvalid(f"HECHA_{name}={value} is no file")
        return path

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.env.get(f"HECHA_{name}") or str(default)
        if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise SettingInvalid(f"HECHA_{name}={value}: a whole number from {low} to {high} is needed")
        return int(value)

    def choice(self, name: str, values: tuple[str, ...]) -> str:
        value = self.env.get(f"HECHA_{name}") or values[0]
        if value not in values:
            raise SettingInvalid(f"HECHA_{name}={value}: one of {', '.join(values)} is needed")
        return value

    def lists(self, name: str) -> tuple[str, ...]:
        """Files, as absolute paths, and http or https URLs; separated by spaces or commas."""
        found = []
        for item in re.split(r"[\s,]+", self.env.get(f"HECHA_{name}", "").strip()):
            if re.match(r"[a-z]+://", item):
                parts = urlsplit(item)
                if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
                    raise SettingInvalid(f"HECHA_{name}={item}: neither a file nor an http or https URL")
                found.append(item)
            elif item:
                path = Path(item).absolute()
                if not path.is_file():
                    raise SettingInvalid(f"HECHA_{name}={item} is no file")
                found.append(str(path))
        return tuple(found)

    def peers(self, name: str) -> tuple[str, ...]:
        """`unix`, addresses and networks; separated by spaces or commas."""
        found = []
        for item in re.split(r"[\s,]+", self.env.get(f"HECHA_{name}", "").strip()):
            try:
                found += [item if item == "unix" else str(ip_network(item))] if item else []
            except ValueError:
                raise SettingInvalid(
                    f"HECHA_{name}={item}: neither `unix` nor an address nor a network such as 10.0.0.0/30"
                ) from None
            if item in ("0.0.0.0/0", "::/0"):
                raise SettingInvalid(f"HECHA_{name}={item} would let everybody say whose certificate it saw")
        return tuple(found)

    def bind(self, name: str, default: str) -> str:
        value = self.env.get(f"HECHA_{name}") or default
        if value.startswith(UNIX):
            if not re.match(r"unix:/[^/]", value) or len(value.encode()) > 105:
                raise SettingInvalid(f"HECHA_{name}={value}: unix:/absolute/path, of 100 bytes at most")
            return value
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", value)
        try:
            valid = found is not None and bool(ip_address(found[1] or found[2])) and int(found[3]) <= 65_535
        except ValueError:
            valid = False
        if not valid:
            raise SettingInvalid(f"HECHA_{name}={value}: an address and port such as 127.0.0.1:8443 is needed")
        return value

    def issuer(self, name: str, default: str) -> str:
        value = self.env.get(f"HECHA_{name}") or default
        parts = urlsplit(value)
        # SPEC: RFC 8414 §2: an https URL without query and fragment.
        if parts.scheme != "https" or not parts.netloc or parts.query or parts.fragment or value.endswith("/"):
            raise SettingInvalid(f"HECHA_{name}={value}: an https URL without query, fragment and final slash")
        return value
