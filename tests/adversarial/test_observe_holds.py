"""Observe mode: what holds all the same, who could switch it on, and who can see it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import Gateway, Principal, ToolCall
from gateway.audit.errors import NotRecorded
from gateway.audit.log import AuditLog
from gateway.domain.call import Denied, Outcome, Parked, Released, Unknown
from gateway.domain.decision import ReasonCode
from gateway.domain.errors import ContractMismatch, PolicyError, UsageError
from gateway.office import Office
from tests.adversarial.observing import PERMITTED, last, observing, pay, wild, would
from tests.architecture.source import ROOT
from tests.support import ANA, ORIGIN, Tool, ask, gateway_with, one, policies_for, reason, records, result, tool, vote

# what holds all the same


def test_what_cannot_be_read_or_is_not_there_is_refused(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay), tool(name="ghost")) as gateway:
        session = gateway.session(ANA)
        twice = session.judge_sync([ToolCall("a", "pay", '{"cents":1,"cents":2}')])[0]
        assert reason(twice) is ReasonCode.BAD_JSON
        assert reason(one(session, "no_such_tool")) is ReasonCode.UNKNOWN_TOOL
        assert reason(one(session, "ghost")) is ReasonCode.NOT_REGISTERED
    assert [each["observe"] for each in records(tmp_path, "call.denied")] == [True, True, True]
    assert records(tmp_path, "call.intent") == []


def test_kill_switches_hold(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay)) as gateway:
        gateway.register(wild)
        with Office.open(tmp_path / "policies", tmp_path / "home") as office:
            office.kill_switches.throw("tool", "wild", by="sam", why="test")
            assert reason(one(gateway.session(ANA), "wild", target="x", options={})) is ReasonCode.TOOL_OFF
            office.kill_switches.throw("principal", "ana", by="sam", why="test")
            assert reason(one(gateway.session(ANA), "pay", order_id="A-1", cents=1)) is ReasonCode.KILL_SWITCH


def test_code_never_leaves_its_sandbox(tmp_path: Path) -> None:
    code = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    profile = (ROOT / "policies/sandbox/python.yaml").read_text().replace("name: python", "name: nowhere")
    profile = profile.replace("image: toolgate-sandbox-python", 'image: "sha256:' + "0" * 64 + '"')
    boxed = tool(name="run_code", parameters=code, execution={"sandbox": "nowhere"})
    policies_for(tmp_path, boxed, settings=PERMITTED)
    (tmp_path / "policies" / "sandbox").mkdir()
    (tmp_path / "policies" / "sandbox" / "nowhere.yaml").write_text(profile)
    with Gateway.from_policies(tmp_path / "policies", home=tmp_path / "home", origin=ORIGIN, observe=True) as gateway:
        with pytest.raises(ContractMismatch):
            gateway.register(lambda code: code, name="run_code")
        for arguments in ({"code": "print(1)"}, {"code": ["print(1)"]}, {}):
            assert isinstance(one(gateway.session(ANA), "run_code", **arguments), Denied)
    assert records(tmp_path, "call.intent") == []


def test_a_guard_with_nothing_to_hand_over_still_refuses(tmp_path: Path) -> None:
    """The tool takes an opened file; a name in its place would be a way around the guard."""
    opened: list[Any] = []

    def read(path: Any) -> str:
        opened.append(path)
        return str(path.read(), "utf-8")

    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("inside")
    rule = {"id": "never", "require": "args.path == 'x'", "tell_model": "No.", "tell_people": "no"}
    parameters = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    reads = Tool(
        tool(name="read").contract
        | {"parameters": parameters, "guards": {"path": {"kind": "path", "root": "files"}}, "rules": [rule]},
        read,
    )
    settings = PERMITTED | {"roots": {"files": str(tmp_path / "files")}}
    with observing(tmp_path, reads, settings=settings) as gateway:
        session = gateway.session(ANA)
        assert reason(one(session, "read", path="../secret")) is ReasonCode.GUARD
        assert isinstance(one(session, "read", path=7), Denied)
        assert result(one(session, "read", path="a.txt")) == "inside"
        assert result(one(gateway.session(Principal("mallory")), "read", path="a.txt")) == "inside"
    assert [each["reason"] for each in would(tmp_path)] == ["rule", "not_granted"]
    assert not any(isinstance(each, str) for each in opened)
    assert all(each.closed for each in opened)


def test_what_a_guard_opened_is_closed_after_a_call_that_is_allowed(tmp_path: Path) -> None:
    opened: list[Any] = []

    def read(path: Any) -> str:
        opened.append(path)
        return str(path.read(), "utf-8")

    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("inside")
    parameters = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    guarded = {"parameters": parameters, "guards": {"path": {"kind": "path", "root": "files"}}}
    settings = PERMITTED | {"roots": {"files": str(tmp_path / "files")}}
    with observing(tmp_path, Tool(tool(name="read").contract | guarded, read), settings=settings) as gateway:
        assert result(one(gateway.session(ANA), "read", path="a.txt")) == "inside"
    assert last(tmp_path)["decision"] == "allow"
    assert [each.closed for each in opened] == [True]


def test_a_call_inside_a_tool_that_would_need_a_person_runs(tmp_path: Path) -> None:
    inside: list[Outcome] = []

    def outer(word: str) -> str:
        inside.extend(session.judge_sync([ask("pay", order_id=word, cents=5)]))
        return word

    with observing(tmp_path, tool(outer), tool(pay, risk="high", effect="external")) as gateway:
        session = gateway.session(ANA, conversation="c")
        assert result(one(session, "outer", word="A-1")) == "A-1"
        assert result(inside[0]) == "paid 5 for A-1"
    assert last(tmp_path)["reason"] == "may_not_park"


def test_no_evidence_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def effect(word: str) -> str:
        ran.append(word)
        return word

    with observing(tmp_path) as gateway:
        gateway.register(effect)
        with monkeypatch.context() as broken:
            broken.setattr(AuditLog, "append", full_disk)
            assert reason(one(gateway.session(ANA), "effect", word="x")) is ReasonCode.AUDIT_UNAVAILABLE
    assert ran == []


def test_a_parked_request_is_not_redeemed_without_its_grant(tmp_path: Path) -> None:
    risky = tool(pay, risk="high", effect="external")
    with gateway_with(tmp_path, risky, settings=PERMITTED) as gateway:
        parked = one(gateway.session(ANA, conversation="c"), "pay", order_id="A-1", cents=5)
        assert isinstance(parked, Parked)
    with observing(tmp_path, risky) as gateway:
        session = gateway.session(ANA, conversation="c")
        assert isinstance(session.resume_sync(parked.request_id), Parked)
        vote(tmp_path, parked.request_id)
        assert result(session.resume_sync(parked.request_id)) == "paid 5 for A-1"


def test_an_effect_in_doubt_is_unknown_here_too(tmp_path: Path) -> None:
    def slow(order_id: str) -> str:
        threading.Event().wait(5)
        return "late"

    slowly = tool(slow, effect="external", execution={"deadline_s": 0.05})
    with observing(tmp_path, slowly) as gateway:
        assert isinstance(one(gateway.session(ANA), "slow", order_id="A-1"), Unknown)


def test_our_own_mistake_stops_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with observing(tmp_path, tool(pay)) as gateway:
        stage = gateway._policy.stages.validate
        monkeypatch.setattr(stage, "_facts", None)
        monkeypatch.setattr(type(stage), "shape", lambda *_: 1 / 0)
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=5), Released)
    assert last(tmp_path)["reason"] == "internal_error"


# who can cause it, and who can see it


def test_every_record_says_so_and_the_first_one_too(tmp_path: Path) -> None:
    with capture_logs() as alarms, observing(tmp_path, tool(pay)) as gateway:
        assert gateway.observing
        one(gateway.session(ANA), "pay", order_id="A-1", cents=5)
    found = records(tmp_path)
    assert found[0]["kind"] == "process.started"
    assert all(each["observe"] is True for each in found)
    assert "nothing is denied" in found[0]["notes"][0]
    (loud,) = [each for each in alarms if each["event"] == "observing"]
    assert loud["log_level"] == "warning"


def test_an_enforcing_gateway_never_says_so(tmp_path: Path) -> None:
    """The policy's permission alone changes nothing."""
    with gateway_with(tmp_path, tool(pay), settings=PERMITTED) as gateway:
        assert not gateway.observing
        assert reason(one(gateway.session(Principal("mallory")), "pay", order_id="A-1", cents=5)) is not None
    assert not any("observe" in each for each in records(tmp_path))


