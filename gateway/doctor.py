"""What must be true before a start, looked at without changing anything: `toolgate doctor`.

Every line asks the very code that a start would ask (loader, custody, keys, log, database, sandbox check), so doctor
and start cannot disagree. `failed`: a start is refused, or calls would be. `warning`: it starts, and is weaker than
it could be. Production's check list is docs/howto/production.md.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, final

from gateway.audit.newest import newest_record_ns
from gateway.audit.origin import key_problem, load_keyrings
from gateway.clock import SystemClock
from gateway.domain.errors import PolicyError, ToolgateError
from gateway.execute.check import REMEDY, standing
from gateway.keys import Keys, check_apart
from gateway.policy.lock import Lock, check_lock, read_lock
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.apply import candidate
from gateway.policy_tools.lint import lint
from gateway.settings import Home, check_custody, locate
from gateway.state.database import Database
from gateway.state.epoch import PolicyEpoch

Verdict = Literal["ok", "warning", "failed"]

LEAST_FREE: Final = 64 << 20  # bytes: below this, admitted calls may soon be refused for want of room in the log
SCARCE_FREE: Final = 1 << 30
EARLIEST_NS: Final = 1_735_689_600 * 10**9  # 2025-01-01: a clock before this was never set


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One line. `mend` is empty where there is nothing to do."""

    name: str
    verdict: Verdict
    said: str
    mend: str = ""


def examine(policies: Path, root: Path | None = None) -> list[Check]:
    """Every check, in the order of a start."""
    where = locate(policies, root)
    found: PolicySet | None = None
    checks: list[Check] = []
    try:
        found = candidate(policies)
    except ToolgateError as error:
        checks.append(
            Check("policy", "failed", _first(error), "correct the file; `toolgate policy check` names them all")
        )
    else:
        checks.append(Check("policy", "ok", f"{len(found.contracts)} tools, {found.digest[:19]}"))
        checks.append(_asked("lint", lambda: _lint(found)))
    checks.append(_asked("lock", lambda: _lock(policies, found, where)))
    if found is not None:
        checks.append(_approvers(found))
        if found.settings.observe is not None:
            said = "observe mode is permitted: a gateway that asks for it denies nothing"
            checks.append(Check("mode", "warning", said, "for production remove `observe:` from settings.yaml"))
    checks.append(_asked("permissions", lambda: _permissions(where)))
    checks.append(_asked("keys", lambda: _keys(where)))
    checks.append(_asked("separation", lambda: _separation(where)))
    checks.append(_asked("disk", lambda: _disk(where)))
    checks.append(_asked("clock", lambda: _clock(where)))
    checks.append(_asked("database", lambda: _database(where, policies)))
    if found is not None:
        checks += _sandboxes(found, where)
    return checks


def _asked(name: str, look: Callable[[], Check]) -> Check:
    """What a start would refuse is a failed line, in the same words."""
    try:
        return look()
    except (ToolgateError, OSError) as error:
        return Check(name, "failed", _first(error), "a start is refused until this is mended")


def _first(error: Exception) -> str:
    return str(error).split("\n", 1)[0]


def _lint(found: PolicySet) -> Check:
    findings = lint(found)
    errors = [each for each in findings if each.level == "error"]
    if errors:
        what = f"{len(errors)} error(s), first {errors[0].place} {errors[0].code}"
        return Check("lint", "failed", what, "`toolgate policy lint` says what to do; `apply` refuses them")
    if findings:
        return Check("lint", "warning", f"{len(findings)} warning(s)", "`toolgate policy lint` lists them")
    return Check("lint", "ok", "nothing to find")


def _lock(policies: Path, found: PolicySet | None, where: Home) -> Check:
    lock = read_lock(policies)
    if lock is None:
        mend = (
            "toolgate policy apply" if where.database.exists() else "start a gateway once, then toolgate policy apply"
        )
        return Check("lock", "warning", "never applied: whatever stands in the folder counts", mend)
    if found is None:
        return Check("lock", "failed", "applied, but the files cannot be read", "mend the policy first")
    return _edited(lock, found)


def _edited(lock: Lock, found: PolicySet) -> Check:
    try:
        check_lock(lock, found.files)
    except PolicyError as error:
        return Check("lock", "failed", _first(error), "toolgate policy apply, or undo the edit")
    return Check("lock", "ok", f"applied by {lock.applied_by} at {lock.applied_at}")


def _approvers(found: PolicySet) -> Check:
    people = found.approvers.approvers
    dev = [each.id for each in people if each.dev]
    if dev:
        mend = "each makes her own key: toolgate approvers add PERSON"
        return Check("approvers", "warning", f"made with --dev: {', '.join(dev)}", mend)
    return Check("approvers", "ok", f"{len(people)} enrolled")


