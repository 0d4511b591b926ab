"""Whose turn it is: calls that touch one thing (`serialize_by`), and calls that keep the model's order (`ordered`).

Keyed locks: two calls that touch one thing take turns, from step 4 until release (I13), first come, first served.
Order: the ordered calls of one conversation run one after the other in the order in which they were asked. A waiter is
a future, so that one of these serves threads and event loops alike. Waiting for a person holds nothing: a parked call
has given its key and its place back.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
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


@final
@dataclass(slots=True, eq=False)
class Place:
    """One call's place in the order of its conversation. `turn` is done once every call before it has ended."""

    conversation: tuple[str, str | None, str]
    longest_s: float
    waits_s: float
    turn: Future[None] = field(default_factory=Future)


@final
class Order:
    """A queue for each conversation that has ordered calls under way; memory only for those."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._queues: dict[tuple[str, str | None, str], list[Place]] = {}

    def join(self, conversation: tuple[str, str | None, str], longest_s: float) -> Place:
        """The next place. `longest_s` is how long this call may take, and so how long others may wait for it."""
        with self._guard:
            queue = self._queues.setdefault(conversation, [])
            place = Place(conversation, longest_s, sum(each.longest_s for each in queue))
            if not queue:
                place.turn.set_result(None)
            queue.append(place)
            return place

    async def come(self, place: Place, waits: Waits) -> bool:
        """True once everything before it has ended; False if that took longer than all of it may take."""
        if place.turn.done():
            return True
        try:
            await waits.future(place.turn, place.waits_s)
        except DeadlineExceeded:
            return False
        return True

    def leave(self, place: Place) -> None:
        """The call has ended, or will never run. Call it exactly once."""
        with self._guard:
            queue = self._queues[place.conversation]
            queue.remove(place)
            if not queue:
                del self._queues[place.conversation]
            elif not queue[0].turn.done() and queue[0].turn.set_running_or_notify_cancel():
                queue[0].turn.set_result(None)
