"""Catalogue, Execution (C089, C141) and I14: calls made inside tools, retries, fallbacks, many people at once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway import Principal
from gateway.domain.call import Denied, Outcome, Released
from gateway.execute import stage as execute_stage
from tests.support import ANA, ask, gateway_with, one, reason, records, result, tool, vote


def fine(word: str) -> str:
    return word


def test_a_nested_call_keeps_the_principal_and_is_capped_in_depth(tmp_path: Path) -> None:
    sessions: list[Any] = []

    def dig(depth: int) -> Any:
        found = one(sessions[0], "dig", depth=depth + 1)
        return reason(found) if isinstance(found, Denied) else result(found)

    with gateway_with(tmp_path, tool(dig), rows=["g, user:eve, role:lead"]) as gateway:
        sessions.append(
            gateway.session(Principal("eve"), conversation="of-eve")
        )  # somebody else's session in its hands
        assert result(one(gateway.session(ANA, conversation="of-ana"), "dig", depth=0)) == "depth_exceeded"
    intents = records(tmp_path, "call.intent")
    assert [each["call"]["depth"] for each in intents] == [0, 1, 2]
    assert {each["call"]["principal"] for each in intents} == {"ana"}
    assert {each["call"]["conversation"] for each in intents} == {"of-ana"}
    assert [each["call"]["parent_id"] for each in intents[1:]] == [each["call"]["call_id"] for each in intents[:2]]


@pytest.mark.parametrize("kind", ["sync", "inline", "async"])
def test_c141_a_nested_call_that_needs_a_person_is_denied(tmp_path: Path, kind: str) -> None:
    sessions: list[Any] = []

    def risky() -> str:
        return "happened"

    def outer() -> str:
        return reason(one(sessions[0], "risky"))

    async def outer_async() -> str:
        return reason((await sessions[0].judge([ask("risky")]))[0])

    subject = tool(outer_async if kind == "async" else outer, name="outer", execution={"inline": kind == "inline"})
    with gateway_with(tmp_path, subject, tool(risky, risk="high")) as gateway:
        sessions.append(gateway.session(ANA))
        assert result(one(sessions[0], "outer")) == "may_not_park"
    assert not records(tmp_path, "approval.requested")


@pytest.mark.parametrize("what", ["resume", "confirm"])
def test_c141_a_tool_can_neither_agree_nor_redeem(tmp_path: Path, what: str) -> None:
    sessions: list[Any] = []
    requests: list[str] = []

    def risky() -> str:
        return "happened"

    def outer() -> None:
        if what == "resume":
            sessions[0].resume_sync(requests[0])
        else:
            sessions[0].confirm(requests[0])

    with gateway_with(tmp_path, tool(outer), tool(risky, risk="high")) as gateway:
        sessions.append(gateway.session(ANA, conversation="c"))
        requests.append(one(sessions[0], "risky").request_id)  # type: ignore[union-attr]
        vote(tmp_path, requests[0])
        outcome = one(sessions[0], "outer")
        assert isinstance(outcome, Released)
        assert outcome.failure is not None
        assert "host application" in outcome.failure.detail
        assert result(sessions[0].resume_sync(requests[0])) == "happened"


@pytest.mark.parametrize("kind", ["sync", "inline", "async"])
def test_c141_a_nested_call_on_what_its_parent_holds_never_deadlocks(tmp_path: Path, kind: str) -> None:
    sessions: list[Any] = []

    def inner(order: str) -> str:
        return order

    def outer(order: str) -> str:
        return reason(one(sessions[0], "inner", order=order)) + result(one(sessions[0], "inner", order="other"))

    async def outer_async(order: str) -> str:
        same, other = await sessions[0].judge([ask("inner", order=order), ask("inner", order="other")])
        return reason(same) + result(other)

    held = {"serialize_by": ["order"]}
    subject = tool(
        outer_async if kind == "async" else outer, name="outer", execution={"inline": kind == "inline"}, **held
    )
    with gateway_with(tmp_path, subject, tool(inner, **held)) as gateway:
        sessions.append(gateway.session(ANA))
        assert result(one(sessions[0], "outer", order="A")) == "busyother"


def test_blocking_for_two_calls_on_the_gateways_own_loop_is_refused_and_never_hangs(tmp_path: Path) -> None:
    sessions: list[Any] = []

    async def outer() -> str:
        return str(len(sessions[0].judge_sync([ask("fine", word="a"), ask("fine", word="b")])))

    with gateway_with(tmp_path, tool(outer), tool(fine)) as gateway:
        sessions.append(gateway.session(ANA))
        outcome = one(sessions[0], "outer")
        assert isinstance(outcome, Released)
        assert outcome.failure is not None
        assert "own loop" in outcome.failure.detail


@pytest.mark.parametrize("awaited", [False, True])
def test_only_what_is_idempotent_is_retried_each_time_with_its_own_intent(
    tmp_path: Path, awaited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute_stage, "RETRY_AFTER_S", (0.0, 0.001, 0.002))
    tried: list[str] = []

    def flaky(word: str) -> str:
        tried.append(word)
        if len(tried) < 3:
            raise ConnectionError("try again")
        return word

    def once(word: str) -> str:
        tried.append(word)
        raise ConnectionError("try again")

    subjects = (
        tool(flaky, idempotent=True, execution={"retries": 3}),
        tool(once, effect="external"),
    )
    with gateway_with(tmp_path, *subjects) as gateway:
        session = gateway.session(ANA)
        judge = (
            (lambda call: asyncio.run(session.judge([call]))[0])
            if awaited
            else lambda call: session.judge_sync([call])[0]
        )
        assert result(judge(ask("flaky", word="w"))) == "w"
        intents = records(tmp_path, "call.intent")
        assert [each["attempt"] for each in intents] == [1, 2, 3]
        assert len({each["call"]["call_id"] for each in intents}) == 1
        outcomes = records(tmp_path, "call.outcome")
        assert [each["status"] for each in outcomes] == ["failed", "failed", "released"]
        assert [each["intent_seq"] for each in outcomes] == [each["seq"] for each in intents]
        tried.clear()
        assert isinstance(judge(ask("once", word="w")), Released)
        assert tried == ["w"]


def test_a_kill_switch_thrown_between_attempts_stops_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute_stage, "RETRY_AFTER_S", (0.2, 0.2, 0.2))
    tried: list[int] = []

    def flaky() -> str:
        tried.append(1)
        gateway._runtime.kill_switches.throw("all", "", by="max", why="drill")
        raise ConnectionError("try again")

    with gateway_with(tmp_path, tool(flaky, idempotent=True, execution={"retries": 3})) as gateway:
        outcome = one(gateway.session(ANA), "flaky")
        assert isinstance(outcome, Released)  # it ran once and failed: to call it denied would say that it never ran
        assert outcome.failure is not None
        assert reason(one(gateway.session(ANA), "flaky")) == "kill_switch"
    assert len(tried) == 1
    assert [each["status"] for each in records(tmp_path, "call.outcome")] == ["failed"]


def test_a_fallback_is_a_call_of_its_own(tmp_path: Path) -> None:
    def primary(city: str) -> str:
        raise ConnectionError("down")

    def backup(city: str) -> str:
        return f"{city}: rain"

    subjects = (tool(primary, execution={"fallback": "backup"}), tool(backup))
    with gateway_with(tmp_path, *subjects, hidden=["backup"]) as gateway:
        session = gateway.session(ANA)
        call = ask("primary", city="Oslo")
        outcome = session.judge_sync([call])[0]
        assert result(outcome) == "Oslo: rain"
        assert outcome.ctx.provider_call_id == call.id
        assert reason(one(session, "backup", city="Oslo")) == "not_granted"  # the model cannot call it by its name
    first, second = records(tmp_path, "call.intent")
    assert (first["call"]["tool"], second["call"]["tool"]) == ("primary", "backup")
    assert second["call"]["parent_id"] == first["call"]["call_id"]
    assert [each["status"] for each in records(tmp_path, "call.outcome")] == ["failed", "released"]


def test_a_fallback_that_is_refused_leaves_the_first_answer(tmp_path: Path) -> None:
    def primary(city: str) -> str:
        raise ConnectionError("down")

    def backup(city: str) -> str:
        return city

    spare = tool(backup, rules=[{"id": "r", "require": "args.city == 'Rome'", "tell_model": "only Rome"}])
    with gateway_with(tmp_path, tool(primary, execution={"fallback": "backup"}), spare) as gateway:
        outcome = one(gateway.session(ANA), "primary", city="Oslo")
        assert isinstance(outcome, Released)
        assert outcome.tool == "primary"
        assert outcome.failure is not None


def test_c089_many_identities_at_once_never_mix(tmp_path: Path) -> None:

    people = [f"p{number}" for number in range(12)]
    barrier = threading.Barrier(len(people))
    sessions: dict[str, Any] = {}

    def inner(name: str) -> str:
        return name

    def whoami(name: str) -> str:
        return result(one(sessions["p0"], "inner", name=name))  # nested, through somebody else's session

    async def whoami_async(name: str) -> str:
        await asyncio.sleep(0)
        return result((await sessions["p0"].judge([ask("inner", name=name)]))[0])

    def owner(ctx: Any) -> dict[str, object]:
        return {"id": ctx.principal.id}

    subjects = [
        tool(
            fn,
            facts={"owner": {"provider": "owner"}},
            rules=[
                {
                    "id": "own",
                    "require": "facts.owner.id == args.name && principal.id == args.name",
                    "tell_model": "not yours",
                }
            ],
        )
        for fn in (inner, whoami, whoami_async)
    ]
    rows = [f"g, user:{each}, role:support" for each in people]
    wrong: list[object] = []

    def work(name: str) -> None:
        barrier.wait()
        for number in range(5):
            for found in sessions[name].judge_sync([ask("whoami", name=name), ask("whoami_async", name=name)]):
                if result(found) != name:
                    wrong.append(found)
            other = people[(people.index(name) + 1 + number) % len(people)]
            if other != name and reason(one(sessions[name], "whoami", name=other)) != "rule":
                wrong.append(other)

    def guarded(name: str) -> None:
        try:
            work(name)
        except BaseException as error:
            wrong.append(error)

    with gateway_with(tmp_path, *subjects, rows=rows, settings={"loop": {"repeats": 1000}}) as gateway:
        gateway.register_fact("owner", owner)
        sessions |= {each: gateway.session(Principal(each), conversation=f"of-{each}") for each in people}
        threads = [threading.Thread(target=guarded, args=(each,)) for each in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        async def together() -> list[list[Outcome]]:
            return await asyncio.gather(*(sessions[each].judge([ask("whoami_async", name=each)]) for each in people))

        for each, found in zip(people, asyncio.run(together()), strict=True):
            assert result(found[0]) == each
    assert not wrong
    for each in records(tmp_path, "call.intent"):
        assert each["arguments"]["name"] == each["call"]["principal"]
        assert each["call"]["conversation"] == f"of-{each['call']['principal']}"