def test_the_code_alone_cannot_switch_it_on(tmp_path: Path) -> None:
    policies_for(tmp_path, tool(pay))
    with pytest.raises(PolicyError, match=r"the policy does not permit that"):
        Gateway.from_policies(tmp_path / "policies", home=tmp_path / "home", observe=True)


@pytest.mark.parametrize("value", [1, "true", "0", None, "shapes"])
def test_only_true_switches_it_on(tmp_path: Path, value: Any) -> None:
    """What an environment variable would give is text, and text is refused, not weighed."""
    policies_for(tmp_path, tool(pay), settings=PERMITTED)
    with pytest.raises(UsageError):
        Gateway.from_policies(tmp_path / "policies", home=tmp_path / "home", observe=value)


def test_the_environment_cannot_switch_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOOLGATE_OBSERVE", "TOOLGATE_MODE", "OBSERVE"):
        monkeypatch.setenv(name, "true")
    with gateway_with(tmp_path, tool(pay), settings=PERMITTED) as gateway:
        assert not gateway.observing


def test_an_empty_policy_still_needs_the_permission(tmp_path: Path) -> None:
    policies_for(tmp_path)
    with pytest.raises(PolicyError, match="no p row"):
        Gateway.from_policies(tmp_path / "policies", home=tmp_path / "home")


