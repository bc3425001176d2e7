"""Drawing on a question's accounts: reserved before the source is asked, renewed when its values have changed.

A budget that is exhausted is looked at once more after the source was updated: if none of the values that earlier
answers were about stands there any more, there is something new to ask about (design: renewal by fingerprint).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

from adapters.base import Answer
from app.accounts import Budgets, accounts
from app.limits.account import Account, Exhausted, charge_of
from app.limits.limiter import Limiter
from app.limits.values import disjoint, merged, text_of
from app.log.sequencer import Sequencer
from app.recording import Event, Permitted

LOOK_AGAIN_S = 60.0  # at a source that does not tell when it was updated
REMEMBERED = 10_000  # exhausted accounts

Look: TypeAlias = "Callable[[Account], Answer | None]"


@dataclass(frozen=True, slots=True)
class Charging:
    """Reserves, renews, and settles what was recorded; shared by threads."""

    limiter: Limiter
    sequencer: Sequencer
    account_key: bytes = field(repr=False)
    key_id: str  # of the key that source values are fingerprinted under
    _looked: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def accounts(self, event: Event, permitted: Permitted, budgets: Budgets) -> list[Account]:
        """What the question draws on, under the budgets of all agreements of its department."""
        department = event.caller.client.department
        return accounts(self.account_key, department, permitted, event.at, budgets=budgets)

    def reserve(self, event: Event, drawn: list[Account]) -> None:
        """Reserve on all accounts. Raises `Refusal` (`Exhausted` among them) and `RegistryChanged`."""
        committed = self.sequencer.last_index
        epoch = {} if event.epoch is None else {"epoch": event.epoch}
        event.reservation = self.limiter.reserve(event.id, drawn, committed, event.at, **epoch)

    def may_have_changed(self, account: Account, as_of: str | None) -> bool:
        """Whether it is worth asking the source about an exhausted account: once for each of its updates."""
        mark = as_of or str(int(time.monotonic() // LOOK_AGAIN_S))
        with self._lock:
            if self._looked.get(account.name) == mark:
                return False
            if len(self._looked) >= REMEMBERED:
                self._looked.clear()
            self._looked[account.name] = mark
        return True

    def draw(self, event: Event, drawn: list[Account], look: Look) -> Answer | None:
        """Reserve on all accounts, beginning anew those exhausted ones whose values have all changed.

        `look` gives the source's answer where it is worth asking about an exhausted account, or None; the answer, if
        it was asked for, is returned. Raises `Refusal` (`Exhausted` among them) and `RegistryChanged`.
        """
        answer: Answer | None = None
        for _ in drawn:
            try:
                self.reserve(event, drawn)
            except Exhausted as exhausted:
                answer = answer or look(exhausted.account)
                known = {exhausted.account.name: exhausted.known}
                if answer is None or not self._renew([exhausted.account], known, answer):
                    raise
            else:
                return answer
        self.reserve(event, drawn)
        return answer

    def renew(self, event: Event, drawn: list[Account], answer: Answer) -> None:
        """After the source was asked: draw anew on the accounts whose values have all changed meanwhile."""
        reservation = event.reservation
        if reservation is not None and self._renew(drawn, reservation.known, answer):
            self.limiter.refund(reservation)
            self.reserve(event, drawn)

    def _renew(self, drawn: list[Account], known: Mapping[str, str], answer: Answer) -> bool:
        changed = [
            account
            for account in drawn
            if account.name in known and disjoint(known[account.name], self._values(account, answer))
        ]
        for account in changed:
            before = known[account.name]
            # What was known stays known: a value that comes back must not begin the account once more.
            self.limiter.renew(account, before, merged(before, self._values(account, answer)))
        return bool(changed)

    def charge(self, event: Event, answer: Answer) -> None:
        """Note with each charge which source values its answer is about.

        A free repeat is charged nothing, yet values that no earlier answer was about are noted with it: else the
        account would begin anew while one of them still stands in the source.
        """
        reservation = event.reservation
        if reservation is None:
            return
        charged = {charge["account"]: charge for charge in reservation.charges}
        noted = []
        for account in reservation.accounts:
            values = self._values(account, answer) if account.question else ""
            known = reservation.known.get(account.name, "")
            charge = charged.get(account.name)
            if charge is None and merged(known, values) != known:
                charge = charge_of(account, 0, renewed=account.name in reservation.renewed)
                noted.append(charge)
            if charge is not None:
                charge["fingerprint"] = values or None
        if noted:
            event.reservation = replace(reservation, charges=(*reservation.charges, *noted))

    def settle(self, event: Event) -> None:
        """Tell the limiter that the reservation is recorded."""
        reservation = event.reservation
        if reservation is not None:
            charges = reservation.charges
            values = {charge["account"]: charge["fingerprint"] for charge in charges if charge["fingerprint"]}
            self.limiter.settle(reservation, event.index, values)

    def _values(self, account: Account, answer: Answer) -> str:
        return _text(answer.values.get(account.column or "", frozenset()), self.key_id)


@lru_cache(256)
def _text(values: frozenset[bytes], key_id: str) -> str:
    # Asked for twice for each account, and only where there are values: time must not tell that there are.
    return text_of(values, key_id)
