"""The kill switch: stops every call, one tool or one principal, in every process that shares the state.

Guarantee: a switch that was committed before a call is looked at stops that call. Reading costs some microseconds:
SQLite's `PRAGMA data_version` changes whenever another connection has committed, and only then is the table read again.
That the file itself was not replaced is looked at every 50 ms, since it costs half as much again.
The policy epoch is read along with the switches: both change rarely and must be seen by the very next call.
Any doubt (a damaged row, a replaced file, an error) raises StateUnavailable, which denies.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from typing import Final, Literal, final

from sqlalchemy import BigInteger, Column, Delete, MetaData, String, Table, delete, insert, select

from gateway.domain.errors import StateUnavailable, UsageError
from gateway.domain.instant import Clock
from gateway.state.database import Database
from gateway.state.epoch import EPOCHS

Scope = Literal["all", "tool", "principal"]
SCOPES: Final = ("all", "tool", "principal")
_BUSY_S: Final = 0.05  # readers of a WAL hardly ever wait; who does for longer is denied

_LOOK_NS: Final = 50_000_000

_METADATA = MetaData()
_SWITCHES = Table(
    "kill_switches",
    _METADATA,
    Column("scope", String(16), primary_key=True),
    Column("subject", String(256), primary_key=True),
    Column("thrown_by", String(256), nullable=False),
    Column("why", String(1024), nullable=False),
    Column("at_wall_ns", BigInteger, nullable=False),
)


@final
@dataclass(frozen=True, slots=True)
class Switch:
    """One thrown switch. `subject` is empty for `all`, else a tool's name or a principal's id."""

    scope: str
    subject: str
    by: str
    why: str
    at_wall_ns: int


@final
class KillSwitches:
    """The switches of one state database. Safe to share between threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        with database.write() as connection:
            _METADATA.create_all(connection)
            EPOCHS.metadata.create_all(connection)
        self._guard = threading.Lock()
        self._raw = database.raw(busy_s=_BUSY_S)
        self._ask = self._raw.cursor()
        self._version: int | None = None
        self._looked_ns = clock.monotonic_ns()
        self._everything: str | None = None
        self._tools: dict[str, str] = {}
        self._principals: dict[str, str] = {}
        self.applied: str | None = None  # the policy everybody must run, as of the last `thrown`

    def thrown(self, principal: str) -> str | None:
        """Why no call of `principal` must happen, or None. Raises StateUnavailable."""
        with self._guard:
            now_ns = self._clock.monotonic_ns()
            if now_ns - self._looked_ns > _LOOK_NS:
                self._database.check()
                self._looked_ns = now_ns  # only after it was found in order
            try:
                version = self._ask.execute("PRAGMA data_version").fetchone()[0]
                if version != self._version:
                    self._read()  # after the version: a change in between shows as a new version next time
                    self._version = version
            except (sqlite3.Error, TypeError, ValueError) as error:
                self._version = None
                raise StateUnavailable(f"the kill switch cannot be read ({error}); calls are denied.") from error
            if self._everything is not None:
                return self._everything
            return self._principals.get(principal)

    def off(self, tool: str) -> str | None:
        """Why no call of `tool` must happen, as of the last `thrown`: what the call in hand has just asked for."""
        return self._tools.get(tool)

    def _read(self) -> None:
        everything: str | None = None
        tools: dict[str, str] = {}
        principals: dict[str, str] = {}
        for scope, subject, by, why in self._ask.execute("SELECT scope, subject, thrown_by, why FROM kill_switches"):
            reason = f"kill switch {scope} {subject}".strip() + f" by {by}: {why}"
            if scope == "all":
                everything = reason
            elif scope == "tool":
                tools[subject] = reason
            elif scope == "principal":
                principals[subject] = reason
            else:
                raise ValueError(f"unknown scope {scope!r}")
        epoch = self._ask.execute("SELECT digest FROM policy_epoch").fetchone()
        self._everything, self._tools, self._principals = everything, tools, principals
        self.applied = None if epoch is None else epoch[0]

    def throw(self, scope: Scope, subject: str, *, by: str, why: str) -> None:
        """Stop calls from now on; committed on return. Throwing again keeps the newest reason."""
        _check(scope, subject)
        with self._database.write() as connection:
            connection.execute(_chosen(scope, subject))
            connection.execute(
                insert(_SWITCHES).values(
                    scope=scope, subject=subject, thrown_by=by, why=why, at_wall_ns=self._clock.now().wall_ns
                )
            )

    def release(self, scope: Scope, subject: str) -> bool:
        """Let calls through again. False if it was not thrown."""
        _check(scope, subject)
        with self._database.write() as connection:
            return connection.execute(_chosen(scope, subject)).rowcount == 1

    def switches(self) -> tuple[Switch, ...]:
        """What is thrown now, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(_SWITCHES).order_by(_SWITCHES.c.at_wall_ns)).all()
        return tuple(Switch(*row) for row in rows)

    def close(self) -> None:
        with self._guard:
            self._raw.close()


def _chosen(scope: str, subject: str) -> Delete:
    return delete(_SWITCHES).where(_SWITCHES.c.scope == scope, _SWITCHES.c.subject == subject)


def _check(scope: str, subject: str) -> None:
    if scope not in SCOPES:
        raise UsageError(f"a kill switch has one of the scopes {', '.join(SCOPES)}, not {scope!r}")
    if (scope == "all") == bool(subject):
        raise UsageError("`all` takes no subject; `tool` and `principal` need one")
