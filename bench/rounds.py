"""Rounds of echo and verification in turn, and the ratio that is left when a noisy machine is divided out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.load import Outcome, in_own_process
from bench.node import Bench, Target
from bench.questions import Questions

MOST_PER_SECOND = 8_000  # bodies prepared for each second of a load: more than Python servers on a few cores answer
WARM_UP_S = 1.0


class RoundFailed(Exception):
    """A server answered something else than 200, or no distinct question is left. The text says which."""


@dataclass(frozen=True, slots=True)
class Round:
    """One load on each server, one straight after the other."""

    echo: Outcome
    verification: Outcome

    @property
    def ratio(self) -> float:
        """Answers per second of verification as a share of the echo's."""
        return self.verification.per_second / self.echo.per_second

    @property
    def cpu_ratio(self) -> float | None:
        """The echo's processor time for a request as a share of verification's; None where it is unknown."""
        echo, verification = self.echo.cpu_ms, self.verification.cpu_ms
        return echo / verification if echo and verification else None


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs rounds over two servers; each load has connections of its own, so that their spread is drawn anew."""

    bench: Bench
    questions: Questions
    connections: int
    seconds: float

    def warm_up(self) -> None:
        """Load both for a second, so that neither is measured with empty caches."""
        for target in (self.bench.echo, self.bench.verification):
            self._load(target, WARM_UP_S)

    def rounds(self, count: int, seen: Callable[[Round], None]) -> list[Round]:
        """Run `count` rounds; `seen` gets each when it is done. Raises `RoundFailed` and `LoadFailed`."""
        done = []
        for number in range(count):
            # Who goes first changes, so that a load that comes or goes does not favour one of the two.
            if number % 2:
                verification = self._load(self.bench.verification, self.seconds)
                echo = self._load(self.bench.echo, self.seconds)
            else:
                echo = self._load(self.bench.echo, self.seconds)
                verification = self._load(self.bench.verification, self.seconds)
            done.append(Round(echo, verification))
            seen(done[-1])
        return done

    def _load(self, target: Target, seconds: float) -> Outcome:
        bodies = self.questions.peek(int(seconds * MOST_PER_SECOND))
        if len(bodies) < self.connections:
            raise RoundFailed("no distinct questions are left: ask for fewer rounds or seconds")
        plan = self.bench.plan(target, self.bench.token(), self.connections, seconds)
        outcome = in_own_process(plan, bodies)
        if target is self.bench.verification:
            self.questions.use_up(outcome.sent)
        if outcome.failures or not outcome.completed:
            raise RoundFailed(f"{target.name}: {outcome.failures} failures, the first: {outcome.first_failure}")
        return outcome


HEADING = (
    f"{'echo/s':>8} {'verif/s':>8} {'ratio':>6} {'by CPU':>6}  {'echo p50':>8} {'p99 ms':>7} "
    f"{'CPU ms':>7}  {'verif p50':>9} {'p99 ms':>7} {'CPU ms':>7}  {'others':>6}  connections by worker"
)


def line(measured: Round) -> str:
    """One round as a line under `HEADING`."""
    echo, verification = measured.echo, measured.verification
    return (
        f"{echo.per_second:8.0f} {verification.per_second:8.0f}"
        f" {measured.ratio:6.3f} {_number(measured.cpu_ratio):>6}"
        f"  {echo.p50_ms:8.1f} {echo.p99_ms:7.1f} {_number(echo.cpu_ms):>7}"
        f"  {verification.p50_ms:9.1f} {verification.p99_ms:7.1f} {_number(verification.cpu_ms):>7}"
        f"  {_others(measured):>6}  {_spread(echo)} / {_spread(verification)}"
    )


def verdict(measured: Sequence[Round]) -> str:
    """The line that counts: the median of the rounds' ratios, and the same by processor time."""
    ratios = [item.ratio for item in measured]
    by_cpu = [item.cpu_ratio for item in measured if item.cpu_ratio is not None]
    first = f"verification/echo = {median(ratios):.2f}"
    detail = f"median of {len(ratios)} rounds, {min(ratios):.2f} to {max(ratios):.2f}"
    return f"{first}  ({detail}; by CPU {_number(median(by_cpu) if by_cpu else None)})"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _others(measured: Round) -> str:
    shares = [one.others for one in (measured.echo, measured.verification) if one.others is not None]
    return f"{max(shares):.0%}" if shares else "?"


def _spread(outcome: Outcome) -> str:
    return "+".join(map(str, outcome.spread)) or "?"
