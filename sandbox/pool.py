"""Started containers that wait for code: each is used once and removed, and another takes its place.

Guarantee: a pool serves one `SandboxSpec` and starts its own containers from it, so profiles and images never mix
and nothing started elsewhere is ever taken in; each was compared with the request before it started, like any other.
An empty pool means a run in a container made for it, under the same specification and the same checks: slower, never
weaker. A container rests for at most `REST_S` before it is replaced, so its lease label always outlives it; if the
process dies, its containers see the end of their stdin and end themselves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, final

from sandbox import frame as framing
from sandbox.docker import Container, DockerEngine
from sandbox.failure import RunCancelled, SandboxError, SandboxUnavailable
from sandbox.result import Hear, SandboxResult
from sandbox.run import bounded, perform
from sandbox.spec import SandboxSpec
from sandbox.ticker import Ticker

REST_S: Final = 600.0  # a waiting container is replaced after this long
TICK_S: Final = 30.0  # how often old ones are replaced, faults retried and leftovers reaped
QUIET_S: Final = 0.03  # starting and removing begin after so long without a run beginning or ending ...
GIVE_WAY_S: Final = 1.0  # ... but wait no longer than this
WORKERS: Final = 3  # starting and removing go on side by side; more only fight over the daemon
MOST_WAITING: Final = 64

log = logging.getLogger("toolgate.sandbox")


@final
class Pool:
    """`size` containers of one specification, interpreter and preloaded modules ready.

    `size=0` keeps none: every run is cold. Thread-safe. Close it, or use it as a context manager.
    """

    def __init__(
        self, engine: DockerEngine, spec: SandboxSpec, size: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not 0 <= size <= MOST_WAITING:
            raise ValueError(f"a pool holds 0 to {MOST_WAITING} containers, not {size}")
        self.spec, self.size = spec, size
        self._engine, self._clock = engine, clock
        self._guard = threading.Condition()
        self._waiting: deque[tuple[float, Container]] = deque()
        self._coming = 0
        self._busy_at = 0.0
        self._closed = False
        self._hands = ThreadPoolExecutor(WORKERS, thread_name_prefix="toolgate-pool")
        self._ticker = Ticker("toolgate-pool", TICK_S, self._tend)
        self._fill()

    @property
    def waiting(self) -> int:
        """Containers that are ready now."""
        return len(self._waiting)

    def wait_until_full(self, timeout_s: float) -> bool:
        """For measurements and tests: True once every place is taken."""
        with self._guard:
            return self._guard.wait_for(lambda: len(self._waiting) >= self.size, timeout_s)

    def run(
        self,
        code: bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
        cancel: threading.Event | None = None,
        hear: Hear | None = None,
    ) -> SandboxResult:
        """As `DockerEngine.run`, in a container that waits already, if there is one."""
        deadline = bounded(self.spec, deadline_s)
        request = framing.encoded(self.spec, framing.Request(code, inputs or {}, stdin), deadline)
        if cancel is not None and cancel.is_set():
            raise RunCancelled("cancelled before the container was given the code")
        container = self._take()
        self._fill()
        if container is None:
            return self._engine.run(
                self.spec, code, inputs=inputs, stdin=stdin, deadline_s=deadline, cancel=cancel, hear=hear
            )
        try:
            return perform(container, request, deadline_s=deadline, cancel=cancel, hear=hear)
        finally:
            self._busy_at = time.monotonic()
            self._put_away(container)

    def _take(self) -> Container | None:
        """The one that has waited longest, if it is still what it was."""
        while True:
            with self._guard:
                if self._closed:
                    raise SandboxUnavailable("the pool is closed")
                if not self._waiting:
                    return None
                since, container = self._waiting.popleft()
                self._busy_at = time.monotonic()
            if self._clock() - since < REST_S and container.waits():
                return container
            self._put_away(container)

    def _give_way(self) -> None:
        """Starting and removing take most of a small machine: short runs go first while the pool holds."""
        end = time.monotonic() + GIVE_WAY_S
        with self._guard:
            while not self._closed and len(self._waiting) * 4 > self.size:
                left = min(end, self._busy_at + QUIET_S) - time.monotonic()
                if left <= 0:
                    return
                self._guard.wait(left)

    def _fill(self) -> None:
        with self._guard:
            missing = 0 if self._closed else self.size - len(self._waiting) - self._coming
            self._coming += max(0, missing)
            for _ in range(missing):
                self._hands.submit(self._start)

    def _start(self) -> None:
        self._give_way()
        made: Container | None = None
        try:
            made = None if self._closed else self._ready_one()
        except SandboxError as fault:  # runs go cold and meet the fault themselves; the tick tries again
            _tell(f"no container could be made ready: {fault}")
        except BaseException:  # a mistake of ours: nobody waits for this thread, so it is told here
            log.exception("no container could be made ready")
            raise
        finally:
            with self._guard:
                self._coming -= 1
                if made is not None and not self._closed:
                    self._waiting.append((self._clock(), made))
                    made = None
                self._guard.notify_all()
            if made is not None:
                _tell(made.dispose())

    def _ready_one(self) -> Container:
        container = self._engine.open(self.spec, REST_S + self.spec.profile.deadline_s)
        try:
            container.wait_until_ready()
        except BaseException:
            _tell(container.dispose())
            raise
        return container

    def _put_away(self, container: Container) -> None:
        with self._guard:
            if not self._closed:
                self._hands.submit(self._dispose, container)
                return
        _tell(container.dispose())

    def _dispose(self, container: Container) -> None:
        self._give_way()
        _tell(container.dispose())

    def _tend(self) -> None:
        """Replace what has rested too long or ended by itself, remove what others left, try again after a fault."""
        with self._guard:
            now = self._clock()
            stale = [c for since, c in self._waiting if now - since >= REST_S or not c.waits()]
            self._waiting = deque((since, c) for since, c in self._waiting if c not in stale)
        for container in stale:
            self._put_away(container)
        self._fill()
        self._engine.tidy()

    def close(self) -> None:
        """Remove every waiting container; one that runs is removed when its run is over. Idempotent."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._guard.notify_all()
        self._ticker.stop()
        self._hands.shutdown(wait=True)
        for _, container in self._waiting:
            _tell(container.dispose())
        self._waiting.clear()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _tell(fault: str) -> None:
    """As text: who keeps a record must not keep an exception, whose frames hold the sockets of a lost daemon."""
    if fault:
        log.warning("%s", fault)
