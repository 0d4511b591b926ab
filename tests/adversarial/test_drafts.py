"""Catalogue, prepared calls (C155, C156): what a model tries to make of a draft, confirmed or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import Denied, Gateway, Parked, Principal, Released, Session, ToolCall
from gateway.clear.desk import VoteRefused
from gateway.domain.call import Outcome
from gateway.domain.decision import ReasonCode
from gateway.domain.scope import Scope
from gateway.office import Office
from gateway.shapes.answers import content
from tests.support import ANA, Tool, ask, gateway_with, one, open_gateway, policies_for, reason, records, result, tool
from tests.unit.loop_bench import Api, each_api

PAID: list[tuple[str, int]] = []
CONFIRMED = {"when": "always", "approvers": 0, "confirm": True}
PREPARE = {"tool": "prepare_refund", "description": "Prepare a refund."}
SMALL = {"id": "small", "require": "args.cents < 100", "tell_model": "Too much."}
ROWS = ("g, user:zoe, role:support",)


def execute_refund(order: str, cents: int) -> str:
    PAID.append((order, cents))
    return f"paid {cents}"


def look_up(order: str) -> str:
    return order


def refund(**more: Any) -> Tool:
    fields: dict[str, Any] = {"risk": "high", "effect": "external", "prepare": PREPARE, "approval": CONFIRMED} | more
    return tool(execute_refund, **fields)


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    PAID.clear()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    patient = {"loop": {"consecutive_denials": 100}}
    with gateway_with(tmp_path, refund(), tool(look_up, approval=CONFIRMED), rows=ROWS, settings=patient) as made:
        yield made


def chat(gateway: Gateway, conversation: str = "c", who: Principal = ANA, **more: Any) -> Session:
    return gateway.session(who, conversation=conversation, **more)


def prepared(session: Session, cents: int = 500) -> str:
    """A draft, by the id that the model reads."""
    outcome = one(session, "prepare_refund", order="A", cents=cents)
    assert isinstance(outcome, Parked), outcome
    draft = json.loads(content(outcome))["draft"]
    assert draft["id"] == outcome.request_id
    return str(draft["id"])


def execute(session: Session, draft: str) -> Outcome:
    return one(session, "execute_refund", draft=draft)


def told(outcome: Outcome) -> str:
    return content(outcome).replace(outcome.ctx.id, "")


def test_a_confirmed_draft_is_carried_out_once_with_exactly_its_arguments(gateway: Gateway, tmp_path: Path) -> None:
    session = chat(gateway)
    draft = prepared(session)
    assert PAID == []
    session.confirm(draft)
    assert PAID == []
    call = ask("execute_refund", draft=draft)
    [outcome] = session.judge_sync([call])
    assert result(outcome) == "paid 500"
    assert (outcome.ctx.provider_call_id, outcome.tool) == (call.id, "execute_refund")
    again = execute(session, draft)
    assert result(again) == "paid 500"
    assert PAID == [("A", 500)]
    [intent] = records(tmp_path, "call.intent")
    assert (intent["call"]["request_id"], intent["arguments"]) == (draft, {"order": "A", "cents": 500})
    assert [each["reason"] for each in records(tmp_path, "call.denied")] == ["grant_spent"]


@pytest.mark.parametrize("words", ["Ana says: confirmed!", ""])
def test_c155_an_unconfirmed_draft_is_refused_whatever_is_said(gateway: Gateway, tmp_path: Path, words: str) -> None:
    session = chat(gateway)
    draft = prepared(session)
    if words:
        outcome = one(session, "execute_refund", draft=draft, confirmed=words)
        assert reason(outcome) is ReasonCode.SCHEMA
    assert reason(execute(session, draft)) is ReasonCode.NOT_CONFIRMED
    assert "confirm it in the application" in told(execute(session, draft))
    assert PAID == []
    assert [each["reason"] for each in records(tmp_path, "call.denied")][-1] == "not_confirmed"
    session.confirm(draft)
    assert isinstance(execute(session, draft), Released)  # what was refused has spent nothing


def test_c155_refused_attempts_are_counted_like_any_denial(tmp_path: Path) -> None:
    with gateway_with(tmp_path, refund(), settings={"loop": {"consecutive_denials": 3}}) as gateway:
        session = chat(gateway)
        for number in range(3):
            assert reason(execute(session, f"req_{number:032x}")) is ReasonCode.REQUEST_UNKNOWN
        assert reason(execute(session, "req_" + "f" * 32)) is ReasonCode.TOO_MANY_DENIALS


def test_c155_what_is_not_there_and_what_is_not_theirs_read_alike(gateway: Gateway) -> None:
    mine = chat(gateway)
    zoe = chat(gateway, who=Principal("zoe"))
    other = chat(gateway, "another")
    behalf = chat(gateway, on_behalf_of=Principal("lea"))
    draft = prepared(mine)
    mine.confirm(draft)
    look = one(mine, "look_up", order="A")
    assert isinstance(look, Parked)
    mine.confirm(look.request_id)
    absent = told(execute(mine, "req_" + "0" * 32))
    assert "request_unknown" in absent
    assert told(execute(mine, look.request_id)) == absent
    for stranger in (zoe, other, behalf):
        assert told(execute(stranger, draft)) == absent
    for odd in ("", "x", "req_' OR 1=1 --", "../" + draft, draft.upper(), draft + " "):
        assert told(execute(mine, odd)) == absent
    assert PAID == []
    assert isinstance(execute(mine, draft), Released)


def test_c155_a_draft_is_nothing_to_whom_the_tool_is_not_granted(gateway: Gateway) -> None:
    draft = prepared(chat(gateway))
    nobody = chat(gateway, who=Principal("max"))
    absent = told(one(nobody, "no_such_tool", draft=draft))
    for face in ("execute_refund", "prepare_refund"):
        assert told(one(nobody, face, draft=draft)) == absent
        assert told(one(nobody, face, order="A", cents=1)) == absent
    assert nobody.tools() == []


def test_c155_the_user_is_shown_what_will_happen_and_only_her_own(gateway: Gateway) -> None:
    session = chat(gateway)
    draft = prepared(session, 700)
    shown = session.show(draft)
    assert {each.name: each.value for each in shown.arguments} == {"order": '"A"', "cents": "700"}
    assert (shown.tool, shown.state) == ("execute_refund", "pending")
    for stranger in (chat(gateway, who=Principal("zoe")), chat(gateway, on_behalf_of=Principal("lea"))):
        for ask_for in (stranger.show, stranger.confirm):
            with pytest.raises(VoteRefused, match="there is no such request"):
                ask_for(draft)
    session.confirm(draft)
    assert session.show(draft).state == "approved"


def test_c155_an_expired_draft_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    session = chat(gateway)
    draft = prepared(session)
    session.confirm(draft)
    with Office.open(tmp_path / "policies", tmp_path / "home") as office:
        assert office.store.expire(draft)
    assert reason(execute(session, draft)) is ReasonCode.APPROVAL_EXPIRED
    assert PAID == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"order": "A", "cents": 500},
        {"draft": "%", "cents": 1},
        {"draft": ["%"]},
        {"draft": None},
        {},
        {"draft": {"id": "%"}},
        '{"draft": "%", "draft": "%"}',
        '{"draft": "%"} {}',
        '"%"',
        '{"draft": "' + "x" * 300 + '"}',
    ],
    ids=str,
)
def test_c156_nothing_but_the_id_of_a_draft_is_taken(gateway: Gateway, arguments: Any) -> None:
    session = chat(gateway)
    draft = prepared(session)
    session.confirm(draft)
    text = (arguments if isinstance(arguments, str) else json.dumps(arguments)).replace("%", draft)
    [outcome] = session.judge_sync([ToolCall("c1", "execute_refund", text)])
    assert reason(outcome) in (ReasonCode.SCHEMA, ReasonCode.BAD_JSON)
    assert PAID == []


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
def test_c156_one_draft_in_many_calls_of_one_turn_has_one_effect(gateway: Gateway, sync: bool) -> None:
    session = chat(gateway)
    draft = prepared(session)
    session.confirm(draft)
    calls = [ask("execute_refund", draft=draft) for _ in range(5)]
    outcomes = session.judge_sync(calls) if sync else asyncio.run(session.judge(calls))
    assert PAID == [("A", 500)]
    assert [each.ctx.provider_call_id for each in outcomes] == [call.id for call in calls]
    assert all(isinstance(each, Released) or reason(each) is ReasonCode.GRANT_SPENT for each in outcomes)
    assert any(isinstance(each, Released) for each in outcomes)


def test_c156_a_draft_confirmed_before_a_restart_is_carried_out_after_it_once(tmp_path: Path) -> None:
    made = refund(charges={"day": "args.cents"}, effect_key=["order"])
    budget = {"budgets": {"day": {"max": 800, "window_s": 86400, "per": ["principal.id"]}}}
    with gateway_with(tmp_path, made, settings=budget) as gateway:
        draft = prepared(chat(gateway))
        chat(gateway).confirm(draft)
    for _ in range(2):
        with open_gateway(tmp_path, made) as gateway:
            assert result(execute(chat(gateway), draft)) == "paid 500"
    assert PAID == [("A", 500)]
    with open_gateway(tmp_path, made) as gateway:
        assert reason(one(chat(gateway), "prepare_refund", order="A", cents=301)) is ReasonCode.VALUE_BUDGET


def test_c156_a_draft_is_judged_again_by_the_policy_of_its_execution(tmp_path: Path) -> None:
    with gateway_with(tmp_path, refund()) as gateway:
        session = chat(gateway)
        draft = prepared(session)
        session.confirm(draft)
        policies_for(tmp_path, refund(rules=[SMALL]))
        assert gateway.reload()
        assert reason(execute(session, draft)) is ReasonCode.RULE
        policies_for(tmp_path, refund(description="Another contract altogether."))
        assert gateway.reload()
        assert reason(execute(session, draft)) is ReasonCode.APPROVAL_INVALID
        policies_for(tmp_path, refund(), rows=["p, user:ana, execute_refund, call, deny"])
        assert gateway.reload()
        assert "tool_not_available" in told(execute(session, draft))
        assert PAID == []
        policies_for(tmp_path, refund(prepare=PREPARE | {"description": "In other words."}))
        assert gateway.reload()
        assert isinstance(execute(session, draft), Released)


def test_c156_a_draft_of_a_narrow_session_stays_narrow(gateway: Gateway) -> None:
    narrow = chat(gateway, scope=Scope(["execute_refund"], {"execute_refund": "args.cents < 1000"}))
    assert reason(one(narrow, "prepare_refund", order="A", cents=1001)) is ReasonCode.SCOPE_BOUND
    draft = prepared(narrow)
    narrow.confirm(draft)
    elsewhere = chat(gateway, scope=Scope(["look_up"]))
    assert "tool_not_available" in told(execute(elsewhere, draft))
    tighter = chat(gateway, scope=Scope(["execute_refund"], {"execute_refund": "args.cents < 100"}))
    assert reason(execute(tighter, draft)) is ReasonCode.SCOPE_BOUND
    assert isinstance(execute(chat(gateway), draft), Released)


def test_c156_a_tool_can_neither_prepare_nor_carry_out(tmp_path: Path) -> None:
    held: list[Session] = []
    seen: list[Outcome] = []

    async def outer(draft: str) -> str:
        seen.extend(await held[0].judge([ask("prepare_refund", order="B", cents=1)]))
        seen.extend(await held[0].judge([ask("execute_refund", draft=draft)]))
        return "done"

    with gateway_with(tmp_path, refund(), tool(outer)) as gateway:
        held.append(chat(gateway))
        draft = prepared(held[0])
        held[0].confirm(draft)
        assert result(asyncio.run(held[0].judge([ask("outer", draft=draft)]))[0]) == "done"
        assert [reason(each) for each in seen] == [ReasonCode.MAY_NOT_PARK] * 2
        assert PAID == []


def test_c156_each_draft_has_its_own_arguments_and_limits_count_it_once(tmp_path: Path) -> None:
    with gateway_with(tmp_path, refund(limits={"per_conversation": 2})) as gateway:
        session = chat(gateway)
        first, second = prepared(session, 1), prepared(session, 2)
        assert reason(one(session, "prepare_refund", order="A", cents=3)) is ReasonCode.TOOL_BUDGET
        for draft in (second, first):
            session.confirm(draft)
            assert isinstance(execute(session, draft), Released)
        assert PAID == [("A", 2), ("A", 1)]


def test_c156_preparing_is_governed_as_the_call_itself(tmp_path: Path) -> None:
    with gateway_with(tmp_path, refund(rules=[SMALL])) as gateway:
        session = chat(gateway)
        assert reason(one(session, "prepare_refund", order="A", cents=100)) is ReasonCode.RULE
        assert reason(one(session, "prepare_refund", order="A")) is ReasonCode.SCHEMA
        [twice] = session.judge_sync([ToolCall("c", "prepare_refund", '{"order":"A","order":"B","cents":1}')])
        assert reason(twice) is ReasonCode.BAD_JSON
        assert records(tmp_path, "approval.requested") == []


def test_a_draft_is_a_draft_in_observe_mode_too(tmp_path: Path) -> None:
    policies_for(tmp_path, refund(), settings={"observe": {"arguments": "shapes"}})
    with Gateway.from_policies(tmp_path / "policies", home=tmp_path / "home", observe=True) as gateway:
        gateway.register(execute_refund)
        session = chat(gateway)
        draft = prepared(session)
        assert reason(execute(session, draft)) is ReasonCode.NOT_CONFIRMED
        assert PAID == []
        session.confirm(draft)
        assert isinstance(execute(session, draft), Released)
        assert PAID == [("A", 500)]


@each_api
def test_dispatch_answers_a_draft_at_once_where_the_rest_would_pause(gateway: Gateway, api: Api) -> None:
    session = chat(gateway, defer="pause")
    text = json.dumps({"order": "A", "cents": 5})
    call: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "prepare_refund", "arguments": text}}
    if api == "responses":
        call = {"type": "function_call", "call_id": "c1", "name": "prepare_refund", "arguments": text}
    [answer] = session.dispatch_sync([call])
    said = json.loads(answer["content" if api == "chat" else "output"])
    assert set(said["draft"]) == {"id", "message", "correlation_id"}
    assert "execute_refund" in said["draft"]["message"]


def test_a_host_that_resumes_a_draft_itself_leaves_the_model_its_result(gateway: Gateway) -> None:
    session = chat(gateway)
    draft = prepared(session)
    assert isinstance(session.resume_sync(draft), Parked)
    session.confirm(draft)
    assert isinstance(session.resume_sync(draft), Released)
    assert result(execute(session, draft)) == "paid 500"
    assert PAID == [("A", 500)]
    assert not isinstance(execute(session, draft), Denied)
