"""Stateful sessions: a container of its own for each conversation, in which variables and files live on.

Guarantee: a session is found by the caller's whole key and by nothing else, so conversations never share one; it
keeps the specification's limits for its whole life, which is bounded; a deadline, a cancellation, an OOM kill or a
fault ends the container and the session with it, never only the call. Every run, whatever becomes of it, raises the
generation: what was seen before it is not what is there after it.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from sandbox import frame as framing
from sandbox.docker import Container, DockerEngine
from sandbox.failure import RunCancelled, SandboxOverloaded, SandboxUnavailable, SessionMoved
from sandbox.result import Hear, SandboxResult
from sandbox.run import bounded, perform
from sandbox.spec import SandboxSpec
from sandbox.ticker import Ticker

IDLE_S: Final = 900.0
LIFE_S: Final = 4 * 3600.0
TICK_S: Final = 30.0
_POLL_S: Final = 0.05

log = logging.getLogger("toolgate.sandbox")


@dataclass(frozen=True, slots=True)
class Mark:
    """One state of one session: after how many runs, of which container's life."""

    session: str
    generation: int


FRESH: Final = Mark("", 0)  # no session yet: a run would begin one


@dataclass(slots=True, eq=False)
class _Session:
    whose: str = ""
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    busy: threading.Lock = field(default_factory=threading.Lock)
    container: Container | None = None
    generation: int = 0
    born: float = 0.0
    used: float = 0.0
    over: bool = False

    def mark(self) -> Mark:
        return Mark(self.name, self.generation) if self.generation else FRESH


@final
class Sessions:
    """Sessions under one specification: at once at most `most`, and `most_each` of one owner (None: all of them).

    Thread-safe; runs of one session queue up.
    `idle_s` after its last run a session ends, `life_s` after its first. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        engine: DockerEngine,
        spec: SandboxSpec,
        *,
        most: int = 16,
        most_each: int | None = None,
        idle_s: float = IDLE_S,
        life_s: float = LIFE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self._engine, self._clock = engine, clock
        self._most, self._idle_s, self._life_s = most, idle_s, life_s
        self._most_each = most if most_each is None else most_each
        self._guard = threading.Lock()
        self._open: dict[str, _Session] = {}
        self._closed = False
        self._ticker = Ticker("toolgate-sessions", min(TICK_S, idle_s), self._tend)

    def mark(self, key: str) -> Mark | None:
        """Where the session of `key` stands; None where it has none, so that a run would start afresh."""
        with self._guard:
            found = self._open.get(key)
            return None if found is None or self._overdue(found) else Mark(found.name, found.generation)

    def run(
        self,
        key: str,
        code: bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
        cancel: threading.Event | None = None,
        hear: Hear | None = None,
        if_match: Mark | None = None,
        whose: str = "",
    ) -> SandboxResult:
        """Run `code` in the session of `key`, which begins with it if there is none. Raises as `DockerEngine.run`.

        `result.alive` says whether the session outlived the run. With `if_match` it is run in that state of the session
        or not at all (`SessionMoved`): looked at once its turn has come, so no other run can be in between. `whose` is
        the owner against whom a session counts that begins now.
        """
        deadline = bounded(self.spec, deadline_s)
        wanted = framing.Request(code, inputs or {}, stdin, keep=True)
        framing.encoded(self.spec, wanted, deadline)  # refused before a session is begun for it
        session = self._entered(key, whose, time.monotonic() + deadline, cancel)
        try:
            if if_match is not None and if_match != (found := session.mark()):
                raise SessionMoved(f"the session is at {found}, not at {if_match}")
            session.generation += 1
            first = session.container is None
            if session.container is None:
                session.born = self._clock()
                session.container = self._engine.open(self.spec, self._life_s + deadline, cancel)
            left = self._life_s - (self._clock() - session.born)
            request = framing.encoded(self.spec, wanted, max(deadline, left))
            result = perform(
                session.container, request, deadline_s=deadline, keep=True, first=first, cancel=cancel, hear=hear
            )
        except SessionMoved:
            session.over = session.container is None  # nothing ran: what lives, lives on
            raise
        except BaseException:
            session.over = True
            raise
        else:
            session.over = not result.alive
            return result
        finally:
            session.used = self._clock()
            if session.over:
                self._end(key, session)
            session.busy.release()

    def _entered(self, key: str, whose: str, until: float, cancel: threading.Event | None) -> _Session:
        """The session of `key`, with its `busy` lock held."""
        while True:
            self.expire()
            with self._guard:
                if self._closed:
                    raise SandboxUnavailable("the sessions are closed")
                session = self._open.get(key)
                if session is None:
                    if len(self._open) >= self._most:
                        raise SandboxOverloaded(f"{self._most} sessions are open already")
                    if sum(each.whose == whose for each in self._open.values()) >= self._most_each:
                        raise SandboxOverloaded(f"{self._most_each} sessions of this caller are open already")
                    session = self._open[key] = _Session(whose, used=self._clock(), born=self._clock())
            while not session.busy.acquire(timeout=_POLL_S):
                if cancel is not None and cancel.is_set():
                    raise RunCancelled("cancelled while another run of this session went on")
                if time.monotonic() >= until:
                    raise SandboxOverloaded("another run of this session is still going on")
            if not session.over:
                return session
            session.busy.release()  # it ended while we waited: a new one begins

    def _overdue(self, session: _Session) -> bool:
        now = self._clock()
        return now - session.used >= self._idle_s or now - session.born >= self._life_s

    def expire(self) -> None:
        """End what was idle for too long or has lived long enough. A run under way is let finish."""
        with self._guard:
            found = [(key, session) for key, session in self._open.items() if self._overdue(session)]
        for key, session in found:
            if session.busy.acquire(blocking=False):
                try:
                    if self._overdue(session):
                        self._end(key, session)
                finally:
                    session.busy.release()

    def _tend(self) -> None:
        """What is over, and what others left behind."""
        self.expire()
        self._engine.tidy()

    def end(self, key: str) -> None:
        """End the session of `key`, if there is one, after the run under way."""
        with self._guard:
            session = self._open.get(key)
        if session is not None:
            with session.busy:
                self._end(key, session)

    def _end(self, key: str, session: _Session) -> None:
        """`busy` is held."""
        session.over = True
        with self._guard:
            if self._open.get(key) is session:
                del self._open[key]
        container, session.container = session.container, None
        if container is not None and (fault := container.dispose()):
            log.warning("%s", fault)

    def close(self) -> None:
        """End every session, after the runs under way. Idempotent."""
        with self._guard:
            self._closed = True
            keys = list(self._open)
        self._ticker.stop()
        for key in keys:
            self.end(key)

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
