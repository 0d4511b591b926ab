"""`money`: an exact decimal with its currency, never a float (ISO 4217; C048)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import final

from gateway.policy.currencies import PLACES
from gateway.policy.guard_documents import MoneyGuard
from gateway.validate.guards.refusal import GuardRefused

_AMOUNT = re.compile(r"((?:0|[1-9][0-9]{0,14})(?:\.([0-9]{1,4}))?)(?: ([A-Z]{3}))?")


@final
@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount, not negative, with as many places as its currency has."""

    amount: Decimal
    currency: str

    @property
    def minor_units(self) -> int:
        """In the smallest unit: 1250 for 12.50 EUR."""
        return int(self.amount.scaleb(PLACES[self.currency]))

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


@final
class MoneyCheck:
    """Reads one amount."""

    def __init__(self, guard: MoneyGuard) -> None:
        self._currencies = guard.currencies
        self._least = Decimal(guard.min or "0")
        self._most = Decimal(guard.max)
        example = "10 " if PLACES[guard.currencies[0]] == 0 else "10.50 "
        self._form = f'Write it like "{example}{guard.currencies[0]}".'

    def __call__(self, name: str, value: object) -> Money:
        found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise GuardRefused(f"{name}: must be a plain decimal amount.", self._form)
        digits, places, written = found.groups()
        if written is None and len(self._currencies) > 1:
            raise GuardRefused(f"{name}: must name its currency.", self._form)
        currency = written or self._currencies[0]
        if currency not in self._currencies:
            raise GuardRefused(f"{name}: must be in {' or '.join(self._currencies)}.", self._form)
        if len(places or "") > PLACES[currency]:
            raise GuardRefused(f"{name}: {currency} has {PLACES[currency]} decimal places.", self._form)
        amount = Decimal(digits)
        if not self._least <= amount <= self._most:
            raise GuardRefused(f"{name}: must be {self._least} to {self._most}.", self._form)
        return Money(amount + Decimal(0).scaleb(-PLACES[currency]), currency)
