"""The wall time of the newest record: a clock that stands behind it has been set back (C056)."""

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
        if segments:
            newest = max(newest, _last_time_ns(segments[-1]))
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
    if not lines:
        return 0
    try:
        time = datetime.fromisoformat(str(decode(lines[-1]).get("time")))
    except ValueError:
        return 0  # a damaged line is for `verify` to name; it must not make old grants good or new ones bad
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000
