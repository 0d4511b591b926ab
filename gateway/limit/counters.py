"""What one conversation has used up. Counted in memory, per process, and bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import final

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
    """Usage by (principal, conversation)."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self._usage: OrderedDict[tuple[str, str], Usage] = OrderedDict()

    def of(self, principal: str, conversation: str) -> Usage:
        """The usage of one conversation. Hold `guard` while reading or changing it."""
        key = (principal, conversation)
        usage = self._usage.get(key)
        if usage is None:
            usage = self._usage[key] = Usage()
            while len(self._usage) > MAX_CONVERSATIONS:
                self._usage.popitem(last=False)
        else:
            self._usage.move_to_end(key)
        return usage
