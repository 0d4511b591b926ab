"""Who may run next: bounded, fair between keys, and never a silent wait.

Guarantee: at most `running` at once; a key that asks a thousand times waits behind its own thousand, not before
another's first (round robin, after Nagle, RFC 970); whoever would have to wait beyond the bounds is refused at once.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from sandbox.failure import RunCancelled, SandboxOverloaded


@final
class FairQueue:
    """`running` places; `waiting` in all and `waiting_each` for one key may stand in line. Thread-safe."""

    def __init__(self, running: int, *, waiting: int, waiting_each: int) -> None:
        self._free = running
        self._waiting, self._waiting_each = waiting, waiting_each
        self._guard = threading.Lock()
        self._lines: OrderedDict[str, deque[threading.Event]] = OrderedDict()

    @contextmanager
    def place(self, key: str, *, patience_s: float, cancel: threading.Event | None = None) -> Iterator[None]:
        """Hold a place. Raises `SandboxOverloaded` at once where the line is full, or when patience ends."""
        self._take(key, patience_s, cancel)
        try:
            yield
        finally:
            self._give_back()

    def _take(self, key: str, patience_s: float, cancel: threading.Event | None) -> None:
        with self._guard:
            if self._free > 0:  # so nobody waits
                self._free -= 1
                return
            line = self._lines.get(key, deque())
            if len(line) >= self._waiting_each:
                raise SandboxOverloaded(f"{len(line)} runs of this caller are waiting already")
            if sum(map(len, self._lines.values())) >= self._waiting:
                raise SandboxOverloaded(f"{self._waiting} runs are waiting already")
            turn = threading.Event()
            line.append(turn)
            self._lines[key] = line
        end = time.monotonic() + patience_s
        while not turn.wait(min(0.05, max(0.0, end - time.monotonic()))):
            stopped = cancel is not None and cancel.is_set()
            if (stopped or time.monotonic() >= end) and self._leave(key, turn):
                if stopped:
                    raise RunCancelled("cancelled while it waited for its turn")
                raise SandboxOverloaded(f"no place was free within {patience_s:g} s")

    def _leave(self, key: str, turn: threading.Event) -> bool:
        """False where the turn has come meanwhile."""
        with self._guard:
            if turn.is_set():
                return False
            self._lines[key].remove(turn)
            if not self._lines[key]:
                del self._lines[key]
            return True

    def _give_back(self) -> None:
        with self._guard:
            if not self._lines:
                self._free += 1
                return
            key, line = self._lines.popitem(last=False)
            line.popleft().set()
            if line:
                self._lines[key] = line  # to the end: the next turn is another's