def _permissions(where: Home) -> Check:
    in_the_way = {each for folder in where.folders for each in (folder, *folder.parents) if _is_no_folder(each)}
    if in_the_way:
        said = f"{min(in_the_way)} is a file, and a folder must stand there"
        return Check("permissions", "failed", said, "move it away, or name another place: --home, TOOLGATE_HOME")
    there = [folder for folder in where.folders if folder.is_dir()]
    if not there:
        return Check("permissions", "ok", f"nothing there yet; the first start makes {where.state.parent}")
    missing = [folder for folder in where.folders if not folder.is_dir()]
    if missing:
        return Check(
            "permissions", "failed", f"{missing[0]} is gone", "restore it from a backup, or look where it went"
        )
    check_custody(where)
    unwritable = [folder for folder in (where.state, where.audit, where.spent) if not os.access(folder, os.W_OK)]
    if unwritable:
        return Check("permissions", "failed", f"{unwritable[0]} cannot be written", "run doctor as the gateway's user")
    return Check("permissions", "ok", f"nobody else can change {where.state.parent}")


def _is_no_folder(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _keys(where: Home) -> Check:
    check_apart(where.keys, (where.state, where.audit))
    folder = where.keys / "deployment"
    if not folder.is_dir():
        if where.database.exists():
            return Check("keys", "failed", f"{folder} is gone", "restore it: without it nothing sealed can be opened")
        return Check("keys", "ok", "none yet; the first start makes them")
    keys = Keys.open(folder)
    for origin, ring in sorted(load_keyrings(where.trust).items() if where.trust.is_dir() else ()):
        problem = key_problem(ring, where.keys)
        if problem is not None:
            return Check("keys", "failed", f"origin {origin}: {problem}", "restore the key, or enroll another origin")
    return Check("keys", "ok", f"digest key {keys.digest.id}, private")


def _separation(where: Home) -> Check:
    beside = [
        folder.name
        for folder in (where.keys, where.checkpoints)
        if folder.resolve().parent == where.audit.resolve().parent
    ]
    if beside:
        what = f"{' and '.join(beside)} lie beside the log: who can write one can write all"
        return Check("separation", "warning", what, "for production move them: docs/howto/production.md")
    return Check("separation", "ok", "keys and checkpoints are kept apart from the log")


def _disk(where: Home) -> Check:
    least: tuple[int, Path] | None = None
    for folder in (where.audit, where.state, where.checkpoints):
        there = next(each for each in (folder, *folder.parents) if each.is_dir())
        found = os.statvfs(there)
        if found.f_flag & os.ST_RDONLY:
            return Check("disk", "failed", f"{there} is mounted read-only", "mount it writable: no record, no call")
        if found.f_files and not found.f_favail:
            return Check("disk", "failed", f"{there} has no inode left", "make room: no record, no call")
        free = found.f_bavail * found.f_frsize
        least = min(filter(None, (least, (free, there))), key=lambda one: one[0])
    free, there = least or (0, where.audit)
    said = f"{free >> 20:,} MiB free at {there}"
    if free < LEAST_FREE:
        return Check("disk", "failed", said, "make room, or retire old segments: toolgate audit retire")
    if free < SCARCE_FREE:
        return Check("disk", "warning", said, "make room, or retire old segments: toolgate audit retire")
    return Check("disk", "ok", said)


def _clock(where: Home) -> Check:
    now = time.time_ns()
    newest = newest_record_ns(where.audit)
    if now < EARLIEST_NS:
        return Check("clock", "failed", "it was never set", "set it (timedatectl set-ntp true): approvals expire by it")
    if now < newest:
        behind = (newest - now) / 1e9
        mend = "set it (timedatectl set-ntp true); approvals are refused until it is right"
        return Check("clock", "failed", f"{behind:,.0f} s behind the newest record of the log", mend)
    return Check("clock", "ok", "not behind the log")


def _database(where: Home, policies: Path) -> Check:
    if not where.database.exists():
        return Check("database", "ok", "none yet; the first start makes it")
    database = Database(where.database)
    try:
        applied = PolicyEpoch(database, SystemClock()).applied()
    finally:
        database.close()
    lock = read_lock(policies)
    if applied is not None and (lock is None or lock.digest != applied):
        what = f"it says that {applied[:19]} is in force, and the lock does not"
        return Check("database", "failed", what, "toolgate policy apply: until then every call is refused")
    return Check("database", "ok", "readable" + (f", {applied[:19]} is in force" if applied else ""))


def _sandboxes(found: PolicySet, where: Home) -> Iterator[Check]:
    used = {each.contract.execution.sandbox for each in found.contracts.values()} - {None}
    profiles = {name: document for name, document in found.sandbox_profiles.items() if name in used}
    for each in standing(profiles, where.state):
        name = f"sandbox {each.profile}"
        if each.problem:
            mend = f"{REMEDY}; docs/howto/sandbox-check.md. Until then its tools are refused"
            yield Check(name, "failed", each.problem, mend)
        elif not each.seccomp:
            mend = "use a daemon built with seccomp; its tools are refused without it"
            yield Check(name, "failed", "the daemon has no seccomp", mend)
        elif not each.looked_at:
            mend = "toolgate sandbox check: ten seconds, every wall tried from inside"
            yield Check(name, "warning", "daemon, image and seccomp are there; nobody has looked closer", mend)
        else:
            yield Check(name, "ok", "daemon, image and seccomp are there, and the check held")
