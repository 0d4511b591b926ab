"""Bounded, fair between keys, refused at once beyond the bounds."""

from __future__ import annotations

import threading

import pytest

from sandbox import RunCancelled, SandboxOverloaded
from sandbox.queue import FairQueue
from tests.unit.sandbox.daemon import until


class Line:
    """Callers that note their turn, and a gate that lets one after another go."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue, self.order, self.threads = queue, [], []  # type: tuple[FairQueue, list[str], list[threading.Thread]]
        self.hold = queue.place("holder", patience_s=60)
        self.hold.__enter__()

    def join(self, key: str) -> None:
        before = self.standing()
        thread = threading.Thread(target=self._turn, args=(key,))
        thread.start()
        self.threads.append(thread)
        until(lambda: True if self.standing() > before else None)

    def _turn(self, key: str) -> None:
        with self.queue.place(key, patience_s=60):
            self.order.append(key)

    def standing(self) -> int:
        return sum(len(line) for line in self.queue._lines.values())

    def go(self) -> list[str]:
        self.hold.__exit__(None, None, None)
        for thread in self.threads:
            thread.join()
        return self.order


def test_turns_go_round_the_callers() -> None:
    line = Line(FairQueue(1, waiting=20, waiting_each=20))
    for key in ["greedy"] * 4 + ["modest", "other", "modest"]:
        line.join(key)
    assert line.go() == ["greedy", "modest", "other", "greedy", "modest", "greedy", "greedy"]


def test_beyond_the_bounds_is_refused_at_once() -> None:
    line = Line(FairQueue(1, waiting=3, waiting_each=2))
    line.join("a")
    line.join("a")
    with pytest.raises(SandboxOverloaded, match="of this caller"), line.queue.place("a", patience_s=60):
        pass
    line.join("b")
    with pytest.raises(SandboxOverloaded, match="3 runs are waiting"), line.queue.place("c", patience_s=60):
        pass
    assert line.go() == ["a", "b", "a"]


def test_who_gives_up_leaves_the_line() -> None:
    queue = FairQueue(1, waiting=5, waiting_each=5)
    cancel = threading.Event()
    cancel.set()
    with queue.place("a", patience_s=1):
        with pytest.raises(RunCancelled), queue.place("b", patience_s=60, cancel=cancel):
            pass
        with pytest.raises(SandboxOverloaded, match="no place was free"), queue.place("b", patience_s=0.01):
            pass
    with queue.place("c", patience_s=0):
        pass


def test_no_more_run_than_places_and_none_is_lost() -> None:
    queue, guard, running, most = FairQueue(3, waiting=200, waiting_each=200), threading.Lock(), 0, 0

    def turn(key: str) -> None:
        nonlocal running, most
        with queue.place(key, patience_s=60):
            with guard:
                running += 1
                most = max(most, running)
            with guard:
                running -= 1

    threads = [threading.Thread(target=turn, args=(str(number % 7),)) for number in range(150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 3
    assert queue._free == 3
    assert not queue._lines