def test_a_reload_cannot_slip_into_it(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(pay)) as gateway:
        policies_for(tmp_path, tool(pay), settings=PERMITTED)
        assert gateway.reload()
        assert not gateway.observing
        assert isinstance(one(gateway.session(Principal("mallory")), "pay", order_id="A-1", cents=5), Denied)


def test_a_policy_that_takes_the_permission_back_is_refused_and_said(tmp_path: Path) -> None:
    """The last good set stays; once it is applied, the epoch stops this process: it never observes on in silence."""
    with observing(tmp_path, tool(pay)) as gateway:
        before = gateway.policy_digest
        policies_for(tmp_path, tool(pay))
        assert not gateway.reload()
        assert gateway.policy_digest == before
        gateway._runtime.epoch.apply("sha256:" + "0" * 64, "sam")
        assert reason(one(gateway.session(ANA), "pay", order_id="A-1", cents=5)) is ReasonCode.POLICY_STALE
    (refused,) = records(tmp_path, "policy.refused")
    assert "does not permit that" in refused["why"]
    assert refused["observe"] is True


def test_sighup_keeps_the_mode(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay)) as gateway:
        policies_for(tmp_path, tool(pay, version="2"), settings=PERMITTED)
        before, loaded = gateway.policy_digest, threading.Event()
        note = gateway._runtime.epoch.report

        def told(*given: Any) -> None:
            note(*given)
            loaded.set()

        gateway._runtime.epoch.report = told  # type: ignore[method-assign]
        os.kill(os.getpid(), signal.SIGHUP)
        assert loaded.wait(20)
        assert gateway.policy_digest != before
        assert gateway.observing
        assert isinstance(one(gateway.session(Principal("mallory")), "pay", order_id="A-1", cents=5), Released)
    assert all(each["observe"] is True for each in records(tmp_path))


def test_a_model_reads_the_same_in_both_modes(tmp_path: Path) -> None:
    def told(base: Path, gateway: Gateway) -> tuple[Any, ...]:
        session = gateway.session(ANA, conversation="c")
        message = session.dispatch_sync([{"id": "1", "type": "function", "function": call("pay")}])
        return message, session.tools(), session.instructions()

    def call(name: str) -> dict[str, str]:
        return {"name": name, "arguments": '{"order_id":"A-1","cents":5}'}

    with gateway_with(tmp_path / "a", tool(pay)) as gateway:
        enforced = told(tmp_path / "a", gateway)
    with observing(tmp_path / "b", tool(pay)) as gateway:
        observed = told(tmp_path / "b", gateway)
    assert enforced == observed
    assert "observ" not in json.dumps(observed)


def test_a_model_cannot_ask_for_it(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(pay), settings=PERMITTED) as gateway:
        session = gateway.session(Principal("mallory"))
        for extra in ({"observe": True}, {"observed": {"decision": "allow"}}, {"would": "allow"}):
            assert isinstance(one(session, "pay", order_id="A-1", cents=5, **extra), Denied)
        assert isinstance(session.judge_sync([ask("observe", on=True)])[0], Denied)


def test_parallel_calls_on_one_loop(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay, serialize_by=["order_id"])) as gateway:
        calls = [ask("pay", order_id="A-1", cents=n) for n in range(8)]
        outcomes: list[Outcome] = asyncio.run(gateway.session(Principal("mallory")).judge(calls))
    assert all(isinstance(each, Released) for each in outcomes)
    assert {each["reason"] for each in would(tmp_path)} == {"not_granted"}


def full_disk(*_: object) -> None:
    raise NotRecorded(ORIGIN, "no space left")
