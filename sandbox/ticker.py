"""A thread that does one thing every so often until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import final


@final
class Ticker:
    """Calls `action` every `every_s` seconds and whenever woken, one call at a time; the action does not raise."""

    def __init__(self, name: str, every_s: float, action: Callable[[], None]) -> None:
        self._every_s, self._action = every_s, action
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        while not self._stopped:
            self._wake.wait(self._every_s)
            self._wake.clear()
            if not self._stopped:
                self._action()

    def wake(self) -> None:
        """Now, rather than later."""
        self._wake.set()

    def stop(self) -> None:
        """No further call begins; the one under way is waited for."""
        self._stopped = True
        self._wake.set()
        self._thread.join()
