"""Making a policy the one that every process runs: check everything, write the lock, let the gateways follow (I6).

Order: everything is checked; the lock is replaced; running gateways follow it and say so in the state database; then
the epoch is set, and from that moment a process that runs anything else refuses every call. The record of it all is
durable before the lock is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from gateway.authorize.casbin_oracle import checked_grants
from gateway.clock import SystemClock
from gateway.domain.event import PolicyApplied
from gateway.office import Office
from gateway.policy.folder import must_exist
from gateway.policy.loader import load
from gateway.policy.lock import Lock, read_lock, write_lock
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.kept import keep
from gateway.state.epoch import PolicyEpoch, Worker
from gateway.wiring import compile_contracts, named_roots

FOLLOW_S: Final = 5.0  # how long running gateways have before the epoch leaves them behind
_POLL_S: Final = 0.05


@final
@dataclass(frozen=True, slots=True)
class Applied:
    """What was done. `behind` are live processes that have not followed: they refuse every call from now on."""

    digest: str
    before: str | None
    following: tuple[Worker, ...]
    behind: tuple[Worker, ...]


@final
@dataclass(frozen=True, slots=True)
class Status:
    """What is in force. `edited` says that the files are not those that were applied."""

    lock: Lock | None
    epoch: str | None
    edited: bool
    workers: tuple[Worker, ...]


def candidate(path: Path) -> PolicySet:
    """The policy set in `path`, applied or not, checked as a gateway would check it. Raises PolicyError."""
    found = load(path, locked=False)
    checked_grants(found.access)
    compile_contracts(found, dict.fromkeys(named_roots(found), ""))
    return found


def apply(office: Office, path: Path, found: PolicySet, by: str, say: Callable[[str], None]) -> Applied:
    """Put `found`, the candidate that was checked, into force. Raises what recording and writing raise."""
    clock = SystemClock()
    epoch = PolicyEpoch(office.database, clock)
    lock = read_lock(path)
    before = lock.digest if lock is not None else None
    office.record(PolicyApplied(found.digest, before, by, dict(found.files)))
    write_lock(path, Lock(found.digest, found.files, by, clock.now().rfc3339()))
    keep(path, found, office.home.state)
    say("wrote the lock; waiting for running gateways")
    deadline = time.monotonic() + FOLLOW_S
    while True:
        live = tuple(worker for worker in epoch.workers() if _alive(worker))
        behind = tuple(worker for worker in live if worker.digest != found.digest)
        if not behind or any(worker.fault for worker in behind) or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    epoch.apply(found.digest, by)
    following = tuple(worker for worker in live if worker.digest == found.digest)
    return Applied(found.digest, before, following, behind)


def status(office: Office, path: Path) -> Status:
    """What was applied, what the files say now, and what each live gateway runs. Raises PolicyErrors."""
    must_exist(path)
    epoch = PolicyEpoch(office.database, SystemClock())
    lock = read_lock(path)
    edited = lock is not None and load(path, locked=False).digest != lock.digest
    return Status(lock, epoch.applied(), edited, tuple(worker for worker in epoch.workers() if _alive(worker)))


def changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """`added`, `removed` or `changed` by file name, for what differs."""
    words = {name: "added" for name in after if name not in before}
    words |= {name: "removed" for name in before if name not in after}
    words |= {name: "changed" for name in after if name in before and after[name] != before[name]}
    return dict(sorted(words.items()))


def _alive(worker: Worker) -> bool:
    """Whether the process is there, on this machine. One of another machine cannot be asked and counts as alive."""
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
