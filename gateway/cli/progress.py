"""The line that says how far a long command is: on a terminal only, gone when the work is done.

Guarantee: nothing is written where standard error is no terminal, where a program reads (`--json`), or within the first
second. Plain characters and carriage returns: no colour, and at most 79 columns.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO, final

if TYPE_CHECKING:
    from gateway.audit.progress import Tell

AFTER_S: Final = 1.0
EVERY_S: Final = 0.2
_COLUMNS: Final = 79


@contextmanager
def progressing(what: str, *, wanted: bool = True) -> Iterator[Tell | None]:
    """What to hand to the work that `what` names, in a word or two; None where nobody watches."""
    if not wanted or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    line = ProgressLine(what, sys.stderr, time.monotonic)
    try:
        yield line.tell
    finally:
        line.clear()


@final
class ProgressLine:
    """One line, written over and over."""

    def __init__(self, what: str, stream: TextIO, now: Callable[[], float]) -> None:
        self._what = what
        self._stream = stream
        self._now = now
        self._began = self._shown = now()
        self._width = 0

    def tell(self, done: int, total: int, records: int) -> None:
        """As `gateway.audit.progress.Tell` has it."""
        now = self._now()
        spent = now - self._began
        if spent < AFTER_S or now - self._shown < EVERY_S:
            return
        self._shown = now
        parts = [f"{records:,} records", f"{records / spent:,.0f}/s"]
        if 0 < done <= total:
            parts = [f"{100 * done // total} %", *parts, f"{_span(spent * (total - done) / done)} left"]
        text = f"{self._what}: {', '.join(parts)}"[:_COLUMNS]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def clear(self) -> None:
        """Leave nothing behind."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()


def _span(seconds: float) -> str:
    whole = int(seconds) + 1
    if whole < 90:
        return f"{whole} s"
    return f"{-(-whole // 60)} min" if whole < 5_400 else f"{whole // 3600} h {whole % 3600 // 60:02} min"
