"""Wall times of records: a clock that stands behind the newest has been set back (C056)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from gateway.audit.intents import origins_in
from gateway.audit.segment import Place
from gateway.audit.shape import decode

_TAIL: Final = 1 << 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def newest_record_ns(audit_root: Path) -> int:
    """Nanoseconds since 1970 of the newest finished record in any origin; 0 if there is none. Raises OSError."""
    newest = 0
    for origin in origins_in(audit_root):
        segments = Place(origin, audit_root, audit_root).segments()
        newest = max(newest, next((time for each in reversed(segments) if (time := _last_time_ns(each))), 0))
    return newest


def _last_time_ns(segment: Path) -> int:
    with segment.open("rb") as file:
        size = file.seek(0, 2)
        step = 4096
        while True:
            file.seek(max(0, size - step))
            lines = file.read().split(b"\n")[:-1]  # what follows the last newline is not a finished record
            if len(lines) > 1 or step >= size or step >= _TAIL:
                break
            step *= 8
    return _time_ns(lines[-1]) if lines else 0


def first_time_ns(segment: Path) -> int:
    """The wall time of a segment's first record, in nanoseconds since 1970; 0 if it has none. Raises OSError."""
    with segment.open("rb") as file:
        line = file.readline(_TAIL)
    return _time_ns(line[:-1]) if line.endswith(b"\n") else 0


def _time_ns(line: bytes) -> int:
    try:
        return rfc3339_ns(str(decode(line).get("time")))
    except ValueError:
        return 0  # a damaged line is for `verify` to name; it must not make old grants good or new ones bad


def rfc3339_ns(time: str) -> int:
    """Nanoseconds since 1970 of a record's time; 0 for anything else."""
    try:
        return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, TypeError):
        return 0
