"""`ordered: true`: calls of a conversation run in the order the model gave them, also after a pause and a crash."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.scripted_openai import Call, CallTools, Say
from gateway import Gateway, Principal, Session
from gateway.domain.call import Denied, Outcome, Parked, Released, Unknown
from gateway.domain.decision import ReasonCode
from gateway.loop import Finished
from gateway.office import Office
from gateway.paused import Paused
from gateway.serialize import Order, Place
from gateway.session import MAX_CALLS_A_TURN
from tests.support import ANA, Tool, ask, gateway_with, open_gateway, policies_for, reason, tool, vote
from tests.unit.loop_bench import Api, Bench, How, answers, each_api, each_way

ASKS = {"approval": {"when": "rules"}, "rules": [
    {"id": "small", "require": "args.n < 100", "otherwise": "escalate", "tell_model": "A person must agree."}
]}  # fmt: skip


class Work:
    """An ordered tool `act` and an unordered one `note`, and what they did."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gate: Callable[[int], Any] = lambda _: None

    def tools(self, **more: Any) -> tuple[Tool, Tool]:
        async def act(n: int) -> int:
            self.done.append(f"begin {n}")
            if (waited := self.gate(n)) is not None:
                await waited
            for _ in range(5):
                await asyncio.sleep(0)
            self.done.append(f"end {n}")
            return n

        async def note(n: int) -> int:
            self.done.append(f"note {n}")
            return n

        return tool(act, ordered=True, **more), tool(note)

    def session(self, gateway: Gateway, conversation: str = "c") -> Session:
        return gateway.session(ANA, conversation=conversation)


def in_order(*numbers: int) -> list[str]:
    return [f"{what} {n}" for n in numbers for what in ("begin", "end")]


async def parts(*waited: Any) -> list[Any]:
    return await asyncio.gather(*waited)


# within a turn, and within a conversation


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
def test_calls_of_one_turn_run_in_the_order_given(tmp_path: Path, sync: bool) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools()) as gateway:
        calls = [ask("act", n=n) for n in (3, 1, 2)]
        session = work.session(gateway)
        outcomes = session.judge_sync(calls) if sync else asyncio.run(session.judge(calls))
    assert all(isinstance(each, Released) for each in outcomes)
    assert work.done == in_order(3, 1, 2)


def test_turns_of_one_conversation_keep_their_order(tmp_path: Path) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools()) as gateway:
        session = work.session(gateway)
        asyncio.run(parts(session.judge([ask("act", n=1), ask("act", n=2)]), session.judge([ask("act", n=3)])))
    assert work.done == in_order(1, 2, 3)


def test_the_order_is_shared_by_the_ordered_tools_of_a_conversation(tmp_path: Path) -> None:
    done: list[str] = []

    async def open_it() -> None:
        done.append("open")
        await asyncio.sleep(0)
        done.append("opened")

    async def close_it() -> None:
        done.append("close")

    with gateway_with(tmp_path, tool(open_it, ordered=True), tool(close_it, ordered=True)) as gateway:
        asyncio.run(gateway.session(ANA).judge([ask("open_it"), ask("close_it")]))
    assert done == ["open", "opened", "close"]


def test_neither_neighbours_nor_other_conversations_wait(tmp_path: Path) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools()) as gateway:

        async def main() -> None:
            let_go = asyncio.Event()
            work.gate = lambda n: let_go.wait() if n == 1 else None
            mine = asyncio.ensure_future(work.session(gateway).judge([ask("act", n=1), ask("note", n=5)]))
            await work.session(gateway, "other").judge([ask("act", n=2)])
            while "note 5" not in work.done:
                await asyncio.sleep(0)
            assert "end 1" not in work.done
            let_go.set()
            await mine

        asyncio.run(main())
    assert work.done[-1] == "end 1"


def test_a_denied_call_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools()) as gateway:
        calls = [ask("act", n=1), ask("act", wrong=2), ask("invented"), ask("act", n=3)]
        outcomes = asyncio.run(work.session(gateway).judge(calls))
    assert [type(each).__name__ for each in outcomes] == ["Released", "Denied", "Denied", "Released"]
    assert work.done == in_order(1, 3)


def test_a_tool_that_fails_holds_nobody_up(tmp_path: Path) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools()) as gateway:

        def fails(n: int) -> None:
            if n == 1:
                raise ValueError("broken")

        work.gate = fails
        outcomes = asyncio.run(work.session(gateway).judge([ask("act", n=1), ask("act", n=2)]))
    assert [isinstance(each, Released) and each.failure is None for each in outcomes] == [False, True]
    assert work.done[-2:] == in_order(2)


def test_a_tool_that_never_ends_holds_the_next_up_no_longer_than_its_deadline(tmp_path: Path) -> None:
    let_go, done = threading.Event(), list[int]()

    def act(n: int) -> int:
        if n == 1:
            let_go.wait(60)
        done.append(n)
        return n

    with gateway_with(tmp_path, tool(act, ordered=True, effect="external", execution={"deadline_s": 0.05})) as gateway:
        first, second = asyncio.run(gateway.session(ANA).judge([ask("act", n=1), ask("act", n=2)]))
        assert isinstance(first, Unknown)
        assert isinstance(second, Released)
        assert done == [2]
        let_go.set()


