"""What people at the command line need of a deployment: the desk, the log and the switches; no tool and no sandbox.

The command line has an origin of its own in the log, held only while it writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Self, final

import orjson

from gateway.alarm import alarm
from gateway.audit.encode import encode
from gateway.audit.errors import OriginBusy
from gateway.audit.intents import LoggedCall, logged_calls
from gateway.audit.lock import held
from gateway.audit.origin import key_problem, load_keyrings
from gateway.audit.port import Position
from gateway.audit.progress import Tell
from gateway.audit.segment import Place
from gateway.audit.verify import Pin, VerifyReport, verify, without_key
from gateway.authorize.casbin_oracle import checked_grants
from gateway.authorize.stage import Authorize
from gateway.clear.desk import Desk
from gateway.clear.markers import SpentMarkers
from gateway.clear.recovery import Finding, settle
from gateway.clear.store import RequestStore
from gateway.clock import SystemClock
from gateway.domain.errors import PolicyError, SettingsError, UsageError
from gateway.domain.event import CallSettled, Event
from gateway.domain.instant import NS
from gateway.keys import Keys
from gateway.policy.budget_documents import Budget
from gateway.policy.documents import AuditSettings, WitnessSettings
from gateway.policy.loader import load, read_settings
from gateway.settings import Home, check_custody, locate
from gateway.starting import enrolled_origins, one_start_at_a_time, reconcile_dead
from gateway.state.budgets import Account, BudgetLedger
from gateway.state.database import Database
from gateway.state.kill_switches import KillSwitches
from gateway.validate.charges import account_name
from gateway.wiring import clearing_rules, newest_in, open_log, open_witness

ORIGIN = "command-line"
BUSY_S = 10.0  # another command may be writing: its turn is short


@final
class Office:
    """One deployment, as its people see it. The policy is read only by what needs it: a kill switch never does."""

    def __init__(self, policies: Path, where: Home, database: Database) -> None:
        """Use `open`."""
        self.policies = policies
        self.home = where
        self.database = database
        self._clock = SystemClock()
        self.kill_switches = KillSwitches(database, self._clock)
        self.store = RequestStore(database, SpentMarkers(where.spent))

    @classmethod
    def open(cls, policies: Path, root: Path | None = None) -> Self:
        """Raises SettingsError where no gateway has been started yet, and StateUnavailable."""
        where = locate(policies, root)
        if not where.database.exists():
            raise SettingsError(
                f"there is no deployment in {where.state.parent}: start a gateway first, or name the folder with --home"
            )
        check_custody(where)
        return cls(policies, where, Database(where.database))

    def desk(self) -> Desk:
        """What waits for people, under the policy files as they stand, applied or not: gateways judge votes anew.

        Raises PolicyError, SettingsError.
        """
        policy = load(self.policies, locked=False)
        keys = Keys.open(self.home.keys / "deployment")
        rules = clearing_rules(
            policy, Authorize(checked_grants(policy.access), policy.refs()), self.home, lambda *_: None
        )
        return Desk(self.store, rules, sealer=keys, clock=self._clock, newest_log_ns=newest_in(self.home))

    def budget(self, name: str, of: Mapping[str, str] | None = None) -> tuple[Budget, list[Account]]:
        """The budget `name` of settings.yaml, and what its accounts have used: all of them, or the one `of` names.

        `of` gives the value of each path in `per`. Raises PolicyError, UsageError, SettingsError.
        """
        budgets = load(self.policies, locked=False).settings.budgets
        budget = budgets.get(name)
        if budget is None:
            there = f"It has: {', '.join(sorted(budgets))}." if budgets else "It has none; write one under `budgets`."
            raise UsageError(f"settings.yaml has no budget {name!a}. {there}")
        found = BudgetLedger(self.database, self._clock).accounts(name, budget.window_s * NS)
        if of is None:
            return budget, found
        if set(of) != set(budget.per):
            raise UsageError(f"an account of {name} is named by {', '.join(budget.per) or 'nothing: it has only one'}")
        keys = Keys.open(self.home.keys / "deployment")
        values = [[(path, value) for value in _as_written(of[path])] for path in budget.per]
        names = (account_name(name, [part for pair in pairs for part in pair]) for pairs in product(*values))
        spelled = {spelling for each in names for spelling in keys.spellings(each, domain=b"budget")}
        return budget, [each for each in found if each.account in spelled]

    def close(self) -> None:
        self.kill_switches.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, *events: Event) -> None:
        """Make events durable in the command line's origin, and tell the witness. Raises AuditUnavailable."""
        with _writing(self.home, self._witness()) as append:
            for event in events:
                append(encode(event))

    def _witness(self) -> WitnessSettings | None:
        """The witness that settings.yaml names, as it stands; what people do at the command line never requires it.

        Who must stop a gateway must not be stopped by a policy file that cannot be read, so that is only an alarm.
        """
        try:
            named = read_settings(self.policies).audit.witness
        except PolicyError as error:
            alarm().warning("witness_unknown", fault=str(error), effect="what is recorded now is told to no witness")
            return None
        return named.model_copy(update={"required": False}) if named is not None else None

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


def _as_written(value: str) -> list[object]:
    """A text on the command line, and the number it may stand for."""
    try:
        number = orjson.loads(value)
    except orjson.JSONDecodeError:
        return [value]
    return [value, number] if type(number) in (int, float) else [value]


@contextmanager
def _writing(where: Home, witness: WitnessSettings | None) -> Iterator[Callable[[bytes], Position]]:
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            log = open_log(where, ORIGIN, SystemClock(), AuditSettings(witness=witness))
            break
        except OriginBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # a turn of another command, not a condition to wait for
    with log:
        yield log.append


def verify_home(
    where: Home,
    *,
    witness: str | None = None,
    kept: Iterable[bytes] = (),
    jobs: int = 1,
    progress: Tell | None = None,
) -> VerifyReport:
    """Check every origin against its checkpoint and the enrolled keys. Needs no private key and no policy.

    `witness` is an http(s) address or a folder, asked what it has seen; `kept` are checkpoints somebody kept. Raises
    WitnessUnavailable, OSError.
    """
    pins: dict[str, list[Pin]] | None = None
    if witness is not None:
        url = witness if witness.startswith(("http://", "https://")) else None
        asked = open_witness(where, WitnessSettings(url=url, folder=None if url else witness))
        pins = {name: [Pin(note, asked.name)] for name in asked.origins() if (note := asked.latest(name)) is not None}
    for note in kept:
        pins = pins if pins is not None else {}
        pins.setdefault(note.partition(b"\n")[0].decode("utf-8", "replace"), []).append(Pin(note, "you"))
    trust = load_keyrings(where.trust)
    report = verify(where.audit, where.checkpoints, trust, pins=pins, jobs=jobs, progress=progress)
    lost = {name: why for name, keys in trust.items() if (why := key_problem(keys, where.keys)) is not None}
    return VerifyReport(
        tuple(without_key(each, lost[each.origin]) if each.origin in lost else each for each in report.origins)
    )


def calls_in(where: Home, progress: Tell | None = None) -> dict[str, LoggedCall]:
    """Every call with an intent, in every enrolled origin. Reads the whole log."""
    return logged_calls(where.audit, enrolled_origins(where), progress)
