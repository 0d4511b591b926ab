"""How far a long reading of logs has come, for whoever waits for it. It says nothing about what was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, final

Tell = Callable[[int, int, int], None]
"""Called now and then with bytes read so far, bytes in all (0 where nobody knows), and records so far."""
_EVERY: Final = 4_096  # lines, for readers that go line by line: counting must not cost what reading does


@final
class Meter:
    """Adds up what was read from any number of files. `tell` of None: nobody waits, and nothing is counted."""

    __slots__ = ("_bytes", "_done", "_lines", "_records", "_tell", "_total")

    def __init__(self, tell: Tell | None = None, total: int = 0) -> None:
        self._tell = tell
        self._total = total
        self._done = self._records = self._bytes = self._lines = 0

    def expect(self, files: Iterable[Path]) -> None:
        """These will be read too. Raises OSError."""
        if self._tell is not None:
            self._total += sum(path.stat().st_size for path in files)

    def add(self, size: int, records: int) -> None:
        if self._tell is not None:
            self._done += size
            self._records += records
            self._tell(self._done, self._total, self._records)

    def line(self, size: int) -> None:
        """One line of so many bytes."""
        if self._tell is not None:
            self._bytes += size
            self._lines += 1
            if self._lines == _EVERY:
                self.add(self._bytes, self._lines)
                self._bytes = self._lines = 0
