"""A start: one at a time, and whoever starts explains what dead processes left behind (I5, C073, C130).

Guarantee: only the log of an enrolled origin says what became of a call, and only while it is what its checkpoint
signed; what a damaged or unknown log leaves in doubt stays in doubt.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.alarm import alarm
from gateway.audit.damage import Kind
from gateway.audit.intents import logged_calls, origins_in
from gateway.audit.keyring import Keyring
from gateway.audit.lock import held
from gateway.audit.origin import load_keyrings
from gateway.audit.segment import Place
from gateway.audit.verify import verify_origin
from gateway.clear.recovery import LoggedIntent, reconcile
from gateway.clear.store import RequestStore
from gateway.domain.errors import SettingsError
from gateway.settings import Home


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


def reconcile_dead(store: RequestStore, where: Home, *, own: str | None = None) -> None:
    """What processes that are gone left claimed or in doubt, explained by their logs, whoever starts next.

    `own` is the origin this process has just taken: its log was checked when it was opened. Call it within
    `one_start_at_a_time`. The living explain their own.
    """
    keys = load_keyrings(where.trust)
    every = enrolled_origins(where)
    dead = [each for each in every if each == own or (not _alive(where, each) and _whole(where, keys[each]))]
    calls = logged_calls(where.audit, every)  # read after we know who is dead: nothing more is written to those
    for origin in dead:
        intents = {
            call.call_id: LoggedIntent(call.call_id, call.effect_key, call.request_id, call.outcome, call.settled)
            for call in calls.values()
            if call.origin == origin
        }
        reconcile(store, origin, intents)


def enrolled_origins(where: Home) -> list[str]:
    """Those whose word counts: what nobody enrolled is for `verify` to report, and neither settles nor burns."""
    trusted = load_keyrings(where.trust)
    return [origin for origin in origins_in(where.audit) if origin in trusted]


def _alive(where: Home, origin: str) -> bool:
    return held(Place(origin, where.audit, where.checkpoints).lock)


def _whole(where: Home, keys: Keyring) -> bool:
    """Whether a dead process's log is what was signed. An unfinished last line is what a crash leaves."""
    report = verify_origin(Place(keys.origin, where.audit, where.checkpoints), keys)
    wrong = [damage for damage in report.damage if damage.kind is not Kind.TORN]
    for damage in wrong:
        alarm().error("damaged_log_not_believed", origin=keys.origin, damage=damage.kind.value, seq=damage.seq)
    return not wrong