def test_a_turn_full_of_ordered_calls_is_answered_whole_and_in_order(tmp_path: Path) -> None:
    work = Work()
    loop = {"loop": {"concurrent_calls": 128, "calls_per_conversation": 128}}
    with gateway_with(tmp_path, *work.tools(), settings=loop) as gateway:
        numbers = [*range(MAX_CALLS_A_TURN)]
        outcomes = asyncio.run(work.session(gateway).judge([ask("act", n=n) for n in numbers]))
    assert all(isinstance(each, Released) for each in outcomes)
    assert work.done == in_order(*numbers)


def test_c068_what_waits_behind_a_parked_call_counts_against_the_cap(tmp_path: Path) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools(**ASKS), settings={"loop": {"pending_requests": 2}}) as gateway:
        calls = [ask("act", n=100), ask("act", n=1), ask("act", n=2), ask("note", n=3)]
        outcomes = asyncio.run(work.session(gateway).judge(calls))
    assert [type(each).__name__ for each in outcomes] == ["Parked", "Parked", "Denied", "Released"]
    assert reason(outcomes[2]) is ReasonCode.APPROVALS_FULL


def test_who_gives_up_leaves_the_queue(tmp_path: Path) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools()) as gateway:

        async def main() -> None:
            let_go = asyncio.Event()
            work.gate = lambda n: let_go.wait() if n == 1 else None
            session = work.session(gateway)
            first, gone, last = (asyncio.ensure_future(session.judge([ask("act", n=n)])) for n in (1, 2, 3))
            while "begin 1" not in work.done:
                await asyncio.sleep(0)
            gone.cancel()
            let_go.set()
            await parts(first, last)
            with pytest.raises(asyncio.CancelledError):
                await gone

        asyncio.run(main())
        assert not gateway._runtime.order._queues
    assert work.done == in_order(1, 3)


def test_i7_a_forbidden_ordered_tool_does_not_wait_so_nothing_is_learnt_by_the_clock(tmp_path: Path) -> None:
    work = Work()

    def secret(n: int) -> None:
        raise AssertionError("nobody may call this")

    rows = ["p, role:support, secret, call, deny"]
    with gateway_with(tmp_path, *work.tools(), tool(secret, ordered=True), rows=rows) as gateway:

        async def main() -> Outcome:
            let_go = asyncio.Event()
            work.gate = lambda _: let_go.wait()
            session = work.session(gateway)
            first = asyncio.ensure_future(session.judge([ask("act", n=1)]))
            while "begin 1" not in work.done:
                await asyncio.sleep(0)
            [refused] = await session.judge([ask("secret", n=1)])  # it would wait for ever if it kept the order
            let_go.set()
            await first
            return refused

        assert reason(asyncio.run(main())) is ReasonCode.DENY_RULE


def test_a_call_made_inside_an_ordered_tool_takes_its_callers_place(tmp_path: Path) -> None:
    done: list[str] = []
    held: list[Session] = []

    async def inner() -> None:
        done.append("inner")

    async def outer() -> None:
        await held[0].judge([ask("inner")])
        done.append("outer")

    with gateway_with(tmp_path, tool(inner, ordered=True), tool(outer, ordered=True)) as gateway:
        held.append(gateway.session(ANA))
        asyncio.run(held[0].judge([ask("outer"), ask("inner")]))
    assert done == ["inner", "outer", "inner"]


def test_a_fallback_runs_before_the_next_call(tmp_path: Path) -> None:
    done: list[str] = []

    async def first(n: int) -> int:
        raise ValueError("down")

    async def second(n: int) -> int:
        await asyncio.sleep(0)
        done.append(f"second {n}")
        return n

    async def after(n: int) -> int:
        done.append(f"after {n}")
        return n

    tools = tool(first, ordered=True, execution={"fallback": "second"}), tool(second), tool(after, ordered=True)
    with gateway_with(tmp_path, *tools) as gateway:
        asyncio.run(gateway.session(ANA).judge([ask("first", n=1), ask("after", n=2)]))
    assert done == ["second 1", "after 2"]


# after a call that waits for a person


@pytest.mark.parametrize(("verdict", "ran"), [("approve", [100, 2]), ("deny", [2])])
def test_a_call_behind_one_that_waits_runs_after_it(tmp_path: Path, verdict: str, ran: list[int]) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools(**ASKS)) as gateway:
        session = work.session(gateway)
        first, second, note = asyncio.run(session.judge([ask("act", n=100), ask("act", n=2), ask("note", n=3)]))
        assert isinstance(first, Parked)
        assert isinstance(second, Parked)
        assert isinstance(note, Released)
        assert [each.kind for each in second.obligations] == ["order"]
        for _ in range(2):
            still = session.resume_sync(second.request_id)
            assert isinstance(still, Parked)
            assert still.request_id == second.request_id
        later = session.judge_sync([ask("act", n=4)])[0]
        assert isinstance(later, Parked)
        assert work.done == ["note 3"]
        vote(tmp_path, first.request_id, verdict=verdict)
        if verdict == "approve":
            assert isinstance(session.resume_sync(second.request_id), Parked)  # agreed to is not carried out
        outcomes = [session.resume_sync(each.request_id) for each in (first, second, later)]
        assert isinstance(outcomes[0], Released if verdict == "approve" else Denied)
    assert work.done[1:] == in_order(*ran, 4)


