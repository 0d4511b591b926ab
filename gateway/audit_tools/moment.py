"""Times as people type them and as records carry them, in microseconds since 1970 (UTC)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.domain.errors import UsageError

HOUR_US: Final = 3_600_000_000
LATEST_US: Final = (1 << 52) - 1  # the year 2112: room is left above it, so that no record's key overflows
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AGO: Final = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(typed: str, now_us: int) -> int:
    """`2h` ago, a date, or a date and time (UTC unless it says otherwise). Raises UsageError."""
    ago = _AGO.fullmatch(typed)
    if ago is not None:
        return max(0, now_us - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) // timedelta(microseconds=1))
    try:
        when = datetime.fromisoformat(typed)
    except ValueError as error:
        raise UsageError(f"{typed!a} is no time: write 2h, 3d, 2027-01-15 or 2027-01-15T08:00:00Z") from error
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return min(max(0, (when - _EPOCH) // timedelta(microseconds=1)), LATEST_US)


def record_us(time: object, seconds: dict[str, int]) -> int:
    """When a record says it was written; 0 if it does not say so in the log's form. `seconds` is a cache to reuse."""
    if (
        not isinstance(time, str)
        or len(time) != 27
        or time[26] != "Z"
        or time[19] != "."
        or not time[20:26].isdecimal()
    ):
        return 0
    whole = seconds.get(time[:19])
    if whole is None:
        try:
            whole = (datetime.fromisoformat(time[:19] + "+00:00") - _EPOCH) // timedelta(microseconds=1)
        except ValueError:
            return 0
        if len(seconds) > 10_000:
            seconds.clear()
        seconds[time[:19]] = whole
    return min(max(0, whole + int(time[20:26])), LATEST_US)


def spelled(us: int) -> str:
    """`2027-01-15 08:00` in UTC."""
    return f"{_EPOCH + timedelta(microseconds=us):%Y-%m-%d %H:%M}"
