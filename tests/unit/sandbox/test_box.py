"""The package's front door, `async with Sandbox(profile)`: warm, cold, stateful, and watched while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sandbox import Sandbox, SandboxResult, Verdict
from tests.unit.sandbox.daemon import PROFILE, Daemon, daemon_fixture, ready_fixture  # noqa: F401

pytestmark = pytest.mark.docker


def inside(daemon: Daemon, use: Callable[[Sandbox], Awaitable[None]], *, warm: int = 0) -> None:
    async def opened() -> None:
        async with Sandbox(PROFILE, warm=warm, lock=daemon.lock, engine=daemon.engine) as box:
            await use(box)

    asyncio.run(opened())


def test_warm_containers_wait_and_none_is_left_at_the_end(daemon: Daemon) -> None:
    async def use(box: Sandbox) -> None:
        pool = box._pool
        assert pool is not None
        assert await asyncio.to_thread(pool.wait_until_full, 60)
        waiting = {each["Id"] for each in daemon.ours()}
        first, second = await asyncio.gather(box.run("print(1)"), box.run(b"print(2)"))
        assert (first.stdout, second.stdout) == ("1\n", "2\n")
        assert len({first.container_id, second.container_id}) == 2
        assert first.container_id in waiting

    inside(daemon, use, warm=2)
    assert daemon.ours() == []


def test_run_in_keeps_variables_for_one_key_until_the_end(daemon: Daemon) -> None:
    async def use(box: Sandbox) -> None:
        assert (await box.run_in("ana", "x = 41")).alive
        assert (await box.run_in("ana", "x + 1")).value == "42"
        assert (await box.run_in("bob", "'x' in dir()")).value == "False"
        assert (await box.run("'x' in dir()")).value == "False"

    inside(daemon, use)
    assert daemon.ours() == []


def test_a_cancelled_task_ends_its_session_and_container(daemon: Daemon) -> None:
    async def use(box: Sandbox) -> None:
        await box.run_in("ana", "x = 1")
        begun = asyncio.Event()
        task = asyncio.ensure_future(
            box.run_in("ana", "print('begun', flush=True)\nimport time; time.sleep(600)", watch=lambda *_: begun.set())
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert daemon.ours() == []
        assert (await box.run_in("ana", "'x' in dir()")).value == "False"

    inside(daemon, use)


def test_outside_of_its_block_nothing_runs(daemon: Daemon) -> None:
    box = Sandbox(PROFILE, lock=daemon.lock, engine=daemon.engine)
    for run in (box.run("1"), box.run_in("ana", "1")):
        with pytest.raises(RuntimeError, match="outside `async with`"):
            asyncio.run(run)


@pytest.mark.parametrize("way", ["cold", "warm", "session"])
def test_output_is_seen_while_the_code_runs(daemon: Daemon, way: str) -> None:

    async def use(box: Sandbox) -> None:
        pieces: list[tuple[str, str]] = []
        stop = asyncio.Event()

        def watch(stream: str, text: str) -> None:
            pieces.append((stream, text))
            stop.set()

        code = "import sys, time\nprint('one', flush=True)\nprint('two', file=sys.stderr)\ntime.sleep(600)"
        run = box.run_in("ana", code, watch=watch) if way == "session" else box.run(code, watch=watch)
        task = asyncio.ensure_future(run)
        await asyncio.wait_for(stop.wait(), 60)
        assert not task.done()
        assert pieces[0] == ("stdout", "one\n")
        task.cancel()
        await asyncio.wait([task])

    inside(daemon, use, warm=1 if way == "warm" else 0)


HOSTILE = r"""
import os, sys
cut = "é".encode()
for part in (b"\x1b[2J", "\u202e".encode(), cut[:1], cut[1:], "\U000e0041".encode(), b"\xff", b"\xe2\x80"):
    os.write(1, part)
    os.write(2, part)
"""


def both(result: SandboxResult) -> dict[str, str]:
    return {"stdout": result.stdout, "stderr": result.stderr}


def test_c108_what_is_watched_is_what_the_result_says_and_is_safe_to_print(daemon: Daemon) -> None:
    async def use(box: Sandbox) -> None:
        seen = {"stdout": "", "stderr": ""}

        def watch(stream: str, text: str) -> None:
            seen[stream] += text

        result = await box.run(HOSTILE, watch=watch)
        assert seen == both(result)
        assert seen["stdout"] == "\\x1b[2J\\u202eé\\U000e0041\\xff\\xe2\\x80"

    inside(daemon, use)


def test_a_watcher_gets_no_more_than_the_cap_and_harms_no_run(daemon: Daemon) -> None:
    async def use(box: Sandbox) -> None:
        seen = {"stdout": "", "stderr": ""}

        def watch(stream: str, text: str) -> None:
            seen[stream] += text
            raise ValueError(stream)

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        result = await box.run("while True: print('x' * 65536)", watch=watch)
        assert result.verdict is Verdict.OUTPUT_CAPPED
        assert seen == both(result)
        assert len(seen["stdout"]) == PROFILE.output_kib * 1024

    inside(daemon, use)
