"""What a call spends of a budget, in exact integers: no float is ever added to another (C048).

A value counts in millionths. So a total of a million million fits into 63 bits, and 0.1 is exactly 100,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final, final

PLACES: Final = 6
MAX_UNITS: Final = 10 ** (12 + PLACES)  # a sum of two still fits into SQLite's 63 bits
_EXACT: Final = Context(prec=100, traps=[])  # the program's own context may round, and would count another amount


@final
@dataclass(frozen=True, slots=True)
class Charge:
    """`units` to be taken from one account of the budget `budget`, which may spend `most` units in `window_ns`.

    `spellings` are the account's keyed digests, one for each digest key of the deployment, the current one first: a
    rotated key forgets nothing. `tell_left` says that the model may be told how much is left.
    """

    budget: str
    spellings: tuple[str, ...]
    units: int
    most: int
    window_ns: int
    tell_left: bool

    @property
    def account(self) -> str:
        return self.spellings[0]

    def as_record(self) -> dict[str, object]:
        """As the intent carries it: what a start needs to charge it again, should the database be restored."""
        return {"budget": self.budget, "account": self.account, "value": in_words(self.units)}


def in_units(value: Decimal) -> int | None:
    """Exactly `value` in units, or None if it is negative, too large, or has more decimals than a unit."""
    if not value.is_finite() or value < 0 or value > MAX_UNITS:
        return None
    scaled = value.scaleb(PLACES, _EXACT)
    units = int(scaled)
    return units if units == scaled and units <= MAX_UNITS else None


def in_words(units: int) -> str:
    """A plain decimal: 12500000 is `12.5`."""
    whole, part = divmod(abs(units), 10**PLACES)
    text = f"{whole}.{part:0{PLACES}d}".rstrip("0").rstrip(".")
    return f"-{text}" if units < 0 else text
