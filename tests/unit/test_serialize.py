"""Turns on one thing: first come, first served, and nobody who leaves takes the turn with him (I13)."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.serialize import KeyedLocks
from gateway.waiting import Awaited, Blocking, OwnLoop, Workers, drive

LONG_S = 60.0


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    workers, loop = Workers(1), OwnLoop()
    yield Blocking(workers, loop)
    workers.close()
    loop.close()


@pytest.fixture
def awaited() -> Iterator[Awaited]:
    workers, own = Workers(1), ThreadPoolExecutor(1)
    yield Awaited(workers, own)
    workers.close()
    own.shutdown()


def _queued(locks: KeyedLocks, key: str, most: int) -> bool:
    return len(locks._queues.get(key, ())) >= most


def test_different_keys_do_not_wait(blocking: Blocking) -> None:
    locks = KeyedLocks()
    assert drive(locks.acquire("a", blocking, LONG_S))
    assert drive(locks.acquire("b", blocking, LONG_S))
    locks.release("a")
    locks.release("b")
    assert not locks._queues  # memory only for keys in use


def test_who_came_first_goes_first(awaited: Awaited) -> None:
    locks = KeyedLocks()
    order: list[int] = []

    async def take(number: int) -> None:
        assert await locks.acquire("k", awaited, LONG_S)
        order.append(number)
        await asyncio.sleep(0)
        locks.release("k")

    async def main() -> None:
        assert await locks.acquire("k", awaited, LONG_S)
        takers = []
        for number in range(5):
            takers.append(asyncio.ensure_future(take(number)))
            while not _queued(locks, "k", number + 1):
                await asyncio.sleep(0)
        locks.release("k")
        await asyncio.gather(*takers)

    asyncio.run(main())
    assert order == [0, 1, 2, 3, 4]
    assert not locks._queues


def test_waiting_too_long_gives_up_the_place(blocking: Blocking) -> None:
    locks = KeyedLocks()
    assert drive(locks.acquire("k", blocking, LONG_S))
    assert not drive(locks.acquire("k", blocking, 0.001))
    assert not _queued(locks, "k", 1)
    locks.release("k")
    assert drive(locks.acquire("k", blocking, 0.001))
    locks.release("k")


def test_who_is_cancelled_while_waiting_leaves_the_queue(awaited: Awaited) -> None:
    locks = KeyedLocks()

    async def main() -> None:
        assert await locks.acquire("k", awaited, LONG_S)
        gone = asyncio.ensure_future(locks.acquire("k", awaited, LONG_S))
        next_one = asyncio.ensure_future(locks.acquire("k", awaited, LONG_S))
        while not _queued(locks, "k", 2):
            await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        locks.release("k")
        assert await next_one
        locks.release("k")

    asyncio.run(main())
    assert not locks._queues


def test_who_is_cancelled_just_as_his_turn_comes_passes_it_on(awaited: Awaited) -> None:
    locks = KeyedLocks()

    async def main() -> None:
        assert await locks.acquire("k", awaited, LONG_S)
        gone = asyncio.ensure_future(locks.acquire("k", awaited, LONG_S))
        next_one = asyncio.ensure_future(locks.acquire("k", awaited, LONG_S))
        while not _queued(locks, "k", 2):
            await asyncio.sleep(0)
        locks.release("k")  # his turn has come, and his loop does not know it yet
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert await next_one
        locks.release("k")

    asyncio.run(main())
    assert not locks._queues


def test_threads_and_loops_share_the_turns(blocking: Blocking, awaited: Awaited) -> None:
    locks = KeyedLocks()
    inside: Counter[str] = Counter()
    wrong: list[str] = []
    passed: list[str] = []

    def enter(key: str) -> None:
        inside[key] += 1
        if inside[key] != 1:
            wrong.append(key)

    def leave(key: str) -> None:
        passed.append(key)
        inside[key] -= 1
        locks.release(key)

    def thread(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(100):
            key = chance.choice("ab")
            if drive(locks.acquire(key, blocking, LONG_S)):
                enter(key)
                leave(key)

    async def task(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(100):
            key = chance.choice("ab")
            try:
                await asyncio.wait_for(_once(key), chance.choice([0.0001, LONG_S]))
            except TimeoutError:
                continue

    async def _once(key: str) -> None:
        assert await locks.acquire(key, awaited, LONG_S)
        enter(key)
        try:
            await asyncio.sleep(0)
        finally:
            leave(key)

    async def main() -> None:
        await asyncio.gather(*(task(seed) for seed in range(4)))

    threads = [threading.Thread(target=thread, args=(seed,)) for seed in range(4)]
    for each in threads:
        each.start()
    asyncio.run(main())
    for each in threads:
        each.join()
    assert not wrong
    assert len(passed) >= 400
    assert not locks._queues
