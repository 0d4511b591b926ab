"""How a caller waits. The pipeline is written once; `Waits` decides whether it blocks a thread or awaits a loop.

With the blocking form no awaitable ever suspends, so the coroutine is driven to its end by one `send(None)`
(`gateway.waiting.drive`). With the awaited form nothing ever blocks the loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DeadlineExceeded(Exception):
    """What was waited for did not come in time. If it `began` it may still be running."""

    def __init__(self, *, began: bool = True) -> None:
        super().__init__("deadline exceeded")
        self.began = began


class Ended(Exception):
    """What was waited for had begun, and somebody else ended it: nobody can say how far it came."""

    def __init__(self) -> None:
        super().__init__("somebody cancelled it while it ran")


class Waits(Protocol):
    """The places of a call that may wait. One of these belongs to one call.

    `either` and `blocking` finish what they began even when the caller is cancelled; `interrupted` says so
    afterwards. Only waits for somebody else's code are cut short by a cancellation.
    """

    def interrupted(self) -> BaseException | None:
        """The cancellation that came while our own work was under way; whoever ends the call raises it."""
        ...

    async def either(
        self, blocking: Callable[[*Ts], T], awaited: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts
    ) -> T:
        """Do one thing of our own that has both forms (an append to the log)."""
        ...

    async def blocking(self, work: Callable[[], T]) -> T:
        """Run short blocking work of our own (a database statement) where it may block."""
        ...

    async def worker(self, work: Callable[[], T], deadline_s: float) -> T:
        """Run somebody else's blocking code in a worker thread. Raises DeadlineExceeded; the thread goes on."""
        ...

    async def awaitable(self, make: Callable[[], Awaitable[T]], deadline_s: float) -> T:
        """Run somebody else's coroutine on the right loop. Raises DeadlineExceeded after cancelling it, or Ended."""
        ...

    async def future(self, future: Future[T], deadline_s: float) -> T:
        """Wait for a future that another call completes. Raises DeadlineExceeded."""
        ...

    async def sleep(self, seconds: float) -> None: ...
