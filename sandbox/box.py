"""A sandbox for asynchronous callers: `async with Sandbox(profile) as box: await box.run(code)`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.docker import DockerEngine
from sandbox.image.lock import default_lock, pinned
from sandbox.result import SandboxResult
from sandbox.spec import SandboxProfile, SandboxSpec


class Sandbox:
    """Single-use containers under one profile. Each `run` is a container of its own: nothing is shared.

    Entering checks the daemon and the pin and reaps what an earlier process left behind.
    """

    def __init__(
        self, profile: SandboxProfile, *, lock: Path | None = None, engine: DockerEngine | None = None
    ) -> None:
        self.profile = profile
        self._lock = lock or default_lock()
        self._engine = engine or DockerEngine()
        self._spec: SandboxSpec | None = None

    async def __aenter__(self) -> Self:
        self._spec = self.profile.pinned_to(pinned(self._lock, self.profile.image))
        await asyncio.to_thread(self._engine.reap)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spec = None

    async def run(
        self,
        code: str | bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
    ) -> SandboxResult:
        """As `DockerEngine.run`. A cancelled task has its container killed and gone before it ends."""
        if self._spec is None:
            raise RuntimeError("Sandbox.run outside `async with`")
        source = code.encode() if isinstance(code, str) else code
        cancel = threading.Event()
        work = asyncio.ensure_future(
            asyncio.to_thread(
                self._engine.run,
                self._spec,
                source,
                inputs=inputs,
                stdin=stdin,
                deadline_s=deadline_s,
                cancel=cancel,
            )
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancel.set()
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # seen here: the caller gets its cancellation
            raise
