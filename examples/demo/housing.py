"""Registered contracts of house purchases: who bought, for how much, when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Literal, NamedTuple

from examples.demo.population import TODAY, Person

_BUYER_SHARE = 0.12


class Contract(NamedTuple):
    """One registered contract of one buyer; `number` is unique, `price` is yuan with two decimals as text."""

    number: str
    buyer: Person
    price: str
    signed_on: str
    status: Literal["registered", "cancelled"]


def contracts(rng: Random, adults: Sequence[Person]) -> list[Contract]:
    """Return the contracts of a population: one adult in eight bought, some of them twice."""
    found: list[Contract] = []
    for person in adults:
        if rng.random() >= _BUYER_SHARE:
            continue
        for _ in range(2 if rng.random() < 0.1 else 1):
            signed = TODAY - timedelta(days=rng.randint(1, 4_000))
            price = f"{rng.randint(45_000, 900_000) * 10}.{rng.choice(('00', '00', '50'))}"
            status: Literal["registered", "cancelled"] = "cancelled" if rng.random() < 0.03 else "registered"
            number = f"{signed.year}YS{len(found) + 1_000:06d}"
            found.append(Contract(number, person, price, signed.isoformat(), status))
    return found
