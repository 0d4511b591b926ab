"""What sandboxed code prints, for an operator's eyes while it runs; the agent gets it after release only (I3).

Guarantee: whoever watches slows no run, ends none and changes no result. Pieces wait in a bounded line for one thread;
what does not fit is left out and counted. The text is safe to print (I9). It is the code's claim and nothing is
redacted in it, so it is shown to people and neither logged nor handed on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from gateway.alarm import alarm
from gateway.domain.call import CallContext
from gateway.domain.errors import described

MOST_CHARS: Final = 1 << 20  # of all pieces that wait together


@final
@dataclass(frozen=True, slots=True)
class CodeOutput:
    """A piece of what one run prints. `stream` is stdout or stderr; `missed` characters were left out just before."""

    call_id: str
    tool: str
    principal: str
    conversation: str
    stream: str
    text: str
    missed: int


Watcher = Callable[[CodeOutput], None]


@final
class Watchers:
    """The host's function that watches, if there is one, and the line in front of it. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Condition()
        self._watcher: Watcher | None = None
        self._line: deque[CodeOutput] = deque()
        self._chars = 0
        self._missed = 0
        self._told = False
        self._thread: threading.Thread | None = None
        self._closed = False

    def watch(self, watcher: Watcher | None) -> None:
        """From the next run on `watcher` is told of every piece, in a thread of its own; None: nobody is."""
        with self._guard:
            self._watcher, self._told = watcher, False
            if watcher is not None and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._live, name="toolgate-watch", daemon=True)
                self._thread.start()

    def listener(self, ctx: CallContext, tool: str) -> Callable[[str, str], None] | None:
        """For one run: takes its pieces and never waits. None while nobody watches."""
        if self._watcher is None:
            return None

        def hear(stream: str, text: str) -> None:
            with self._guard:
                if self._chars + len(text) > MOST_CHARS:
                    self._missed += len(text)
                    return
                piece = CodeOutput(ctx.id, tool, ctx.principal.id, ctx.conversation, stream, text, self._missed)
                self._missed = 0
                self._chars += len(text)
                self._line.append(piece)
                self._guard.notify()

        return hear

    def _live(self) -> None:
        while True:
            with self._guard:
                self._guard.wait_for(lambda: self._line or self._closed)
                if self._closed:
                    return
                piece, watcher = self._line.popleft(), self._watcher
                self._chars -= len(piece.text)
            if watcher is not None:
                self._tell(watcher, piece)

    def _tell(self, watcher: Watcher, piece: CodeOutput) -> None:
        try:
            watcher(piece)
        except Exception as error:  # the host's own function; the run is none of its business
            if not self._told:
                self._told = True
                alarm().warning("code_watcher_failed", fault=described(error), call_id=piece.call_id)

    def close(self) -> None:
        """Tell nobody any more; what waits is dropped. A watcher that does not come back is not waited for."""
        with self._guard:
            self._closed = True
            self._line.clear()
            self._guard.notify_all()
