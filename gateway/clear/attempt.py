"""A claim whose caller may be cancelled while it is being made (C075).

Guarantee: a claim that was made for a caller who is gone is burnt at once, so its effect key is not held by nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, final

from gateway.domain.call import ClearedCall

T = TypeVar("T")


@final
class Attempt(Generic[T]):
    """A claim running in a thread that goes on when its caller is gone."""

    def __init__(self, work: Callable[[], T], undo: Callable[[], None]) -> None:
        self._work = work
        self._undo = undo
        self._guard = threading.Lock()
        self._deserted = False
        self._claimed = False

    def run(self) -> T:
        result = self._work()
        with self._guard:
            self._claimed = isinstance(result, ClearedCall)
            undo = self._claimed and self._deserted
        if undo:
            self._undo()
        return result

    def desert(self) -> None:
        with self._guard:
            self._deserted = True
            undo = self._claimed
        if undo:  # beside the loop; should it fail, the claim is found at the next start (recovery.py)
            threading.Thread(target=self._undo, name="toolgate-burn").start()
