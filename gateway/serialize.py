"""Keyed locks: two calls that touch one thing take turns, from step 4 until release (I13).

First come, first served. A waiter is a future, so that one lock serves threads and event loops alike. Waiting for a
person holds nothing: a parked call has given its key back.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import final

from gateway.domain.waits import DeadlineExceeded, Waits


@final
class KeyedLocks:
    """At most one holder a key; memory only for keys in use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._queues: dict[str, deque[Future[None]]] = {}

    async def acquire(self, key: str, waits: Waits, deadline_s: float) -> bool:
        """True once this caller holds `key`; False if that took longer than `deadline_s`."""
        with self._guard:
            queue = self._queues.get(key)
            if queue is None:
                self._queues[key] = deque()
                return True
            turn: Future[None] = Future()
            queue.append(turn)
        try:
            await waits.future(turn, deadline_s)
        except DeadlineExceeded:
            return self._leave(key, turn)
        except BaseException:  # cancelled while waiting: pass the turn on if it came meanwhile, and let it rise
            if self._leave(key, turn):
                self.release(key)
            raise
        return True

    def release(self, key: str) -> None:
        with self._guard:
            queue = self._queues[key]
            while queue:
                turn = queue.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            del self._queues[key]

    def _leave(self, key: str, turn: Future[None]) -> bool:
        """Stop waiting. True if the turn had come after all, so that the caller holds the key."""
        with self._guard:
            if turn.done() and not turn.cancelled():
                return True
            turn.cancel()
            queue = self._queues.get(key)
            if queue is not None and turn in queue:
                queue.remove(turn)
            return False
