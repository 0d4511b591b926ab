"""What a call would spend of which budget, worked out from its effective bytes and its facts, exactly.

Guarantees: an account is named by a keyed digest of its values, so neither the database nor the log says whose it is;
a value that is missing, negative, no plain number, or finer than a millionth charges nothing and denies the call
(C048): what cannot be counted cannot be bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol, final

from gateway.domain.call import CallContext
from gateway.domain.canonical import canonical
from gateway.domain.charge import PLACES, Charge, in_units
from gateway.domain.errors import ToolgateError
from gateway.domain.instant import NS
from gateway.domain.session_view import SessionView
from gateway.policy.budget_documents import Budget
from gateway.policy.documents import Contract

_PLAIN: Final = re.compile(rf"(?:0|[1-9][0-9]{{0,15}})(?:\.[0-9]{{1,{PLACES}}})?")

Spell = Callable[[bytes], tuple[str, ...]]


class CannotCharge(ToolgateError):
    """The call cannot be counted against `budget`. `path` leads to what is wrong."""

    def __init__(self, budget: str, path: str, why: str) -> None:
        super().__init__(f"budget `{budget}`: `{path}` {why}")
        self.path = path
        self.why = why


class Ledger(Protocol):
    """What rules may know of budgets. `left` gives units by budget: the least of its accounts. Blocks."""

    def left(self, charges: Iterable[Charge]) -> dict[str, int]: ...


@final
@dataclass(frozen=True, slots=True)
class CompiledCharge:
    """One line of `charges`: the budget, and where the value of a call stands (or the value itself)."""

    name: str
    budget: Budget
    value: int | str


@final
class Charges:
    """All charges of one contract."""

    __slots__ = ("_charges", "_tool")

    def __init__(self, contract: Contract, budgets: Mapping[str, Budget]) -> None:
        """`budgets` must hold each that the contract names (`policy.references`)."""
        self._tool = contract.tool
        self._charges = tuple(CompiledCharge(name, budgets[name], value) for name, value in contract.charges.items())

    def __bool__(self) -> bool:
        return bool(self._charges)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(charge.name for charge in self._charges)

    def of(
        self,
        ctx: CallContext,
        session: SessionView,
        args: Mapping[str, Any],
        facts: Mapping[str, object],
        spell: Spell,
    ) -> tuple[Charge, ...]:
        """What this call would spend. Raises CannotCharge."""
        found: list[Charge] = []
        scope = {"args": args, "facts": facts}
        for charge in self._charges:
            path = charge.value if isinstance(charge.value, str) else ""
            value = _at(charge.name, path, scope) if path else charge.value
            units = in_units(_number(charge.name, path, value))
            if units is None:
                raise CannotCharge(charge.name, path, f"must be 0 or more, with at most {PLACES} decimals")
            for account in self._accounts(charge, ctx, session, scope):
                found.append(
                    Charge(
                        charge.name,
                        spell(account_name(charge.name, account)),
                        units,
                        charge.budget.units,
                        charge.budget.window_s * NS,
                        charge.budget.tell_left,
                    )
                )
        return tuple(found)

    def _accounts(
        self, charge: CompiledCharge, ctx: CallContext, session: SessionView, scope: Mapping[str, Mapping[str, object]]
    ) -> list[list[object]]:
        """The values that name each account: one, or one for each role."""
        accounts: list[list[object]] = [[]]
        for path in charge.budget.per:
            values: tuple[object, ...]
            match path:
                case "tool":
                    values = (self._tool,)
                case "principal.id":
                    values = (ctx.principal.id,)
                case "principal.on_behalf_of":
                    values = (ctx.on_behalf_of.id if ctx.on_behalf_of is not None else "",)
                case "principal.roles":
                    values = session.roles or ("",)  # who has no role shares the account of those who have none
                case "session.conversation":
                    values = (session.conversation,)
                case _:
                    values = (_at(charge.name, path, scope),)
                    if type(values[0]) not in (str, int, float) or values[0] == "":
                        raise CannotCharge(
                            charge.name, path, "must be a text or a number that names whose budget it is"
                        )
            accounts = [[*account, path, value] for account in accounts for value in values]
        return accounts


def account_name(budget: str, account: Sequence[object]) -> bytes:
    """What an account's keyed digest is made of. `account` alternates the paths of `per` and their values."""
    return canonical([budget, *account])


def _at(budget: str, path: str, scope: Mapping[str, Mapping[str, object]]) -> object:
    found: object = scope
    for step in path.split("."):
        if not isinstance(found, Mapping) or step not in found:
            raise CannotCharge(budget, path, "is missing")
        found = found[step]
    return found


def _number(budget: str, path: str, value: object) -> Decimal:
    """The value as it was written: the shortest spelling of a float is what the model sent (I1)."""
    if type(value) is int:
        return Decimal(value)
    if type(value) is float:
        return Decimal(repr(value))
    if type(value) is str and _PLAIN.fullmatch(value):
        return Decimal(value)
    raise CannotCharge(budget, path, "must be a plain number, without sign, currency or spaces")
