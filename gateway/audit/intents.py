"""What the log says became of each call: intent, outcome, and what a person settled (C125).

An intent without an outcome is a call of which nobody knows whether it took effect. In a live process it may simply
still be running, so only a log whose writer is gone says so for certain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from gateway.audit.errors import LogDamaged
from gateway.audit.progress import Meter, Tell
from gateway.audit.read import read_origin
from gateway.audit.segment import Place

_ABOUT = (b'"kind":"call.intent"', b'"kind":"call.outcome"', b'"kind":"call.settled"')


@final
@dataclass(slots=True)
class LoggedCall:
    """One call that passed step 6.

    `outcome` is `released`, `failed`, `unknown` or None; `settled` is a person's finding.
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

    @property
    def unfinished(self) -> bool:
        """Nobody can say whether it took effect, and nobody has settled it."""
        return self.outcome in (None, "unknown") and self.settled in (None, "cannot_tell")


def logged_calls(audit_root: Path, origins: Iterable[str], progress: Tell | None = None) -> dict[str, LoggedCall]:
    """Every call with an intent in `origins`, by call id; the newest attempt of a retried one.

    Name only origins whose word counts: one that nobody enrolled could settle what is in doubt. Raises LogDamaged.
    """
    calls: dict[str, LoggedCall] = {}
    settled: dict[tuple[str, str], str] = {}
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
            calls[call_id].settled = finding
    return calls


def _note(
    origin: str,
    seq: int,
    record: dict[str, Any],
    calls: dict[str, LoggedCall],
    settled: dict[tuple[str, str], str],
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
            settled[record["intent_origin"], record["call_id"]] = record["finding"]
        case _:
            pass  # a mark inside some other record's text


def origins_in(audit_root: Path) -> tuple[str, ...]:
    """Names of every origin that has a folder here, enrolled or not."""
    if not audit_root.is_dir():
        return ()
    return tuple(sorted(path.name for path in audit_root.iterdir() if path.is_dir()))


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
