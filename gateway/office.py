"""What people at the command line need of a deployment: the desk, the log and the switches; no tool and no sandbox.

The command line has an origin of its own in the log, held only while it writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, final

from gateway.audit.encode import encode
from gateway.audit.errors import OriginBusy
from gateway.audit.intents import LoggedCall, logged_calls, origins_in
from gateway.audit.lock import held
from gateway.audit.origin import load_trusted
from gateway.audit.port import Position
from gateway.audit.segment import Place
from gateway.audit.verify import VerifyReport, verify
from gateway.authorize.casbin_oracle import checked_grants
from gateway.authorize.stage import Authorize
from gateway.clear.desk import Desk
from gateway.clear.markers import SpentMarkers
from gateway.clear.recovery import Finding, settle
from gateway.clear.store import RequestStore
from gateway.clock import SystemClock
from gateway.domain.errors import SettingsError, UsageError
from gateway.domain.event import CallSettled, Event
from gateway.keys import Keys
from gateway.policy.loader import load
from gateway.policy.policy_set import PolicySet
from gateway.settings import Home, locate
from gateway.state.database import Database
from gateway.state.kill_switches import KillSwitches
from gateway.wiring import clearing_rules, newest_in, one_start_at_a_time, open_log, reconcile_dead

ORIGIN = "command-line"
BUSY_S = 10.0  # another command may be writing: its turn is short


@final
@dataclass(frozen=True, slots=True)
class Office:
    """One deployment, as its people see it."""

    policy: PolicySet
    home: Home
    store: RequestStore
    desk: Desk
    kill_switches: KillSwitches
    database: Database

    @classmethod
    def open(cls, policies: Path, root: Path | None = None, *, locked: bool = True) -> Self:
        """Raises SettingsError where no gateway has been started yet, and what loading and opening raise."""
        where = locate(policies, root)
        if not where.database.exists():
            raise SettingsError(
                f"there is no deployment in {where.state.parent}: start a gateway first, or name the folder with --home"
            )
        policy = load(policies, locked=locked)
        keys = Keys.open(where.keys / "deployment")
        clock = SystemClock()
        database = Database(where.database)
        store = RequestStore(database, SpentMarkers(where.spent))
        rules = clearing_rules(policy, Authorize(checked_grants(policy.access), policy.refs()), where, {})
        desk = Desk(store, rules, sealer=keys, clock=clock, newest_log_ns=newest_in(where))
        return cls(policy, where, store, desk, KillSwitches(database, clock), database)

    def close(self) -> None:
        self.kill_switches.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, *events: Event) -> None:
        """Make events durable in the command line's origin. Raises AuditUnavailable."""
        with _writing(self.home, self.policy.settings.audit.checkpoint_every) as append:
            for event in events:
                append(encode(event))

    def settle(self, call: LoggedCall, finding: Finding, *, by: str, why: str) -> bool:
        """Record what a person found out, then let go of what the call held. False if it held nothing.

        A writer that died is reconciled first. Raises UsageError while the call may still be running.
        """
        with one_start_at_a_time(self.home):
            alive = held(Place(call.origin, self.home.audit, self.home.checkpoints).lock)
            if alive and call.outcome is None:
                raise UsageError(f"{call.call_id} may still be running: the process of {call.origin} is alive")
            reconcile_dead(self.store, self.home)
        self.record(CallSettled(call.call_id, call.origin, call.seq, finding, by, why))
        return settle(self.store, call.call_id, finding)


@contextmanager
def _writing(where: Home, checkpoint_every: int) -> Iterator[Callable[[bytes], Position]]:
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            log = open_log(where, ORIGIN, SystemClock(), checkpoint_every)
            break
        except OriginBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # a turn of another command, not a condition to wait for
    with log:
        yield log.append


def verify_home(where: Home) -> VerifyReport:
    """Check every origin against its checkpoint and the enrolled keys. Needs no private key and no policy."""
    return verify(where.audit, where.checkpoints, load_trusted(where.trust))


def calls_in(where: Home) -> dict[str, LoggedCall]:
    """Every call with an intent, in every origin."""
    return logged_calls(where.audit, origins_in(where.audit))
