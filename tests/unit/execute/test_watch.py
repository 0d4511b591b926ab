"""Who watches code harms no run: one that raises or hangs is left behind, and what it missed is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest
from structlog.testing import capture_logs

from gateway.domain.call import CallContext
from gateway.domain.ids import Principal
from gateway.execute import watch
from gateway.execute.watch import CodeOutput, Watchers
from tests.support import ANA

CTX = CallContext("call_1", "p", ANA, None, "c-1", "sha256:0", None, 0)  # type: ignore[arg-type]  # no time is asked for


@pytest.fixture
def watchers() -> Iterator[Watchers]:
    made = Watchers()
    yield made
    made.close()


def listening(watchers: Watchers) -> Callable[[str, str], None]:
    hear = watchers.listener(CTX, "run_code")
    assert hear is not None
    return hear


def test_every_piece_comes_in_order_with_the_call_it_belongs_to(watchers: Watchers) -> None:
    seen: SimpleQueue[CodeOutput] = SimpleQueue()
    watchers.watch(seen.put)
    hear = listening(watchers)
    for number in range(100):
        hear("stdout", str(number))
    found = [seen.get(timeout=30) for _ in range(100)]
    assert [piece.text for piece in found] == [str(number) for number in range(100)]
    assert found[0] == CodeOutput("call_1", "run_code", Principal("ana").id, "c-1", "stdout", "0", 0)


def test_nobody_watches_until_asked_and_after_being_sent_away(watchers: Watchers) -> None:
    assert watchers.listener(CTX, "run_code") is None
    watchers.watch(lambda _: None)
    assert watchers.listener(CTX, "run_code") is not None
    watchers.watch(None)
    assert watchers.listener(CTX, "run_code") is None


def test_a_watcher_that_hangs_holds_up_nobody_and_the_line_is_bounded(
    watchers: Watchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_CHARS", 10)
    held, entered = threading.Event(), threading.Event()
    seen: SimpleQueue[CodeOutput] = SimpleQueue()

    def stuck(piece: CodeOutput) -> None:
        entered.set()
        held.wait(30)
        seen.put(piece)

    watchers.watch(stuck)
    hear = listening(watchers)
    hear("stdout", "first")
    assert entered.wait(30)
    for _ in range(1000):
        hear("stderr", "12345")
    held.set()
    found = [seen.get(timeout=30) for _ in range(3)]
    assert [piece.text for piece in found] == ["first", "12345", "12345"]
    hear("stdout", "last")
    assert seen.get(timeout=30).missed == 998 * 5
    assert seen.empty()


def test_a_watcher_that_raises_is_told_of_once_and_goes_on(watchers: Watchers) -> None:
    calls: SimpleQueue[str] = SimpleQueue()

    def broken(piece: CodeOutput) -> None:
        calls.put(piece.text)
        raise ValueError(piece.text)

    with capture_logs() as alarms:
        watchers.watch(broken)
        hear = listening(watchers)
        for text in "abc":
            hear("stdout", text)
        assert [calls.get(timeout=30) for _ in range(3)] == ["a", "b", "c"]
    assert [each["event"] for each in alarms] == ["code_watcher_failed"]
