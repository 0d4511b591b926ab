"""The ledger of value budgets: what calls have reserved, spent, or may have spent (I5, C129).

Guarantees: within a transaction that holds the write lock, `reserve` takes all charges of a call or none, and never
lets what an account has open and has spent in the window exceed its budget, whichever process asks. A reservation
counts until it is settled, released, or, if nobody knows, until a person says so. An entry leaves its window only once
every clock that can say so agrees, so setting the wall clock forward within a boot frees nothing.
Every function runs in a transaction of the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    MetaData,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from gateway.domain.charge import Charge
from gateway.domain.errors import StateUnavailable
from gateway.domain.instant import NS, Clock, Instant
from gateway.state.database import Database

RESERVED: Final = "reserved"
SPENT: Final = "spent"
UNKNOWN: Final = "unknown"
KEPT_NS: Final = 31 * 86_400 * NS  # the longest window; what was spent before it is deleted

METADATA: Final = MetaData()
ENTRIES: Final = Table(
    "budget_entries",
    METADATA,
    Column("call_id", String(64), primary_key=True),
    Column("budget", String(64), primary_key=True),
    Column("account", String(128), primary_key=True),
    Column("origin", Text, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("at_wall_ns", BigInteger, nullable=False),
    Column("at_boot_ns", BigInteger, nullable=False),
    Column("boot_id", Text, nullable=False),
    Index("budget_entries_by_account", "budget", "account"),
    Index("budget_entries_by_time", "at_wall_ns"),
)


@final
@dataclass(frozen=True, slots=True)
class Exceeded:
    """The first charge that does not fit, and the units already taken from its account."""

    charge: Charge
    taken: int

    @property
    def left(self) -> int:
        return max(0, self.charge.most - self.taken)


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One charge of one call, as the log knows it."""

    call_id: str
    origin: str
    budget: str
    account: str
    units: int
    at_wall_ns: int


def exceeded(connection: Connection, charges: Iterable[Charge], now: Instant) -> Exceeded | None:
    """The first of `charges` that does not fit now, or None. Reserves nothing."""
    for charge in charges:
        used = taken(connection, charge, now)
        if charge.units > 0 and used + charge.units > charge.most:
            return Exceeded(charge, used)
    return None


def reserve(
    connection: Connection, charges: Sequence[Charge], origin: str, call_id: str, now: Instant
) -> Exceeded | None:
    """Take all of `charges` for the call, or none. Raises StateUnavailable for rows that Toolgate did not write."""
    too_much = exceeded(connection, charges, now)
    if too_much is not None:
        return too_much
    for charge in charges:
        if charge.units > 0:
            connection.execute(
                insert(ENTRIES).values(
                    call_id=call_id,
                    budget=charge.budget,
                    account=charge.account,
                    origin=origin,
                    units=charge.units,
                    state=RESERVED,
                    at_wall_ns=now.wall_ns,
                    at_boot_ns=now.boot_ns,
                    boot_id=now.boot_id,
                )
            )
    connection.execute(delete(ENTRIES).where(ENTRIES.c.state == SPENT, ~_within(KEPT_NS, now)))
    return None


def taken(connection: Connection, charge: Charge, now: Instant) -> int:
    """Units taken from the account: spent in the window, or held whenever that was."""
    mine = and_(ENTRIES.c.budget == charge.budget, ENTRIES.c.account.in_(charge.spellings))
    counts = or_(ENTRIES.c.state != SPENT, _within(charge.window_ns, now))
    total, least = connection.execute(
        select(func.coalesce(func.sum(ENTRIES.c.units), 0), func.min(ENTRIES.c.units)).where(mine, counts)
    ).one()
    if type(total) is not int or (least is not None and (type(least) is not int or least < 0)):
        raise StateUnavailable(f"a row of budget {charge.budget} was changed by hand. Restore the database.")
    return total


@final
@dataclass(frozen=True, slots=True)
class Account:
    """What one account has used, in units. `calls` are those that hold something as unknown."""

    budget: str
    account: str
    spent: int
    reserved: int
    unknown: int
    calls: tuple[str, ...]

    @property
    def used(self) -> int:
        return self.spent + self.reserved + self.unknown