def test_another_conversation_does_not_wait_for_it(tmp_path: Path) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools(**ASKS)) as gateway:
        assert isinstance(work.session(gateway).judge_sync([ask("act", n=100)])[0], Parked)
        assert isinstance(work.session(gateway, "other").judge_sync([ask("act", n=2)])[0], Released)
        lea = gateway.session(ANA, conversation="c", on_behalf_of=Principal("otto"))  # the same name, another's
        assert isinstance(lea.judge_sync([ask("act", n=3)])[0], Released)


def test_approvers_see_that_nobody_is_asked(tmp_path: Path) -> None:
    work = Work()
    with gateway_with(tmp_path, *work.tools(**ASKS)) as gateway:
        _, second = work.session(gateway).judge_sync([ask("act", n=100), ask("act", n=2)])
        assert isinstance(second, Parked)
        with Office.open(tmp_path / "policies", tmp_path / "home") as office:
            view = office.desk().show(second.request_id)
    assert view is not None
    assert (view.needs.approvals, view.needs.confirmation) == (0, False)
    assert "earlier calls" in view.note


def test_c073_the_order_of_what_waits_outlives_the_process(tmp_path: Path) -> None:
    work = Work()
    tools = work.tools(**ASKS)
    policies_for(tmp_path, *tools)
    with open_gateway(tmp_path, *tools) as gateway:
        first, second = asyncio.run(work.session(gateway).judge([ask("act", n=100), ask("act", n=2)]))
        assert isinstance(first, Parked)
        assert isinstance(second, Parked)
    with open_gateway(tmp_path, *tools, origin="after") as gateway:
        session = work.session(gateway)
        assert isinstance(session.judge_sync([ask("act", n=3)])[0], Parked)
        assert isinstance(session.resume_sync(second.request_id), Parked)
        vote(tmp_path, first.request_id)
        assert isinstance(session.resume_sync(first.request_id), Released)
        assert isinstance(session.resume_sync(second.request_id), Released)
    assert work.done == in_order(100, 2)


# through `run`: both APIs, whole and streamed, answered and paused


@each_way
@each_api
def test_a_paused_run_goes_on_in_order(tmp_path: Path, api: Api, how: How) -> None:
    with Bench(tmp_path, change={"pay": "ordered: true\n", "write_down": "ordered: true\n"}) as bench:
        three = CallTools(
            (Call("pay", {"amount": 9}), Call("write_down", {"text": "paid"}), Call("look_up", {"key": "a"}))
        )
        model, session = bench.serve(three, Say("Done.")), bench.session(defer="pause")
        paused = asyncio.run(model.run(session, api=api, how=how))
        assert isinstance(paused, Paused)
        assert [each.tool for each in paused.requests] == ["pay", "write_down"]
        assert bench.done == [("look_up", "a")]
        again = asyncio.run(model.run(session, api=api, how=how, paused=paused))
        assert isinstance(again, Paused)
        bench.vote(session, paused.requests[0].request_id, "approve")
        ended = asyncio.run(model.run(session, api=api, how=how, paused=Paused.loads(again.dumps())))
        assert isinstance(ended, Finished)
        assert bench.done[1:] == [("pay", 9), ("write_down", "paid")]


@each_way
@each_api
def test_a_model_is_told_that_its_call_comes_later(tmp_path: Path, api: Api, how: How) -> None:
    with Bench(tmp_path, change={"pay": "ordered: true\n", "write_down": "ordered: true\n"}) as bench:
        both = CallTools((Call("pay", {"amount": 9}), Call("write_down", {"text": "paid"})))
        ended = asyncio.run(bench.serve(both, Say("Soon.")).run(bench.session(), api=api, how=how))
        assert isinstance(ended, Finished)
        told = [each["pending"]["message"] for each in answers(ended.messages).values()]
        assert "A person must agree to this call" in told[0]
        assert "their order is kept" in told[1]
        assert len(ended.pending) == 2


# the queue itself


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=30), st.randoms(use_true_random=False))
def test_the_first_of_a_queue_and_nobody_else_has_its_turn(steps: list[tuple[str, bool]], chance: Any) -> None:
    order, queues = Order(), {"a": list[Place](), "b": list[Place]()}
    for name, joins in steps:
        queue = queues[name]
        if joins or not queue:
            queue.append(order.join(("ana", None, name), 1.0))
            assert queue[-1].waits_s == len(queue) - 1
        else:
            order.leave(queue.pop(chance.randrange(len(queue))))
        for each in queues.values():
            assert [place.turn.done() for place in each] == [index == 0 for index in range(len(each))]
    for queue in queues.values():
        for place in queue:
            order.leave(place)
    assert not order._queues
