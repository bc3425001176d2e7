"""What the kernel tells of running servers: processor time, and connections by worker. Linux; elsewhere nothing."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

_PROC = Path("/proc")
_ESTABLISHED = "01"  # in /proc/net/tcp


def descendants(pid: int) -> list[int]:
    """Return `pid` and all processes below it, as they are now; [] where /proc cannot be read."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        if fields := _stat(int(folder.name)):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid] if _stat(pid) else []
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_seconds(pids: list[int]) -> float | None:
    """Return the processor time, user and system, that these processes have used so far; None if unknown."""
    ticks = [sum(map(int, fields[11:13])) for pid in pids if (fields := _stat(pid))]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def busy_seconds() -> float | None:
    """Return the processor time that the whole machine has spent busy since it started; None if unknown."""
    try:
        fields = (_PROC / "stat").read_text("ascii").split(maxsplit=9)[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, steal = map(int, fields)
    return (user + nice + system + interrupts + soft_interrupts + steal) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Readings in seconds: the clock, and processor time of the server, of this process and of the machine."""

    clock_s: float
    server_s: float
    own_s: float
    machine_s: float
    known: bool

    @classmethod
    def now(cls, pids: list[int]) -> Usage:
        """Take the readings; `known` is false where the kernel does not tell."""
        server_s, machine_s = cpu_seconds(pids), busy_seconds()
        known = server_s is not None and machine_s is not None
        return cls(perf_counter(), server_s or 0.0, process_time(), machine_s or 0.0, known)

    def since(self, before: Usage) -> Usage:
        """Return what was used since an earlier reading."""
        return Usage(
            self.clock_s - before.clock_s,
            self.server_s - before.server_s,
            self.own_s - before.own_s,
            self.machine_s - before.machine_s,
            self.known,
        )

    @property
    def others(self) -> float:
        """The share of the machine's processors that neither server nor load used, of a difference of readings."""
        rest_s = self.machine_s - self.server_s - self.own_s
        return max(0.0, rest_s / (self.clock_s * (os.cpu_count() or 1)))


def connections(pids: list[int], port: int) -> list[int]:
    """Return how many established connections to `port` each process holds, most first, leaving out zeros."""
    try:
        lines = (_PROC / "net" / "tcp").read_text("ascii").splitlines()[1:]
    except OSError:
        return []
    local = f":{port:04X}"
    columns = (line.split() for line in lines)
    inodes = {f"socket:[{c[9]}]" for c in columns if c[1].endswith(local) and c[3] == _ESTABLISHED}
    held = Counter(pid for pid in pids for target in _open_files(pid) if target in inodes)
    return sorted(held.values(), reverse=True)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on: [1] parent, [11] user ticks, [12] system ticks."""
    try:
        # The name before them stands in brackets and may hold anything.
        return (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _open_files(pid: int) -> list[str]:
    found: list[str] = []
    with suppress(OSError):
        for link in (_PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                found += [str(link.readlink())]
    return found
