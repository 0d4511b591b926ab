"""The awaited form of our own work: done without a task where it waits for nothing, and finished whoever gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gateway.waiting import Awaited, Workers


@pytest.fixture
def waits() -> Iterator[Awaited]:
    workers, own = Workers(1), ThreadPoolExecutor(1)
    yield Awaited(workers, own)
    workers.close()
    own.shutdown()


def never() -> str:
    raise AssertionError("the blocking form was used on a loop")


def test_work_that_waits_for_nothing_is_done_at_once(waits: Awaited) -> None:
    async def work() -> str:
        return "done"

    async def main() -> str:
        other = asyncio.ensure_future(asyncio.sleep(0, "another task had a turn"))
        found = await waits.either(never, work)
        assert not other.done()
        await other
        return found

    assert asyncio.run(main()) == "done"


@pytest.mark.parametrize("pauses", [0, 1, 3])
def test_what_the_work_raises_comes_out(waits: Awaited, pauses: int) -> None:
    async def work() -> str:
        for _ in range(pauses):
            await asyncio.sleep(0)
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        asyncio.run(waits.either(never, work))


@pytest.mark.parametrize("cancellations", [1, 2])
@pytest.mark.parametrize("kind", ["future", "pause", "task"])
def test_work_that_waits_is_finished_although_its_caller_gives_up(
    waits: Awaited, kind: str, cancellations: int
) -> None:
    done: list[str] = []

    async def main() -> str:
        disk = asyncio.get_running_loop().create_future()
        means: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "future": lambda: _await(disk),
            "pause": lambda: _pause_until(disk),
            "task": lambda: asyncio.wait_for(_await(disk), 60),
        }

        async def work() -> str:
            await means[kind]()
            done.append("written")
            return "position"

        caller = asyncio.ensure_future(waits.either(never, work))
        for _ in range(cancellations):
            await asyncio.sleep(0)
            caller.cancel()
        await asyncio.sleep(0)
        assert not caller.done()
        assert done == []
        disk.set_result(None)
        return await caller

    assert asyncio.run(main()) == "position"
    assert done == ["written"]
    assert isinstance(waits.interrupted(), asyncio.CancelledError)


def test_nobody_gave_up(waits: Awaited) -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert asyncio.run(waits.either(never, work)) == "done"
    assert waits.interrupted() is None


async def _await(future: asyncio.Future[None]) -> None:
    await future


async def _pause_until(future: asyncio.Future[None]) -> None:
    while not future.done():
        await asyncio.sleep(0)
