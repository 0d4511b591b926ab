"""What the log says became of each call: intent, outcome, and what a person settled (C125).

An intent without an outcome is a call of which nobody knows whether it took effect. In a live process it may simply
still be running, so only a log whose writer is gone says so for certain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from gateway.audit.errors import LogDamaged
from gateway.audit.progress import Meter, Tell
from gateway.audit.read import read_origin
from gateway.audit.segment import Place
from gateway.domain.errors import SettingsError

_ABOUT = (b'"kind":"call.intent"', b'"kind":"call.outcome"', b'"kind":"call.settled"')
_Finding = tuple[str, tuple[str, int]]


@final
@dataclass(slots=True)
class LoggedCall:
    """One call that passed step 6.

    `outcome` is `released`, `failed`, `unknown` or None; `settled` is a person's finding, recorded at `settled_at`
    (origin and number).
    """

    origin: str
    seq: int
    call_id: str
    tool: str
    principal: str
    conversation: str
    request_id: str | None
    effect_key: str | None
    arguments: object
    time: str
    outcome: str | None = None
    detail: str = ""
    settled: str | None = None
    settled_at: tuple[str, int] | None = None

    @property
    def unfinished(self) -> bool:
        """Nobody can say whether it took effect, and nobody has settled it."""
        return self.outcome in (None, "unknown") and self.settled in (None, "cannot_tell")


def logged_calls(audit_root: Path, origins: Iterable[str], progress: Tell | None = None) -> dict[str, LoggedCall]:
    """Every call with an intent in `origins`, by call id; the newest attempt of a retried one.

    Name only origins whose word counts: one that nobody enrolled could settle what is in doubt. Raises LogDamaged.
    """
    calls: dict[str, LoggedCall] = {}
    settled: dict[tuple[str, str], _Finding] = {}
    names, meter = list(origins), Meter(progress)
    for origin in names:
        meter.expect(Place(origin, audit_root, audit_root).segments())
    for origin in names:
        for stored in read_origin(audit_root, origin, marks=_ABOUT, meter=meter):
            if stored.record is None:
                continue
            try:
                _note(origin, stored.seq, stored.record, calls, settled)
            except (KeyError, TypeError) as error:
                raise LogDamaged(origin, f"a record lacks what its kind must have ({error})", stored.seq) from error
    for (origin, call_id), finding in settled.items():
        if call_id in calls and calls[call_id].origin == origin:
            calls[call_id].settled, calls[call_id].settled_at = finding
    return calls


def _note(
    origin: str,
    seq: int,
    record: dict[str, Any],
    calls: dict[str, LoggedCall],
    settled: dict[tuple[str, str], _Finding],
) -> None:
    match record.get("kind"):
        case "call.intent":
            call = _intent(origin, seq, record)
            calls[call.call_id] = call
        case "call.outcome":
            known = calls.get(record["call"]["call_id"])
            if known is not None and known.origin == origin and known.seq == record["intent_seq"]:
                known.outcome, known.detail = record["status"], record["detail"]
        case "call.settled":
            settled[record["intent_origin"], record["call_id"]] = record["finding"], (origin, seq)
        case _:
            pass  # a mark inside some other record's text


def needed_records(calls: Mapping[str, LoggedCall], origin: str, claimed: Collection[str]) -> list[int]:
    """Numbers of records of `origin` that a later start, or a person, still needs; they must not be retired.

    Calls in doubt, calls that `claimed` (ids) says hold something in the database, and findings about calls whose doubt
    would come back without them.
    """
    own = [call for call in calls.values() if call.origin == origin and (call.unfinished or call.call_id in claimed)]
    settling = [
        call.settled_at[1]
        for call in calls.values()
        if call.settled_at is not None and call.settled_at[0] == origin and call.outcome in (None, "unknown")
    ]
    return [*(call.seq for call in own), *settling]


def origins_in(audit_root: Path) -> tuple[str, ...]:
    """Names of every origin that has a folder here, enrolled or not."""
    if not audit_root.is_dir():
        return ()
    return tuple(sorted(path.name for path in audit_root.iterdir() if path.is_dir()))


def origins_of_log(audit_root: Path) -> tuple[str, ...]:
    """`origins_in`, where there is a log. Raises SettingsError: where nothing can be read, nothing was "not found"."""
    origins = origins_in(audit_root)
    if not any(any((audit_root / origin).glob("*.jsonl")) for origin in origins):
        raise SettingsError(f"there is no audit log in {audit_root}: name the deployment's folder with --home")
    return origins


def _intent(origin: str, seq: int, record: dict[str, Any]) -> LoggedCall:
    call = record["call"]
    return LoggedCall(
        origin,
        seq,
        call["call_id"],
        call["tool"],
        call["principal"],
        call["conversation"],
        call["request_id"],
        record["effect_key"],
        record["arguments"],
        record["time"],
    )
