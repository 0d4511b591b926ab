"""Time as a value. `Clock` is the only port through which anything learns what time it is.

Wall time is what people read; boot time is what an expiry is measured with, so that setting the clock back
cannot make a grant live longer (CLOCK_BOOTTIME counts suspended time too, see `clock_gettime(2)`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, Protocol, final

NS = 1_000_000_000


@final
class Instant(NamedTuple):
    """One moment on one machine. Both times are in nanoseconds; `boot_id` names the boot that counts `boot_ns`."""

    wall_ns: int
    boot_ns: int
    boot_id: str

    def rfc3339(self) -> str:
        """UTC with microseconds, as records carry it: `2026-01-31T09:30:00.000001Z`."""
        whole = datetime.fromtimestamp(self.wall_ns // NS, UTC)
        return f"{whole:%Y-%m-%dT%H:%M:%S}.{self.wall_ns % NS // 1000:06d}Z"


class Clock(Protocol):
    """The port. Real: `gateway.clock.SystemClock`. Fake: `tests.fakes.clock`."""

    def now(self) -> Instant: ...

    def wall_ns(self) -> int:
        """`now().wall_ns`, for whoever needs no more than that."""
        ...

    def monotonic_ns(self) -> int:
        """For durations only; never compared between processes."""
        ...
