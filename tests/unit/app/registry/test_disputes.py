"""The order of a dispute's steps, whoever takes them: every way through it ends, and none grants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.refusals import Refusal
from app.registry.disputes import MOVES, OPEN, OUTCOMES, follow

SIDES = ("consumer", "provider", "authority", "auditor", "")
ENDS = {"ruled", "settled", "withdrawn"}
steps = st.lists(
    st.tuples(st.sampled_from(sorted(MOVES)), st.sampled_from(SIDES), st.sampled_from([None, *OUTCOMES])), max_size=30
)


def test_longest_way_goes_through_every_instance_in_order() -> None:
    state, way = "negotiation", []
    for step, side, outcome in (
        ("negotiation", "provider", None),
        ("coordination", "authority", None),
        ("joint-review", "authority", None),
        ("ruling", "authority", "for-consumer"),
    ):
        state = follow(state, step, side, outcome).leads_to
        way.append(state)
    assert way == ["negotiation", "coordination", "joint-review", "ruled"]


@given(steps)
def test_any_row_of_steps_ends_at_most_once_and_only_authority_or_provider_reopen(
    taken: list[tuple[str, str, str | None]],
) -> None:
    state, ends = "negotiation", 0
    for step, side, outcome in taken:
        try:
            move = follow(state, step, side, outcome)
        except Refusal as refusal:
            assert refusal.slug in {"not-permitted", "conflict", "invalid-request"}  # noqa: PT017 - one of three
            continue
        assert state in OPEN
        assert side in move.by
        if move.reopens:
            assert (side, step, outcome) in {
                ("authority", "ruling", "for-consumer"),
                ("provider", "settlement", None),
            }
        state = move.leads_to
        ends += state in ENDS
    assert ends <= 1
    assert state in {*OPEN, *ENDS}


@pytest.mark.parametrize("end", sorted(ENDS))
@pytest.mark.parametrize("step", sorted(MOVES))
def test_dispute_that_has_ended_takes_no_step(end: str, step: str) -> None:
    side = min(MOVES[step].by)
    outcome = "for-consumer" if step == "ruling" else None
    with pytest.raises(Refusal) as error:
        follow(end, step, side, outcome)
    assert error.value.slug == "conflict"
