"""Catalogue, Execution (C074-C089, C138-C141): what a tool may do to the gateway, to its caller and to itself."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.call import Released, Unknown
from gateway.domain.decision import ReasonCode
from gateway.shapes.answers import content
from gateway.waiting import Workers
from tests.architecture.source import ROOT
from tests.support import (
    ANA,
    Tool,
    ask,
    gateway_with,
    one,
    open_gateway,
    policies_for,
    reason,
    records,
    result,
    tool,
)


class Weird(BaseException):
    """Neither an error nor a signal."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def _raising(kind: str, error: BaseException) -> Tool:
    """A tool that raises `error`: sync in a worker, inline on its caller, or async."""

    def hit() -> str:
        raise error

    async def hit_async() -> str:
        raise error

    if kind == "async":
        return tool(hit_async, name="hit")
    return tool(hit, execution={"inline": kind == "inline"})


def fine(word: str) -> str:
    return word


ESCAPES = [
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    Weird("x"),
    StopIteration(1),
    Mute(),
    TimeoutError("own"),
]


@pytest.mark.parametrize("error", ESCAPES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["sync", "inline", "async"])
@pytest.mark.parametrize("awaited", [False, True])
def test_c074_whatever_a_tool_raises_the_gateway_lives(
    tmp_path: Path, kind: str, error: BaseException, awaited: bool
) -> None:
    with gateway_with(tmp_path, _raising(kind, error), tool(fine)) as gateway:
        session = gateway.session(ANA, conversation="c")
        call = ask("hit")
        outcome = asyncio.run(session.judge([call]))[0] if awaited else session.judge_sync([call])[0]
        assert isinstance(outcome, Released)
        assert outcome.failure is not None
        assert outcome.failure.code == "tool_failed"
        assert result(one(session, "fine", word="still here")) == "still here"
    (ended, _) = records(tmp_path, "call.outcome")
    assert ended["status"] == "failed"
    assert ended["detail"]


@pytest.mark.parametrize("kind", ["sync", "inline", "async"])
def test_c074_a_cancellation_that_nobody_asked_for_is_the_tools_failure(tmp_path: Path, kind: str) -> None:
    with gateway_with(tmp_path, _raising(kind, asyncio.CancelledError()), tool(fine)) as gateway:
        session = gateway.session(ANA)
        neighbours = asyncio.run(session.judge([ask("hit"), ask("fine", word="w")]))
        assert [type(each) for each in neighbours] == [Released, Released]
        assert isinstance(asyncio.run(session.judge([ask("hit")]))[0], Released)


