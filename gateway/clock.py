"""The real clock: wall time for people, CLOCK_BOOTTIME for expiry (`clock_gettime(2)`, `random(4)` for the boot id).

Guarantee: `boot_ns` never runs backwards within a boot and counts suspended time; `boot_id` changes with every boot.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import final

from gateway.domain.errors import SettingsError
from gateway.domain.instant import Instant

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@final
class SystemClock:
    """`gateway.domain.instant.Clock` on Linux. Raises SettingsError at the start where the kernel names no boot."""

    __slots__ = ("_boot_id",)

    def __init__(self, boot_id: Path = BOOT_ID) -> None:
        try:
            self._boot_id = boot_id.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{boot_id} cannot be read ({error}); expiry is measured per boot. Mount /proc in this environment."
            ) from error
        if not self._boot_id:
            raise SettingsError(f"{boot_id} is empty; expiry is measured per boot. Mount /proc in this environment.")

    def now(self) -> Instant:
        return Instant(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME), self._boot_id)

    wall_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.perf_counter_ns)
