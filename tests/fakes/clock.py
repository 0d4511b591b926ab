"""A clock that tests move by hand: wall time and boot time apart, and reboots."""

from __future__ import annotations

from gateway.domain.instant import NS, Instant


class FakeClock:
    """Starts at a fixed moment of the first boot. Durations (`monotonic_ns`) follow boot time."""

    def __init__(self, wall_s: int = 1_800_000_000) -> None:
        self._wall_ns = wall_s * NS
        self._boot_ns = 1_000 * NS
        self._boots = 1

    def now(self) -> Instant:
        return Instant(self._wall_ns, self._boot_ns, f"boot-{self._boots}")

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._boot_ns

    def advance(self, seconds: float) -> None:
        """Time passes: both clocks move."""
        self._wall_ns += int(seconds * NS)
        self._boot_ns += int(seconds * NS)

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock, by `seconds` forward or (negative) back. Boot time does not move."""
        self._wall_ns += int(seconds * NS)

    def reboot(self, wall_s: float = 0) -> None:
        """The machine starts again; its wall clock comes up `wall_s` later (or earlier) than before."""
        self._boots += 1
        self._boot_ns = 5 * NS
        self._wall_ns += int(wall_s * NS)
