"""The two ways of waiting behind `domain.waits.Waits`, and `drive`, which runs the pipeline without a loop.

`Blocking` waits on the caller's thread: nothing it returns ever suspends, so one `send(None)` runs the whole call.
`Awaited` waits on the caller's event loop and never blocks it. Worker threads belong to the gateway; somebody
else's coroutines, when nobody has a loop, run on one loop that the gateway owns.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple, final

from gateway.domain.errors import ToolgateError, UsageError
from gateway.domain.waits import DeadlineExceeded, Ended

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LOOP_GRACE_S = 5.0  # how long past a deadline the gateway's own loop may take to end what it runs


def drive(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends. One that does was given the wrong `Waits`: a bug, so it is raised."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise UsageError("a blocking call suspended; only `Blocking` waits may be driven")


@final
class OwnLoop:
    """One event loop in a daemon thread, started when first needed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._running())

    def is_current(self) -> bool:
        return self._thread is threading.current_thread()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="toolgate-loop", daemon=True)
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Cancel what still runs, so that nobody waits for it for ever, and end the thread."""
        with self._guard:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            ended = asyncio.run_coroutine_threadsafe(_cancel_all(), loop)
            with suppress(FutureTimeout):  # somebody blocks the loop: it is stopped all the same
                ended.result(LOOP_GRACE_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=5)
            if not thread.is_alive():
                loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=LOOP_GRACE_S)


@final
class Workers:
    """Threads for sync tools. A thread past its deadline cannot be stopped: it is counted until it ends (C078)."""

    def __init__(self, size: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=size, thread_name_prefix="toolgate-tool")
        self._stuck = 0
        self._guard = threading.Lock()

    @property
    def stuck(self) -> int:
        return self._stuck

    def submit(self, work: Callable[[], T]) -> Future[T]:
        context = contextvars.copy_context()
        return self._pool.submit(context.run, contained, work)

    def abandon(self, future: Future[Any]) -> bool:
        """Nobody waits for `future` any more. False if it never began; else it is counted until it ends."""
        if future.cancel():
            return False
        with self._guard:
            self._stuck += 1
        future.add_done_callback(self._ended)
        return True

    def _ended(self, _: Future[Any]) -> None:
        with self._guard:
            self._stuck -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class ToolEscaped(ToolgateError):
    """A tool raised something that would have ended the process, or been taken for a signal of ours (C074).

    SystemExit and KeyboardInterrupt end processes; StopIteration gets stuck in a future, and a cancellation that
    nobody asked for would cancel the caller.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__} raised inside a tool")
        self.cause = cause


def contained(work: Callable[[], T]) -> T:
    """Run somebody else's blocking code. Raises what it raises if that is harmless to raise, else ToolEscaped."""
    try:
        return work()
    except (StopIteration, FutureCancelled) as awkward:
        raise ToolEscaped(awkward) from awkward
    except Exception:
        raise
    except BaseException as escaped:  # a worker thread must outlive SystemExit; the caller is told what it was
        raise ToolEscaped(escaped) from escaped