def _cancelled_while(
    tmp_path: Path, waiting: threading.Event, go_on: threading.Event, subject: Tool, more: Mapping[str, Any]
) -> None:
    async def main() -> None:
        with gateway_with(tmp_path, subject, **more) as gateway:
            session = gateway.session(ANA)
            task = asyncio.ensure_future(session.judge([ask(subject.name, order="A")]))
            while not waiting.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            try:
                with pytest.raises(asyncio.CancelledError):
                    await task
            finally:
                go_on.set()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_c075_a_cancellation_during_the_tool_is_recorded_and_raised_again(tmp_path: Path, kind: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(order: str) -> str:
        begun.set()
        go_on.wait()
        return order

    async def work_async(order: str) -> str:
        begun.set()
        await asyncio.sleep(3600)
        return order

    subject = tool(work if kind == "sync" else work_async, name="work", effect="external", effect_key=["order"])
    _cancelled_while(tmp_path, begun, go_on, subject, {})
    (ended,) = records(tmp_path, "call.outcome")
    assert ended["status"] == "unknown"
    with gateway_with(tmp_path, subject) as gateway:  # and it holds what it may have touched
        assert reason(one(gateway.session(ANA), "work", order="A")) == "effect_held"


def test_c075_a_cancellation_before_the_tool_is_a_recorded_denial(tmp_path: Path) -> None:
    asked, go_on, ran = threading.Event(), threading.Event(), threading.Event()

    def slow_fact(_: object, order: str) -> dict[str, object]:
        asked.set()
        go_on.wait()
        return {"exists": True}

    def work(order: str) -> str:
        ran.set()
        return order

    subject = tool(
        work,
        facts={"order": {"provider": "order", "args": ["order"]}},
        rules=[{"id": "known", "require": "facts.order.exists == true", "tell_model": "no such order"}],
    )

    async def main() -> None:
        with gateway_with(tmp_path, subject) as gateway:
            gateway.register_fact("order", slow_fact)
            task = asyncio.ensure_future(gateway.session(ANA).judge([ask("work", order="A")]))
            while not asked.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()

    asyncio.run(main())
    (denied,) = records(tmp_path, "call.denied")
    assert denied["reason"] == "cancelled"
    assert not records(tmp_path, "call.intent")
    assert not ran.is_set()


def test_c077_a_thread_past_its_deadline_is_unknown_and_harms_nobody(tmp_path: Path) -> None:
    go_on = threading.Event()

    def stuck(order: str) -> str:
        go_on.wait()
        return order

    subject = tool(stuck, effect="external", effect_key=["order"], execution={"deadline_s": 0.05})
    with gateway_with(tmp_path, subject, tool(fine)) as gateway:
        session = gateway.session(ANA)
        workers: Workers = gateway._runtime.workers
        outcome = one(session, "stuck", order="A")
        assert isinstance(outcome, Unknown)
        assert workers.stuck == 1
        assert result(one(session, "fine", word="w")) == "w"
        assert reason(one(session, "stuck", order="A")) == "effect_held"
        assert "took effect" in json.loads(content(outcome))["error"]["message"]
        ended = threading.Event()
        workers_ended = workers._ended
        workers._ended = lambda future: (workers_ended(future), ended.set())  # type: ignore[method-assign, func-returns-value]
        go_on.set()
        while workers.stuck:
            ended.wait(0.01)
    assert records(tmp_path, "call.outcome")[0]["status"] == "unknown"


def test_c077_a_tool_that_does_no_harm_twice_fails_instead(tmp_path: Path) -> None:
    go_on = threading.Event()

    def stuck() -> str:
        go_on.wait()
        return ""

    with gateway_with(tmp_path, tool(stuck, execution={"deadline_s": 0.05})) as gateway:
        outcome = one(gateway.session(ANA), "stuck")
        assert isinstance(outcome, Released)
        assert outcome.failure is not None
        assert outcome.failure.code == "timeout"
        go_on.set()


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("effect", ["none", "external"])
def test_c077_an_async_tool_is_cancelled_at_its_deadline(tmp_path: Path, awaited: bool, effect: str) -> None:
    cleaned = threading.Event()

    async def slow() -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.set()
        return ""

    with gateway_with(tmp_path, tool(slow, effect=effect, execution={"deadline_s": 0.05})) as gateway:
        session = gateway.session(ANA)
        outcome = asyncio.run(session.judge([ask("slow")]))[0] if awaited else one(session, "slow")
        assert isinstance(outcome, Released if effect == "none" else Unknown)
        assert cleaned.is_set()


@pytest.mark.parametrize("kind", ["inline", "async"])
def test_c077_who_blocks_its_caller_is_reported(tmp_path: Path, kind: str) -> None:
    def block() -> str:
        threading.Event().wait(0.05)
        return "done"

    async def block_async() -> str:
        return block()

    execution = {"deadline_s": 0.01, "inline": kind == "inline"}
    subject = tool(block if kind == "inline" else block_async, name="block", execution=execution)
    with gateway_with(tmp_path, subject) as gateway:
        assert result(asyncio.run(gateway.session(ANA).judge([ask("block")]))[0]) == "done"
    (ended,) = records(tmp_path, "call.outcome")
    assert ended["evidence"]["blocked_caller_s"] >= 0.05


def test_c086_without_a_sandbox_nothing_runs(tmp_path: Path) -> None:
    parameters = {
        "type": "object",
        "properties": {"code": {"type": "string"}},
        "required": ["code"],
        "additionalProperties": False,
    }
    subject = tool(name="run_code", parameters=parameters, execution={"sandbox": "none-here"})
    marker = tmp_path / "escaped"
    with pytest.raises(Exception, match="none-here"), gateway_with(tmp_path, subject):
        pass  # a profile that nobody wrote is refused at load
    (tmp_path / "policies" / "sandbox").mkdir()
    shipped = (ROOT / "policies/sandbox/python.yaml").read_text()
    profile = shipped.replace("name: python", "name: none-here").replace("toolgate-sandbox-python", "nobody-has-this")
    (tmp_path / "policies" / "sandbox" / "none-here.yaml").write_text(profile)
    with gateway_with(tmp_path, subject) as gateway:
        assert "run_code" in gateway.unavailable
        outcome = one(gateway.session(ANA), "run_code", code=f"open({str(marker)!r}, 'w')")
        assert reason(outcome) == "sandbox_unavailable"
        with pytest.raises(Exception, match="sandbox"):
            gateway.register(fine, name="run_code")
    assert not marker.exists()
    assert not records(tmp_path, "call.intent")


def test_c148_a_tool_that_another_one_cancels_may_have_taken_effect(tmp_path: Path) -> None:
    begun = threading.Event()
    done: list[str] = []

    async def pay(order: str) -> str:
        done.append(order)
        begun.set()
        await asyncio.Event().wait()
        return "never"

    async def tidy() -> str:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return "tidied"

    paying = tool(pay, effect="external", effect_key=["order"])
    with gateway_with(tmp_path, paying, tool(tidy)) as gateway:
        outcomes: list[object] = []
        session = gateway.session(ANA)
        caller = threading.Thread(target=lambda: outcomes.append(one(session, "pay", order="A")))
        caller.start()
        assert begun.wait(10)
        assert isinstance(one(session, "tidy"), Released)
        caller.join(10)
        assert [type(each) for each in outcomes] == [Unknown]
        assert reason(one(session, "pay", order="A")) is ReasonCode.EFFECT_HELD
    assert done == ["A"]
    assert sorted(each["status"] for each in records(tmp_path, "call.outcome")) == ["released", "unknown"]


@pytest.mark.parametrize("how", ["deadline", "deadline, blocking", "cancelled"])
@pytest.mark.parametrize(
    "error", [RuntimeError("connection closed"), SystemExit(1)], ids=lambda each: type(each).__name__
)
def test_c149_an_error_made_of_our_cancellation_is_no_failure(tmp_path: Path, how: str, error: BaseException) -> None:
    begun = threading.Event()
    done: list[str] = []

    async def pay(order: str) -> str:
        done.append(order)
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None
        return "never"

    limit = 600 if how == "cancelled" else 0.05
    paying = tool(pay, effect="external", effect_key=["order"], execution={"deadline_s": limit})

    async def cancelled() -> None:
        call = asyncio.ensure_future(session.judge([ask("pay", order="A")]))
        while not begun.is_set():
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    with gateway_with(tmp_path, paying) as gateway:
        session = gateway.session(ANA)
        if how == "cancelled":
            asyncio.run(cancelled())
        elif how == "deadline":
            assert isinstance(asyncio.run(session.judge([ask("pay", order="A")]))[0], Unknown)
        else:
            assert isinstance(one(session, "pay", order="A"), Unknown)
        assert reason(one(session, "pay", order="A")) is ReasonCode.EFFECT_HELD
    assert done == ["A"]
    assert [each["status"] for each in records(tmp_path, "call.outcome")] == ["unknown"]


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), Weird("x")], ids=repr)
@pytest.mark.parametrize("kind", ["sync", "inline", "async"])
@pytest.mark.parametrize("repeatable", [False, True])
def test_c150_what_is_no_error_does_not_say_that_nothing_happened(
    tmp_path: Path, kind: str, error: BaseException, repeatable: bool
) -> None:
    made = _raising(kind, error)
    effect = {"effect": "external", "charges": {"calls": 1}, "idempotent": repeatable}
    settings = {"budgets": {"calls": {"max": 1, "window_s": 60}}}
    with gateway_with(tmp_path, Tool(made.contract | effect, made.fn), settings=settings) as gateway:
        session = gateway.session(ANA)
        assert isinstance(one(session, "hit"), Released if repeatable else Unknown)
        assert reason(one(session, "hit")) is ReasonCode.VALUE_BUDGET
    assert [each["status"] for each in records(tmp_path, "call.outcome")] == ["failed" if repeatable else "unknown"]


@pytest.mark.parametrize("batch", [1, 2])
def test_c153_a_gateway_that_is_closed_leaves_no_caller_waiting(tmp_path: Path, batch: int) -> None:
    begun = threading.Semaphore(0)
    ends: list[object] = []

    async def pay(order: str) -> str:
        begun.release()
        await asyncio.Event().wait()
        return "never"

    paying = tool(pay, effect="external", effect_key=["order"], execution={"deadline_s": 600})
    policies_for(tmp_path, paying)
    gateway = open_gateway(tmp_path, paying)

    def call() -> None:
        try:
            ends.append(gateway.session(ANA).judge_sync([ask("pay", order=str(n)) for n in range(batch)]))
        except BaseException as gone:
            ends.append(gone)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    for _ in range(batch):
        assert begun.acquire(timeout=10)
    gateway.close()
    caller.join(30)
    assert len(ends) == 1
    with open_gateway(tmp_path, paying) as again:
        assert reason(one(again.session(ANA), "pay", order="0")) is ReasonCode.EFFECT_HELD
