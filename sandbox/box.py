"""A sandbox for asynchronous callers: `async with Sandbox(profile) as box: await box.run(code)`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.docker import DockerEngine
from sandbox.image.lock import default_lock, pinned
from sandbox.pool import Pool
from sandbox.result import Hear, SandboxResult
from sandbox.session import Sessions
from sandbox.spec import SandboxProfile


class Sandbox:
    """Containers under one profile. Each `run` has one of its own; `run_in` shares one between the runs of a key.

    `warm` containers wait with the interpreter loaded, so that a run takes milliseconds (0: each is made when it is
    needed). Entering checks the daemon and the pin and reaps what an earlier process left behind.
    """

    def __init__(
        self,
        profile: SandboxProfile,
        *,
        warm: int = 0,
        lock: Path | None = None,
        engine: DockerEngine | None = None,
    ) -> None:
        self.profile = profile
        self._warm = warm
        self._lock = lock or default_lock()
        self._engine = engine or DockerEngine()
        self._pool: Pool | None = None
        self._sessions: Sessions | None = None

    async def __aenter__(self) -> Self:
        spec = self.profile.pinned_to(pinned(self._lock, self.profile.image))
        await asyncio.to_thread(self._engine.reap)
        self._pool = Pool(self._engine, spec, self._warm)
        self._sessions = Sessions(self._engine, spec)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        sessions, self._sessions = self._sessions, None
        if pool is not None and sessions is not None:
            await asyncio.gather(asyncio.to_thread(pool.close), asyncio.to_thread(sessions.close))

    async def run(
        self,
        code: str | bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
        watch: Hear | None = None,
    ) -> SandboxResult:
        """As `DockerEngine.run`. A cancelled task has its container killed and gone before it ends.

        `watch` is called on the loop with `stdout` or `stderr` and a piece of what the program prints, as it comes,
        escaped like the result; never more than the output cap in all, and not after the run's end.
        """
        pool = self._pool
        if pool is None:
            raise RuntimeError("Sandbox.run outside `async with`")
        source = code.encode() if isinstance(code, str) else code
        return await _in_thread(
            lambda cancel, hear: pool.run(
                source, inputs=inputs, stdin=stdin, deadline_s=deadline_s, cancel=cancel, hear=hear
            ),
            watch,
        )

    async def run_in(
        self,
        key: str,
        code: str | bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
        watch: Hear | None = None,
    ) -> SandboxResult:
        """As `run`, but variables and files live on between the runs of one `key`. A cancellation ends that."""
        sessions = self._sessions
        if sessions is None:
            raise RuntimeError("Sandbox.run_in outside `async with`")
        source = code.encode() if isinstance(code, str) else code
        return await _in_thread(
            lambda cancel, hear: sessions.run(
                key, source, inputs=inputs, stdin=stdin, deadline_s=deadline_s, cancel=cancel, hear=hear
            ),
            watch,
        )


async def _in_thread(
    work: Callable[[threading.Event, Hear | None], SandboxResult], watch: Hear | None
) -> SandboxResult:
    loop = asyncio.get_running_loop()
    cancel = threading.Event()

    def hear(stream: str, text: str) -> None:
        if watch is not None and not cancel.is_set():
            loop.call_soon_threadsafe(watch, stream, text)

    running = asyncio.ensure_future(asyncio.to_thread(work, cancel, None if watch is None else hear))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancel.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # seen here: the caller gets its cancellation
        raise
