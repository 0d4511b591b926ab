"""Catalogue, the session (C037, C085, C131): what a hostile model, user or tool tries at the way to a tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import Denied, Parked, Principal, Released, Session, ToolCall, UsageError
from gateway.clear.desk import VoteRefused
from gateway.shapes.answers import content
from tests.support import ANA, ask, gateway_with, one, reason, records, tool, vote

SERVICE = Principal("ana")
LEA, MAX = Principal("lea"), Principal("max")


def fine(word: str) -> str:
    return word


def pay(order: str) -> str:
    return f"paid {order}"


def _told(outcome: Any) -> str:
    return content(outcome).replace(outcome.ctx.id, "")


# who asks


@pytest.mark.parametrize("who", ["ana", None, type("Fake", (), {"id": "ana"})(), type("Sub", (Principal,), {})("ana")])
def test_c028_a_session_is_for_a_principal_and_nothing_like_one(tmp_path: Path, who: Any) -> None:
    with gateway_with(tmp_path, tool(fine)) as gateway:
        with pytest.raises(UsageError):
            gateway.session(who)
        if who is not None:
            with pytest.raises(UsageError):
                gateway.session(ANA, on_behalf_of=who)
        with pytest.raises(UsageError):
            gateway.session(ANA, defer="paus")  # type: ignore[arg-type]


def test_c131_a_request_made_for_one_person_is_unknown_to_another(tmp_path: Path) -> None:
    """One service principal, one conversation name, two end users: the result of one is not for the other."""
    with gateway_with(tmp_path, tool(pay, risk="high", approval={"when": "always", "confirm": True})) as gateway:
        mine = gateway.session(SERVICE, conversation="c", on_behalf_of=LEA)
        others = gateway.session(SERVICE, conversation="c", on_behalf_of=MAX)
        nobodys = gateway.session(SERVICE, conversation="c")
        parked = one(mine, "pay", order="A")
        assert isinstance(parked, Parked)
        absent = others.resume_sync("req_" + "0" * 32)
        for other in (others, nobodys):
            with pytest.raises(VoteRefused, match="no such request"):
                other.confirm(parked.request_id)
            assert _told(other.resume_sync(parked.request_id)) == _told(absent)
        mine.confirm(parked.request_id)
        vote(tmp_path, parked.request_id)
        assert isinstance(mine.resume_sync(parked.request_id), Released)
        for other in (others, nobodys):  # the stored result is not handed to them either
            assert _told(other.resume_sync(parked.request_id)) == _told(absent)
        assert isinstance(mine.resume_sync(parked.request_id), Released)


@pytest.mark.parametrize("request_id", ["", "x" * 5_000_000, "\ud800", "req_" + "0" * 32, "../../etc/passwd", "a\nb"])
def test_c131_whatever_id_is_resumed_the_answer_is_the_same_and_recorded(tmp_path: Path, request_id: str) -> None:
    with gateway_with(tmp_path, tool(fine)) as gateway:
        outcome = gateway.session(ANA).resume_sync(request_id)
    assert reason(outcome) == "request_unknown"
    assert len(records(tmp_path, "call.denied")) == 1


# what a running tool may do with a session that it can reach


def test_c085_a_running_tool_neither_confirms_nor_redeems(tmp_path: Path) -> None:
    reached: dict[str, Any] = {}

    def helper(request: str) -> str:
        tried = []
        for act in (reached["session"].confirm, reached["session"].resume_sync):
            try:
                act(request)
                tried.append("done")
            except UsageError:
                tried.append("refused")
        return ",".join(tried)

    contract = tool(pay, risk="high", approval={"when": "always", "confirm": True, "approvers": 0})
    with gateway_with(tmp_path, contract, tool(helper)) as gateway:
        session = reached["session"] = gateway.session(ANA)
        parked = one(session, "pay", order="A")
        assert isinstance(parked, Parked)
        outcome = one(session, "helper", request=parked.request_id)
        assert json.loads(content(outcome)) == {"untrusted_result": "refused,refused"}
        assert isinstance(session.resume_sync(parked.request_id), Parked)
    assert records(tmp_path, "approval.voted") == []


# what a model may name


@pytest.mark.parametrize("name", [["fine"], {"a": 1}, None, 7, b"fine", True, "", "x" * 10_000])
def test_c016_a_name_that_is_no_name_is_refused_beside_calls_that_are_not(tmp_path: Path, name: Any) -> None:
    with gateway_with(tmp_path, tool(fine)) as gateway:
        session = gateway.session(ANA)
        strange = {"id": "c1", "type": "function", "function": {"name": name, "arguments": "{}"}}
        proper = {"id": "c2", "type": "function", "function": {"name": "fine", "arguments": '{"word":"hi"}'}}
        answers = session.dispatch_sync([strange, proper])
    assert [each["tool_call_id"] for each in answers] == ["c1", "c2"]
    assert "error" in json.loads(answers[0]["content"])
    assert json.loads(answers[1]["content"]) == {"untrusted_result": "hi"}
    assert len(records(tmp_path, "call.denied")) == 1


@pytest.mark.parametrize("call_id", ["", "x" * 257, "\ud800", None, 7, ["c"]])
def test_c016_an_id_that_no_record_could_hold_runs_nothing(tmp_path: Path, call_id: Any) -> None:
    ran: list[str] = []

    def touch() -> str:
        ran.append("x")
        return "x"

    with gateway_with(tmp_path, tool(touch)) as gateway:
        with pytest.raises(UsageError):
            gateway.session(ANA).judge_sync([ask("touch"), ToolCall(call_id, "touch", "{}")])
        with pytest.raises(UsageError):
            gateway.session(ANA).dispatch_sync([{"id": call_id, "type": "function", "function": {"name": "touch"}}])
    assert ran == []


@pytest.mark.parametrize("kind", [[], {}, 7, True])
def test_c013_an_item_of_no_kind_is_a_usage_error(tmp_path: Path, kind: Any) -> None:
    with gateway_with(tmp_path, tool(fine)) as gateway, pytest.raises(UsageError):
        gateway.session(ANA).dispatch_sync([{"id": "c", "type": kind, "function": {"name": "fine"}}])


# what a model may learn


def test_c131_a_switch_of_a_forbidden_tool_does_not_say_that_the_tool_exists(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(fine), tool(pay), rows=["p, user:ana, pay, call, deny"]) as gateway:
        gateway._runtime.kill_switches.throw("tool", "pay", by="max", why="drill")
        session = gateway.session(ANA)
        forbidden, unknown = one(session, "pay", order="A"), one(session, "no_such_tool", order="A")
        assert _told(forbidden) == _told(unknown)
        bad = [session.judge_sync([ToolCall("c", name, "{")])[0] for name in ("pay", "no_such_tool")]
        assert _told(bad[0]) == _told(bad[1])


def test_a_switch_of_one_tool_leaves_the_others(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(fine), tool(pay)) as gateway:
        session = gateway.session(ANA)
        gateway._runtime.kill_switches.throw("tool", "pay", by="max", why="drill")
        assert reason(one(session, "pay", order="A")) == "tool_off"
        assert isinstance(one(session, "fine", word="hi"), Released)
        gateway._runtime.kill_switches.release("tool", "pay")
        assert isinstance(one(session, "pay", order="A"), Released)


def test_c131_a_hidden_fallback_is_not_named_to_the_model(tmp_path: Path) -> None:
    def primary(word: str) -> str:
        raise ValueError("down")

    def secret_backup(word: str) -> str:
        return word

    first = tool(primary, risk="high", effect="none", execution={"fallback": "secret_backup"})
    with gateway_with(tmp_path, first, tool(secret_backup), hidden=["secret_backup"]) as gateway:
        session: Session = gateway.session(ANA)
        parked = one(session, "primary", word="hi")
        assert isinstance(parked, Parked)
        vote(tmp_path, parked.request_id)
        outcome = session.resume_sync(parked.request_id)
        assert isinstance(outcome, Released)
        assert "secret_backup" not in json.dumps(session.late_message(outcome))
        assert "secret_backup" not in json.dumps(session.tools())
        denied = one(session, "secret_backup", word="hi")
        assert isinstance(denied, Denied)
        assert _told(denied) == _told(one(session, "no_such_tool", word="hi"))


# how much a model may make of little


def _growing(fn: Any) -> Any:
    note = {"type": "string", "default": "n" * 100}
    item = {"type": "object", "properties": {"note": note}, "additionalProperties": False}
    made = tool(fn)
    made.contract["parameters"]["properties"]["items"] = {"type": "array", "items": item}
    return made


def test_c126_defaults_that_multiply_are_refused_and_the_refusal_is_recorded(tmp_path: Path) -> None:
    def order(items: list) -> str:  # type: ignore[type-arg]
        return str(len(items))

    with gateway_with(tmp_path, _growing(order)) as gateway:
        session = gateway.session(ANA)
        assert reason(one(session, "order", items=[{}] * 100_000)) == "arguments_too_large"
        assert isinstance(one(session, "order", items=[{}] * 1_000), Released)
        assert gateway.healthy
    assert [each["reason"] for each in records(tmp_path, "call.denied")] == ["arguments_too_large"]


def test_c126_numbers_that_are_longer_when_written_out_are_refused_and_recorded(tmp_path: Path) -> None:
    def add(numbers: list) -> str:  # type: ignore[type-arg]
        return str(len(numbers))

    contract = tool(add)
    contract.contract["parameters"]["properties"]["numbers"] = {"type": "array", "items": {"type": "number"}}
    with gateway_with(tmp_path, contract) as gateway:
        text = '{"numbers":[' + ",".join(["1e15"] * 190_000) + "]}"
        outcome = gateway.session(ANA).judge_sync([ToolCall("c", "add", text)])[0]
        assert reason(outcome) == "arguments_too_large"
    assert len(records(tmp_path, "call.denied")) == 1
