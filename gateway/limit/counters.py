"""What a conversation and a minute have used up. Counted in memory, per process, and bounded.

Why a minute is counted here and not by the `limits` package: its `MemoryStorage` (5.8) starts a thread for every call
that comes 10 ms or more after the one before, inserts each call at the head of a list, and measures by the wall clock,
which anybody may set. A window shared by several processes would be the package's work again (its Redis storage).
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import Final, final

from gateway.domain.instant import NS

MINUTE_NS: Final = 60 * NS
MAX_CONVERSATIONS = 10_000  # the longest idle conversation is forgotten first


@final
class Usage:
    """One conversation of one principal: calls in all, calls per tool, and how often each very same call was made."""

    __slots__ = ("calls", "same", "tools")

    def __init__(self) -> None:
        self.calls = 0
        self.tools: dict[str, int] = {}
        self.same: dict[int, int] = {}


@final
class Counters:
    """Usage by (principal, conversation) and by (principal, tool). Hold `guard` while reading or changing either."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self._usage: OrderedDict[tuple[str, str], Usage] = OrderedDict()
        self._minutes: dict[tuple[str, str], deque[int]] = {}  # no more of them than the policy grants

    def of(self, principal: str, conversation: str) -> Usage:
        """The usage of one conversation."""
        key = (principal, conversation)
        usage = self._usage.get(key)
        if usage is None:
            usage = self._usage[key] = Usage()
            while len(self._usage) > MAX_CONVERSATIONS:
                self._usage.popitem(last=False)
        else:
            self._usage.move_to_end(key)
        return usage

    def forget(self) -> None:
        """Begin anew."""
        self._usage.clear()
        self._minutes.clear()

    def minute(self, principal: str, tool: str, now_ns: int) -> deque[int]:
        """When this principal called this tool in the minute before `now_ns`, oldest first; append to count a call."""
        calls = self._minutes.setdefault((principal, tool), deque())
        while calls and now_ns - calls[0] >= MINUTE_NS:
            calls.popleft()
        return calls
