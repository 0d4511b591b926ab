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
from sandbox.result import SandboxResult
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
    ) -> SandboxResult:
        """As `DockerEngine.run`. A cancelled task has its container killed and gone before it ends."""
        pool = self._pool
        if pool is None:
            raise RuntimeError("Sandbox.run outside `async with`")
        source = code.encode() if isinstance(code, str) else code
        return await _in_thread(
            lambda cancel: pool.run(source, inputs=inputs, stdin=stdin, deadline_s=deadline_s, cancel=cancel)
        )

    async def run_in(
        self,
        key: str,
        code: str | bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
    ) -> SandboxResult:
        """As `Sessions.run`: variables and files live on between the runs of one `key`. A cancellation ends that."""
        sessions = self._sessions
        if sessions is None:
            raise RuntimeError("Sandbox.run_in outside `async with`")
        source = code.encode() if isinstance(code, str) else code
        return await _in_thread(
            lambda cancel: sessions.run(key, source, inputs=inputs, stdin=stdin, deadline_s=deadline_s, cancel=cancel)
        )


async def _in_thread(work: Callable[[threading.Event], SandboxResult]) -> SandboxResult:
    cancel = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, cancel))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancel.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # seen here: the caller gets its cancellation
        raise
