"""Follows the policy lock: a thread that looks twice a second, and SIGHUP for those who cannot wait.

Where no policy was ever applied there is no lock and nothing to follow: edits count at the next start, or at SIGHUP.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final, final

from gateway.policy.lock import LOCK

POLL_S: Final = 0.5


@final
class Follower:
    """Calls `reload` when the lock is replaced, in a thread of its own."""

    def __init__(self, folder: Path, reload: Callable[[], bool]) -> None:
        self._lock = folder / LOCK
        self._reload = reload
        self._wake = threading.Event()
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._seen = self._state()
        self._thread = threading.Thread(target=self._run, name="toolgate-policy", daemon=True)
        self._thread.start()
        self._take_signal()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=5)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) == self._hup:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # so that the next gateway of this process can take it

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(POLL_S)
            self._wake.clear()
            state = self._state()
            replaced = state is not None and state != self._seen
            if (replaced or self._asked.is_set()) and not self._closing.is_set():
                self._asked.clear()
                self._seen = state
                self._reload()

    def _state(self) -> tuple[int, int, int] | None:
        try:
            info = os.stat(self._lock)
        except FileNotFoundError:
            return None
        return info.st_ino, info.st_size, info.st_mtime_ns

    def _take_signal(self) -> None:
        """SIGHUP reloads, unless the host handles it already or does not own the main thread here."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._hup)

    def _hup(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked.set()
        self._wake.set()