@final
class BudgetLedger:
    """The ledger of one database, for whoever only asks."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def left(self, charges: Iterable[Charge]) -> dict[str, int]:
        """Units left now, by budget: the least of the accounts charged. Raises StateUnavailable."""
        now = self._clock.now()
        found: dict[str, int] = {}
        with self._database.read() as connection:
            for charge in charges:
                left = max(0, charge.most - taken(connection, charge, now))
                found[charge.budget] = min(left, found.get(charge.budget, left))
        return found

    def accounts(self, budget: str, window_ns: int) -> list[Account]:
        """Every account of `budget` that has used anything, most first. Raises StateUnavailable."""
        mine = and_(ENTRIES.c.budget == budget, or_(ENTRIES.c.state != SPENT, _within(window_ns, self._clock.now())))
        with self._database.read() as connection:
            rows = connection.execute(
                select(ENTRIES.c.account, ENTRIES.c.state, ENTRIES.c.units, ENTRIES.c.call_id).where(mine)
            ).all()
        used: dict[str, dict[str, int]] = {}
        doubt: dict[str, list[str]] = {}
        for row in rows:
            if type(row.units) is not int:
                raise StateUnavailable(f"a row of budget {budget} was changed by hand. Restore the database.")
            states = used.setdefault(row.account, {SPENT: 0, RESERVED: 0, UNKNOWN: 0})
            states[row.state] += row.units
            if row.state == UNKNOWN:
                doubt.setdefault(row.account, []).append(row.call_id)
        found = [
            Account(budget, account, each[SPENT], each[RESERVED], each[UNKNOWN], tuple(doubt.get(account, ())))
            for account, each in used.items()
        ]
        return sorted(found, key=lambda each: -each.used)


def _within(window_ns: int, now: Instant) -> ColumnElement[bool]:
    by_wall = ENTRIES.c.at_wall_ns > now.wall_ns - window_ns
    by_boot = and_(ENTRIES.c.boot_id == now.boot_id, ENTRIES.c.at_boot_ns > now.boot_ns - window_ns)
    return or_(by_wall, by_boot)


def spend(connection: Connection, origin: str, call_id: str) -> None:
    """The call took effect: what it holds is spent."""
    connection.execute(update(ENTRIES).where(*_open(origin, call_id)).values(state=SPENT))


def release(connection: Connection, origin: str, call_id: str) -> None:
    """The call did certainly not take effect: what it holds is given back."""
    connection.execute(delete(ENTRIES).where(*_open(origin, call_id)))


def keep_unknown(connection: Connection, origin: str, call_id: str) -> None:
    """Nobody knows: what the call holds stays held until a person settles it."""
    connection.execute(update(ENTRIES).where(*_open(origin, call_id)).values(state=UNKNOWN))


def _open(origin: str, call_id: str) -> tuple[ColumnElement[bool], ...]:
    return ENTRIES.c.call_id == call_id, ENTRIES.c.origin == origin, ENTRIES.c.state != SPENT


def held_by(connection: Connection, origin: str) -> dict[str, bool]:
    """The calls of `origin` that hold anything; True for one that is known to be unknown."""
    rows = connection.execute(
        select(ENTRIES.c.call_id, ENTRIES.c.state).where(ENTRIES.c.origin == origin, ENTRIES.c.state != SPENT)
    ).all()
    return {row.call_id: row.state == UNKNOWN for row in rows}


def holders_of(connection: Connection, call_id: str) -> tuple[str, ...]:
    """The origins for which the call `call_id` holds something as unknown: one or none."""
    rows = connection.execute(
        select(ENTRIES.c.origin).where(ENTRIES.c.call_id == call_id, ENTRIES.c.state == UNKNOWN).distinct()
    )
    return tuple(rows.scalars())


def opened_ns(connection: Connection, call_id: str) -> int:
    """When the call reserved what it holds (wall time)."""
    return int(
        connection.execute(select(func.max(ENTRIES.c.at_wall_ns)).where(ENTRIES.c.call_id == call_id)).scalar_one() or 0
    )


def knows(connection: Connection, entry: Entry) -> bool:
    """Whether the charge stands here, whatever became of it."""
    mine = (
        ENTRIES.c.call_id == entry.call_id,
        ENTRIES.c.budget == entry.budget,
        ENTRIES.c.account == entry.account,
    )
    return connection.execute(select(ENTRIES.c.call_id).where(*mine)).first() is not None


def restore(connection: Connection, entry: Entry, *, unknown: bool) -> bool:
    """Charge again what the log knows and the database forgot. False if it is there. Its boot is not remembered."""
    if knows(connection, entry):
        return False
    connection.execute(
        insert(ENTRIES).values(
            call_id=entry.call_id,
            budget=entry.budget,
            account=entry.account,
            origin=entry.origin,
            units=entry.units,
            state=UNKNOWN if unknown else SPENT,
            at_wall_ns=entry.at_wall_ns,
            at_boot_ns=0,
            boot_id="",
        )
    )
    return True
