"""Budgets over values: a total that calls may spend in a time. Declared in settings.yaml, charged by contracts.

A path says what is charged and to whom: `args.amount`, `facts.order.customer`, `principal.id`, `principal.roles`,
`principal.on_behalf_of`, `session.conversation`, `tool`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from gateway.domain.charge import MAX_UNITS, PLACES, in_units
from gateway.policy.model import Document

MAX_WINDOW_S: Final = 31 * 86_400  # what is older is forgotten

BudgetName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]  # a rule says `left.<name>`
_STEP: Final = r"[.][A-Za-z_][A-Za-z0-9_]{0,63}"
ValuePath = Annotated[str, StringConstraints(pattern=rf"^(args|facts)({_STEP}){{1,8}}$")]
AccountPath = Annotated[
    str,
    StringConstraints(
        pattern=rf"^((args|facts)({_STEP}){{1,8}}|principal[.](id|roles|on_behalf_of)|session[.]conversation|tool)$"
    ),
]
_WHOLE: Final = MAX_UNITS // 10**PLACES
Amount = (
    Annotated[int, Field(ge=0, le=_WHOLE)]
    | Annotated[str, StringConstraints(pattern=rf"^(0|[1-9][0-9]{{0,11}})([.][0-9]{{1,{PLACES}}})?$")]
)


class Budget(Document):
    """How much may be spent in any `window_s` seconds, for each account that `per` names."""

    max: Amount = Field(description='A whole number, or a decimal in quotes: "99.50".')
    window_s: Annotated[int, Field(ge=1, le=MAX_WINDOW_S)] = Field(description="86400 is a day, at most 31 of them.")
    per: tuple[AccountPath, ...] = Field(
        default=(),
        description="One account for each combination of these. `principal.roles`: one for each role, and all must "
        "have enough. Left out: one account for everybody.",
    )
    tell_left: bool = Field(default=False, description="Whether a refused model is told how much is left.")

    @property
    def units(self) -> int:
        """`max` in millionths."""
        units = in_units(Decimal(self.max))
        if units is None:
            raise ValueError(f"{self.max} cannot be counted")  # the type above admits no such value
        return units
