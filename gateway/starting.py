"""A start: one at a time, and whoever starts explains what dead processes left behind (I5, C073, C130).

Guarantee: only the log of an enrolled origin says what became of a call, and only while it is what its checkpoint
signed; what a damaged or unknown log leaves in doubt stays in doubt.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from gateway.alarm import alarm
from gateway.audit.damage import Kind
from gateway.audit.errors import LogDamaged
from gateway.audit.intents import origins_in
from gateway.audit.keyring import Keyring
from gateway.audit.ledger import Claim, Ledger
from gateway.audit.lock import held
from gateway.audit.log import AuditLog
from gateway.audit.newest import rfc3339_ns
from gateway.audit.origin import load_keyrings
from gateway.audit.read import read_origin
from gateway.audit.scan import ledger_of
from gateway.audit.segment import Place
from gateway.audit.verify import verify_origin
from gateway.clear.recovery import LoggedIntent, forgets, older_than, reconcile
from gateway.clear.store import RequestStore
from gateway.clock import SystemClock
from gateway.domain.charge import in_units
from gateway.domain.errors import SettingsError
from gateway.settings import Home
from gateway.state.budgets import KEPT_NS, Entry


@contextmanager
def one_start_at_a_time(where: Home) -> Iterator[None]:
    """Nobody else opens an origin meanwhile, so whose process is dead stays dead. The kernel ends it with the process.

    Raises SettingsError.
    """
    try:
        descriptor = os.open(where.state / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SettingsError(f"the state folder {where.state} cannot be used: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def reconcile_dead(store: RequestStore, where: Home, *, own: AuditLog | None = None) -> None:
    """What processes that are gone left claimed or in doubt, explained by their logs, whoever starts next.

    `own` is the log this process has just opened, and so checked. Call it within `one_start_at_a_time`. The living
    explain their own. Raises LogDamaged where a whole log holds records that lack what their kind must have.
    """
    keys = load_keyrings(where.trust)
    every = enrolled_origins(where)
    dead = [each for each in every if (own is not None and each == own.origin) or not _alive(where, each)]
    ledgers: dict[str, Ledger] = {}  # read after we know who is dead: nothing more is written to those
    for origin in every:
        mine = own is not None and origin == own.origin
        found = _readable(origin, own.ledger) if own is not None and mine else _ledger(where, keys[origin])
        if found is not None:
            ledgers[origin] = found
    settled = {call: finding for ledger in ledgers.values() for call, finding in ledger.settled.items()}
    since_ns = SystemClock().wall_ns() - KEPT_NS
    for origin in dead:
        if origin not in ledgers:
            continue
        ledger = ledgers[origin]
        intents = _intents(origin, ledger, settled)
        if older_than(store, origin, intents, rfc3339_ns(ledger.forgot_until)) or forgets(
            store, origin, intents, since_ns, rfc3339_ns(ledger.forgot_spent_until)
        ):
            alarm().warning("whole_log_read", origin=origin, why="the database is older than what its ledger remembers")
            whole = _whole(where, keys[origin])
            if whole is None:
                continue
            intents = _intents(origin, whole, settled)
        reconcile(store, origin, intents, since_ns)


def _intents(origin: str, ledger: Ledger, settled: dict[tuple[str, str], str]) -> dict[str, LoggedIntent]:
    return {
        call_id: LoggedIntent(
            call_id,
            call.effect_key,
            call.request_id,
            call.outcome,
            settled.get((origin, call_id)),
            _entries(origin, call_id, call),
            call.spent,
        )
        for call_id, call in (ledger.charged | ledger.calls).items()
    }


def _entries(origin: str, call_id: str, call: Claim) -> tuple[Entry, ...]:
    """What the call charged. Raises LogDamaged."""
    try:
        found = [
            Entry(call_id, origin, charge["budget"], charge["account"], units, rfc3339_ns(call.time))
            for charge in call.charges
            if (units := in_units(Decimal(charge["value"])))
        ]
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise LogDamaged(origin, f"an intent's charges cannot be read ({error})", call.seq) from error
    return tuple(found)


def enrolled_origins(where: Home) -> list[str]:
    """Those whose word counts: what nobody enrolled is for `verify` to report, and neither settles nor burns."""
    trusted = load_keyrings(where.trust)
    return [origin for origin in origins_in(where.audit) if origin in trusted]


def _alive(where: Home, origin: str) -> bool:
    return held(Place(origin, where.audit, where.checkpoints).lock)


def _ledger(where: Home, keys: Keyring) -> Ledger | None:
    """Of a log that is what was signed, read from its last signed place on; None, loudly, if it is not."""
    ledger = ledger_of(Place(keys.origin, where.audit, where.checkpoints), keys)
    return _readable(keys.origin, ledger) if ledger is not None else _whole(where, keys)


def _whole(where: Home, keys: Keyring) -> Ledger | None:
    """The same with every record read and verified, and nothing forgotten."""
    place = Place(keys.origin, where.audit, where.checkpoints)
    report = verify_origin(place, keys)
    wrong = [damage for damage in report.damage if damage.kind is not Kind.TORN]  # which is what a crash leaves
    for damage in wrong:
        alarm().error("damaged_log_not_believed", origin=keys.origin, damage=damage.kind.value, seq=damage.seq)
    if wrong:
        return None
    ledger = Ledger(remember=sys.maxsize, remember_charged=sys.maxsize)
    for stored in read_origin(where.audit, keys.origin):
        ledger.take(stored.seq, stored.line)
    return _readable(keys.origin, ledger)


def _readable(origin: str, ledger: Ledger) -> Ledger:
    if ledger.unreadable is not None:
        raise LogDamaged(origin, "a record lacks what its kind must have", ledger.unreadable)
    return ledger