@final
class Blocking:
    """Wait by blocking the caller's thread."""

    def __init__(self, workers: Workers, loop: OwnLoop) -> None:
        self._workers = workers
        self._loop = loop

    def interrupted(self) -> BaseException | None:
        return None

    async def either(
        self,
        blocking: Callable[[*Ts], T],
        awaited: Callable[[*Ts], Coroutine[Any, Any, T]],  # noqa: ARG002
        *args: *Ts,
    ) -> T:
        return blocking(*args)

    async def blocking(self, work: Callable[[], T]) -> T:
        return work()

    async def worker(self, work: Callable[[], T], deadline_s: float) -> T:
        future = self._workers.submit(work)
        try:
            return future.result(deadline_s)
        except FutureTimeout:
            if future.done():
                return future.result()  # it ended this very moment, or raised a TimeoutError of its own
            raise DeadlineExceeded(began=self._workers.abandon(future)) from None
        except KeyboardInterrupt:  # of the caller's: a tool's own comes as ToolEscaped
            self._workers.abandon(future)
            raise

    async def awaitable(self, make: Callable[[], Awaitable[T]], deadline_s: float) -> T:
        if self._loop.is_current():
            raise UsageError("dispatch_sync was called on the gateway's own loop; use `await dispatch` there")
        future = self._loop.submit(_bounded(make, deadline_s))
        try:
            try:
                return future.result(deadline_s + LOOP_GRACE_S)
            except FutureTimeout:
                if future.done():
                    return future.result()
                future.cancel()  # somebody blocks the loop, or will not be cancelled: this caller at least goes on
                raise DeadlineExceeded from None
        except FutureCancelled:  # not by us: another tool on this loop, say, that cancels whatever runs there
            raise Ended from None
        except KeyboardInterrupt:  # of the caller's, as above
            future.cancel()
            raise

    async def future(self, future: Future[T], deadline_s: float) -> T:
        try:
            return future.result(deadline_s)
        except FutureTimeout:
            if future.done():
                return future.result()
            raise DeadlineExceeded from None

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@final
class Awaited:
    """Wait by awaiting on the running loop."""

    def __init__(self, workers: Workers, own: Executor) -> None:
        """`own` runs our own short work: a tool that blocks every worker must not block the database too."""
        self._workers = workers
        self._own = own
        self._interrupted: asyncio.CancelledError | None = None

    def interrupted(self) -> BaseException | None:
        return self._interrupted

    async def either(
        self,
        blocking: Callable[[*Ts], T],  # noqa: ARG002
        awaited: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
    ) -> T:
        work = awaited(*args)
        try:
            waits_for = work.send(None)
        except StopIteration as done:  # it waited for nothing, so there was nothing to protect and no task to make
            result: T = done.value
            return result
        return await self._whole(asyncio.ensure_future(_go_on(work, waits_for)))

    async def blocking(self, work: Callable[[], T]) -> T:
        return await self._whole(asyncio.wrap_future(self._own.submit(work)))

    async def _whole(self, future: asyncio.Future[T]) -> T:
        """Wait to the end whatever happens: a claim or a record half waited for would be a state nobody explains."""
        while True:
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError as cancelled:
                if future.cancelled():
                    raise
                self._interrupted = cancelled

    async def worker(self, work: Callable[[], T], deadline_s: float) -> T:
        future = self._workers.submit(work)
        return await self._bounded(future, deadline_s, self._workers.abandon)

    async def awaitable(self, make: Callable[[], Awaitable[T]], deadline_s: float) -> T:
        return await _bounded(make, deadline_s)

    async def future(self, future: Future[T], deadline_s: float) -> T:
        return await self._bounded(future, deadline_s, lambda _: True)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _bounded(self, future: Future[T], deadline_s: float, abandon: Callable[[Future[Any]], bool]) -> T:
        wrapped = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait({wrapped}, timeout=deadline_s)
        except asyncio.CancelledError:
            abandon(future)
            raise
        if done:
            return wrapped.result()
        raise DeadlineExceeded(began=abandon(future))


async def _go_on(work: Coroutine[Any, Any, T], waits_for: object) -> T:
    """The rest of a coroutine that took its first step and now waits for `waits_for`."""
    result: T = await _resumed(work, waits_for)
    return result


@types.coroutine
def _resumed(work: Coroutine[Any, Any, T], waits_for: object) -> Generator[Any, Any, T]:
    yield waits_for
    result: T = yield from work  # a generator of this kind, and no other, may take over a coroutine
    return result


async def _bounded(make: Callable[[], Awaitable[T]], deadline_s: float) -> T:
    """Await within a deadline; a TimeoutError of the awaited code itself is told apart from ours."""
    limit = asyncio.timeout(deadline_s)
    try:
        async with limit:
            return await _contain(make)
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded from None
        raise


async def _contain(make: Callable[[], Awaitable[T]]) -> T:
    """Await somebody else's coroutine. Whatever it raises once we have cancelled it is the end of a cancellation:

    many libraries make an error of their own of it, and that says nothing about what was done before.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0

    def by_us() -> bool:
        return task is None or task.cancelling() > before

    try:
        return await make()
    except asyncio.CancelledError as cancelled:
        if by_us():
            raise
        raise ToolEscaped(cancelled) from cancelled  # nobody cancelled us: it came from inside
    except BaseException as error:
        if by_us():
            raise asyncio.CancelledError from error
        if isinstance(error, Exception):
            raise
        raise ToolEscaped(error) from error  # SystemExit inside a coroutine would stop the caller's loop
