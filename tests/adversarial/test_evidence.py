"""I3 and I10 at the gateway: no execution without evidence, no result without it, and no secret in it.

Catalogue C018, C072, C088, C111, C112, C120, C121, C126, C142.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import Principal, ToolCall
from gateway.audit.encode import encode
from gateway.audit.intents import logged_calls
from gateway.domain.call import Outcome, Parked, Released, Unknown
from gateway.domain.event import LogRepaired
from gateway.office import Office, verify_home
from gateway.session import Session
from gateway.settings import locate
from gateway.shapes.answers import content
from tests.fakes.clock import FakeClock
from tests.fakes.files import FaultyFiles
from tests.support import (
    ANA,
    ORIGIN,
    ask,
    gateway_with,
    log_on,
    one,
    open_gateway,
    policies_for,
    reason,
    records,
    result,
    tool,
    vote,
)

Judge = Callable[[Session, ToolCall], Outcome]


def blocking(session: Session, call: ToolCall) -> Outcome:
    return session.judge_sync([call])[0]


def awaiting(session: Session, call: ToolCall) -> Outcome:
    return asyncio.run(session.judge([call]))[0]


FAULTS: dict[str, Callable[[FaultyFiles], None]] = {
    "no_space": lambda files: files.arm("write", errno.ENOSPC),
    "io_error": lambda files: files.arm("write", errno.EIO),
    "failed_sync": lambda files: files.arm("fdatasync", errno.EIO),
    "short_write": lambda files: setattr(files, "short", True),
}


@pytest.mark.parametrize("judge", [blocking, awaiting])
@pytest.mark.parametrize("fault", FAULTS)
def test_c111_without_a_durable_intent_nothing_runs(tmp_path: Path, fault: str, judge: Judge) -> None:
    ran: list[str] = []

    def pay(order: str) -> str:
        ran.append(order)
        return "paid"

    subject = tool(pay, effect="external", effect_key=["order"])
    policies_for(tmp_path, subject)
    files = FaultyFiles()
    with open_gateway(tmp_path, subject, log=log_on(tmp_path, files)) as gateway, capture_logs() as alarms:
        session = gateway.session(ANA)
        FAULTS[fault](files)
        outcome = judge(session, ask("pay", order="A"))
        assert reason(outcome) == "audit_unavailable"
        assert json.loads(content(outcome))["error"]["code"] == "temporarily_unavailable"
        assert not ran
        assert not gateway.healthy
        assert "audit_unavailable" in {each["event"] for each in alarms}
        assert "denial_not_recorded" in {each["event"] for each in alarms}
        files.heal()
        assert result(judge(session, ask("pay", order="A"))) == "paid"  # the claim was burnt, so the order is free
        assert gateway.healthy
    assert ran == ["A"]
    assert verify_home(locate(tmp_path / "policies", tmp_path / "home")).ok
    assert len(records(tmp_path, "call.outcome")) == 1


@pytest.mark.parametrize("judge", [blocking, awaiting])
@pytest.mark.parametrize("fault", FAULTS)
def test_c112_without_a_durable_outcome_the_result_is_withheld(tmp_path: Path, fault: str, judge: Judge) -> None:
    files = FaultyFiles()

    def pay(order: str) -> str:
        FAULTS[fault](files)
        return "paid and nobody may know"

    subject = tool(pay, effect="external", effect_key=["order"])
    policies_for(tmp_path, subject)
    with open_gateway(tmp_path, subject, log=log_on(tmp_path, files)) as gateway, capture_logs() as alarms:
        session = gateway.session(ANA)
        outcome = judge(session, ask("pay", order="A"))
        assert isinstance(outcome, Unknown)
        assert "nobody may know" not in content(outcome)
        assert json.loads(content(outcome))["error"]["code"] == "unknown_outcome"
        assert not gateway.healthy
        assert {"audit_unavailable", "outcome_not_recorded"} <= {each["event"] for each in alarms}
        files.heal()
        assert reason(judge(session, ask("pay", order="A"))) == "effect_held"
    where = locate(tmp_path / "policies", tmp_path / "home")
    assert verify_home(where).ok
    (call,) = logged_calls(where.audit, [ORIGIN]).values()
    assert call.unfinished
    with open_gateway(tmp_path, subject) as gateway:
        assert reason(one(gateway.session(ANA), "pay", order="A")) == "effect_held"
    with Office.open(tmp_path / "policies", tmp_path / "home") as office:
        assert office.settle(call, "happened", by="max", why="the bank says so")


def test_c112_a_spent_grant_whose_outcome_was_lost_gives_nothing_back(tmp_path: Path) -> None:
    files = FaultyFiles()

    def pay(order: str) -> str:
        files.arm("fdatasync")
        return "paid"

    subject = tool(pay, risk="high", effect="external")
    policies_for(tmp_path, subject)
    with open_gateway(tmp_path, subject, log=log_on(tmp_path, files)) as gateway:
        session = gateway.session(ANA, conversation="c")
        parked = one(session, "pay", order="A")
        assert isinstance(parked, Parked)
        vote(tmp_path, parked.request_id)
        assert isinstance(session.resume_sync(parked.request_id), Unknown)
        files.heal()
        assert reason(session.resume_sync(parked.request_id)) == "grant_spent"


@pytest.mark.parametrize("fault", FAULTS)
def test_c111_a_request_that_cannot_be_recorded_is_not_parked(tmp_path: Path, fault: str) -> None:
    def pay(order: str) -> str:
        return order

    subject = tool(pay, risk="high")
    policies_for(tmp_path, subject)
    files = FaultyFiles()
    with open_gateway(tmp_path, subject, log=log_on(tmp_path, files)) as gateway:
        FAULTS[fault](files)
        assert reason(one(gateway.session(ANA), "pay", order="A")) == "audit_unavailable"
        files.heal()
    with Office.open(tmp_path / "policies", tmp_path / "home") as office:
        assert office.desk().pending() == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The audit folder on a file system of four MiB."""
    folder = tmp_path / "home" / "audit"
    folder.mkdir(parents=True, mode=0o700)
    (tmp_path / "home").chmod(0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"no small file system: {done.stderr}")
        pytest.skip(f"mounting a small file system needs root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("judge", [blocking, awaiting])
def test_c142_a_disk_that_fills_up_during_a_call_still_takes_its_outcome(
    tmp_path: Path, small_disk: Path, judge: Judge
) -> None:
    def fill(order: str) -> str:
        with pytest.raises(OSError, match="No space"), (small_disk / "filler").open("wb", buffering=0) as file:  # noqa: PT012
            while True:
                file.write(b"x" * 4096)
        return "filled"

    ran: list[str] = []

    def pay(order: str) -> str:
        ran.append(order)
        return order

    subjects = (tool(fill, effect="external"), tool(pay, effect="external"))
    with gateway_with(tmp_path, *subjects, settings={"audit": {"preview_chars": 4096}}) as gateway:
        session = gateway.session(ANA)
        assert result(judge(session, ask("fill", order="A"))) == "filled"
        outcomes = [judge(session, ask("pay", order=f"{number:020000}")) for number in range(100)]
        denied = [each for each in outcomes if not isinstance(each, Released)]
        assert denied, "the disk was not full"
        assert {reason(each) for each in denied} <= {"audit_unavailable", "too_many_denials"}
        (small_disk / "filler").unlink()
    assert len(ran) == len(outcomes) - len(denied)
    where = locate(tmp_path / "policies", tmp_path / "home")
    assert verify_home(where).ok
    calls = logged_calls(where.audit, [ORIGIN]).values()
    assert {each.outcome for each in calls} == {"released"}
    assert len(calls) == len(ran) + 1


# every end is a record


def test_c018_c126_every_denial_is_recorded_with_its_step_and_reason(tmp_path: Path) -> None:
    def pay(order: str) -> str:
        return order

    def secret_tool() -> str:
        return ""

    subjects = (tool(pay, limits={"per_conversation": 4}), tool(secret_tool))
    rows = ["p, user:ana, secret_tool, call, deny"]
    with gateway_with(tmp_path, *subjects, rows=rows, settings={"loop": {"consecutive_denials": 1000}}) as gateway:
        session = gateway.session(ANA)
        stranger = gateway.session(Principal("nobody"))
        seen = [
            session.judge_sync([ToolCall("1", "pay", '{"order": "A", "order": "B"}')])[0],
            session.judge_sync([ToolCall("2", "pay", b"\xff\xfe")])[0],
            session.judge_sync([ToolCall("3", None, "{}")])[0],
            session.judge_sync([ToolCall("4", "pay", object())])[0],
            one(session, "no_such_tool"),
            one(session, "secret_tool"),
            one(stranger, "pay", order="A"),
            one(session, "pay", ordre="A"),
        ]
        assert all(isinstance(one(session, "pay", order=f"{number}"), Released) for number in range(3))
        seen.append(one(session, "pay", order="more"))
        gateway._runtime.kill_switches.throw("tool", "pay", by="max", why="drill\x1b[2J")
        seen.append(one(session, "pay", order="C"))
    found = records(tmp_path, "call.denied")
    assert [(each["step"], each["reason"]) for each in found] == [
        (1, "bad_json"),
        (1, "bad_json"),
        (1, "bad_call"),
        (1, "bad_call"),
        (2, "unknown_tool"),
        (2, "deny_rule"),
        (2, "not_granted"),
        (4, "schema"),
        (3, "tool_budget"),
        (0, "tool_off"),
    ]
    assert [each["call"]["call_id"] for each in found] == [outcome.ctx.id for outcome in seen]
    assert [each["reason"] for each in found] == [reason(outcome) for outcome in seen]
    assert found[5]["rule"].startswith("policy.csv:")
    assert found[6]["call"]["principal"] == "nobody"
    texts = {content(outcome).replace(outcome.ctx.id, "") for outcome in seen[4:7]}
    assert len(texts) == 1  # unknown, forbidden and somebody else's read alike


def test_c120_hostile_text_stays_inside_one_line(tmp_path: Path) -> None:
    legal = 'x\n{"seq":0}\u2028\u202e","kind":"call.outcome'
    hostile = 'x\n{"seq":0}\u2028\x1b[2J\u202e","kind":"call.outcome'

    def say(text: str) -> str:
        return hostile

    with gateway_with(tmp_path, tool(say)) as gateway:
        session = gateway.session(ANA)
        assert result(one(session, "say", text=legal)) == hostile
        session.judge_sync([ToolCall(hostile, hostile, "{}")])
    every = records(tmp_path)
    assert [each["seq"] for each in every] == list(range(len(every)))
    assert records(tmp_path, "call.intent")[0]["arguments"] == {"text": legal}
    assert verify_home(locate(tmp_path / "policies", tmp_path / "home")).ok


def test_c120_c121_an_event_is_encoded_whatever_stands_in_it() -> None:
    circle: dict[str, object] = {}
    circle["again"] = circle
    for hostile in ("half \ud800", 2**70, object(), circle, {1: "x"}, b"bytes", {"a": ["\udfff", 10**30]}):
        written = encode(LogRepaired("d", (hostile,)))  # type: ignore[arg-type]
        assert json.loads(written)["kind"] == "log.repaired"
        assert b"\n" not in written


class Loud(Exception):
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


@pytest.mark.parametrize("where", ["tool", "fact"])
def test_c121_what_cannot_be_printed_is_recorded_all_the_same(tmp_path: Path, where: str) -> None:
    def fail() -> str:
        raise Loud

    def fact(_: object) -> object:
        raise Loud

    more: dict[str, Any] = {}
    if where == "fact":
        more = {
            "facts": {"it": {"provider": "it"}},
            "rules": [{"id": "r", "require": "facts.it.ok == true", "tell_model": "no"}],
        }
    with gateway_with(tmp_path, tool(fail, **more)) as gateway:
        gateway.register_fact("it", fact)
        one(gateway.session(ANA), "fail")
    found = records(tmp_path, "call.outcome" if where == "tool" else "call.denied")
    assert "Loud" in found[0]["detail"]


def test_c088_a_clock_that_runs_backwards_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr("gateway.wiring.SystemClock", lambda: clock)

    def say(text: str) -> str:
        clock.set_wall(-3600)
        return text

    with gateway_with(tmp_path, tool(say)) as gateway:
        session = gateway.session(ANA)
        for number in range(3):
            assert result(one(session, "say", text=str(number))) == str(number)
    every = records(tmp_path)
    assert [each["seq"] for each in every] == list(range(len(every)))
    times = [each["time"] for each in every]
    assert times != sorted(times)
    said = [each["arguments"]["text"] for each in records(tmp_path, "call.intent")]
    assert said == ["0", "1", "2"]
    assert verify_home(locate(tmp_path / "policies", tmp_path / "home")).ok
