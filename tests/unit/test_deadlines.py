"""Deadlines at their edges: an end in the very last moment is an end, and nobody waits for what will not end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, cast

import pytest

from gateway import waiting
from gateway.domain.waits import DeadlineExceeded
from gateway.waiting import Blocking, OwnLoop, Workers, drive


async def _all_others() -> None:
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


class _LastMoment(Future[str]):
    """Ends between the moment the waiter gives up and the moment it looks."""

    def result(self, timeout: float | None = None) -> str:
        if timeout is None:
            return super().result(None)
        if not self.done():
            self.set_result("done after all")
        raise FutureTimeout


class _LastMomentWorkers:
    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        return _LastMoment()


def test_work_that_ends_in_the_last_moment_is_no_timeout() -> None:
    """It would be recorded as failed, and it took effect (I5)."""
    loop = OwnLoop()
    waits = Blocking(cast("Workers", _LastMomentWorkers()), loop)
    assert drive(waits.worker(lambda: "x", 1.0)) == "done after all"
    assert drive(waits.future(_LastMoment(), 1.0)) == "done after all"


def test_a_timeout_of_the_work_itself_stays_one() -> None:
    workers, loop = Workers(1), OwnLoop()

    def late() -> str:
        raise TimeoutError("own")

    with pytest.raises(TimeoutError, match="own"):
        drive(Blocking(workers, loop).worker(late, 5.0))
    workers.close()


def test_a_loop_that_somebody_blocks_does_not_hold_the_next_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOP_GRACE_S", 0.05)
    workers, loop = Workers(1), OwnLoop()
    release, blocked = threading.Event(), threading.Event()

    async def blocks() -> None:
        blocked.set()
        release.wait()

    async def fine() -> str:
        return "x"

    first = loop.submit(blocks())
    blocked.wait()
    with pytest.raises(DeadlineExceeded):
        drive(Blocking(workers, loop).awaitable(fine, 0.05))
    release.set()
    first.result()
    loop.close()
    workers.close()


def test_a_coroutine_that_will_not_be_cancelled_does_not_hold_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOP_GRACE_S", 0.05)
    workers, loop = Workers(1), OwnLoop()
    end = threading.Event()

    async def stubborn() -> None:
        while not end.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    with pytest.raises(DeadlineExceeded):
        drive(Blocking(workers, loop).awaitable(stubborn, 0.05))
    end.set()
    loop.submit(_all_others()).result()
    loop.close()
    workers.close()
