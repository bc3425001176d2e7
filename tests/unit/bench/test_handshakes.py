"""The bench's own counting: percentiles, ratios, and an attack that fell is seen."""

from __future__ import annotations

import socket

import pytest

from bench.handshakes import IDLE, SLOW, Timings, attack, client_hello, percentile, standing


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 50), percentile(values, 99)) == (50.0, 99.0)
    assert percentile([7.0], 99) == 7.0


def test_nothing_measured_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 99)


def test_table_holds_the_attack_against_the_quiet() -> None:
    timings = Timings()
    for way, quiet, attacked in (("kept", 0.004, 0.005), ("new", 0.010, 0.030)):
        timings.taken[way, False] = [quiet] * 10
        timings.taken[way, True] = [attacked] * 10
    lines = [line.split() for line in timings.table().splitlines()[1:]]
    assert [(line[0], line[1], line[4]) for line in lines] == [
        ("kept", "p50", "1.25"),
        ("kept", "p99", "1.25"),
        ("new", "p50", "3.00"),
        ("new", "p99", "3.00"),
    ]


def test_attack_that_fell_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=IDLE + SLOW) as listener:
        with attack(listener.getsockname()[1]) as attackers:
            accepted = [listener.accept()[0] for _ in attackers]
            assert standing(attackers) == len(attackers) == IDLE + SLOW
            accepted[0].close()
            accepted[-1].close()
            assert standing(attackers) == IDLE + SLOW - 2
        received = sorted(len(connection.recv(65_536)) for connection in accepted[1:-1])
    assert received[: IDLE - 1] == [0] * (IDLE - 1)
    assert received[-1] == len(client_hello()) // 2
    for connection in accepted:
        connection.close()
