"""A candidate policy beside the one in force: it sees live calls, changes nothing, and says where it differs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from gateway import Gateway, Principal
from gateway.cli.app import app
from gateway.domain.call import Denied, Parked, Released
from gateway.policy_tools import shadow as shadows
from gateway.policy_tools.dry import DryRun
from tests.adversarial.observing import PERMITTED, SECRET, log_text, pay
from tests.support import ANA, ORIGIN, Tool, one, policies_for, reason, records, result, tool, vote, write_policies


def read(path: str) -> str:
    return str(path)


SMALL = {"id": "small", "require": "args.cents <= 100", "tell_model": "Too much.", "tell_people": "over 1.00"}


@contextmanager
def beside(base: Path, active: Tool, candidate: Tool | None, *, mode: bool = False, **more: Any) -> Iterator[Gateway]:
    """A gateway with one tool, and a candidate with its own contract for it."""
    policies_for(base, active, **more)
    if candidate is not None:
        write_policies(base / "candidate", [candidate], settings=more.get("settings"))
    where = {"home": base / "home", "origin": ORIGIN, "shadow": base / "candidate"}
    with Gateway.from_policies(base / "policies", observe=mode, **where) as gateway:
        if active.fn is not None:
            gateway.register(active.fn)
        yield gateway


def differences(base: Path) -> list[tuple[str, str, str]]:
    return [(each["decided"], each["would"], each["reason"]) for each in records(base, "policy.shadow")]


def test_a_stricter_candidate_stops_nothing_and_says_so(tmp_path: Path) -> None:
    with beside(tmp_path, tool(pay), tool(pay, rules=[SMALL])) as gateway:
        assert result(one(gateway.session(ANA), "pay", order_id="A-1", cents=500)) == "paid 500 for A-1"
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=5), Released)
    assert differences(tmp_path) == [("allow", "deny", "rule")]
    (found,) = records(tmp_path, "policy.shadow")
    assert found["rule"].endswith("(small)")
    assert found["call"]["call_id"] == records(tmp_path, "call.intent")[0]["call"]["call_id"]


def test_a_wider_candidate_permits_nothing(tmp_path: Path) -> None:
    with beside(tmp_path, tool(pay, risk="high", effect="external", rules=[SMALL]), tool(pay)) as gateway:
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=500), Denied)
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=5), Parked)
    assert differences(tmp_path) == [("deny", "allow", ""), ("escalate", "allow", "")]
    assert records(tmp_path, "call.intent") == []


def test_facts_are_those_of_the_call_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    asked: list[str] = []

    def balance(_: object, order_id: str) -> int:
        asked.append(order_id)
        return 50

    facts = {"left": {"provider": "balance", "args": ["order_id"]}}
    rule = SMALL | {"require": "facts.left >= args.cents"}
    active = tool(pay, facts=facts, rules=[SMALL | {"require": "facts.left > 0"}])
    other = {"renamed": facts["left"]}
    candidate = tool(pay, facts=other, rules=[rule | {"require": "facts.renamed >= args.cents"}])
    with beside(tmp_path, active, candidate) as gateway:
        gateway.register_fact("balance", balance)
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=80), Released)
    assert asked == ["A-1"]
    assert differences(tmp_path) == [("allow", "deny", "rule")]


def test_a_fact_that_the_call_does_not_hold_is_never_guessed(tmp_path: Path) -> None:
    asked: list[str] = []
    facts = {"left": {"provider": "balance", "args": ["order_id"]}}
    candidate = tool(pay, facts=facts, rules=[SMALL | {"require": "facts.left > 1000"}])
    with beside(tmp_path, tool(pay), candidate) as gateway:
        gateway.register_fact("balance", lambda _, order_id: asked.append(order_id))
        one(gateway.session(ANA), "pay", order_id="A-1", cents=80)
        gateway._beside.close()  # type: ignore[union-attr]
        assert gateway._beside.tally.undecidable == 1  # type: ignore[union-attr]
    assert (asked, differences(tmp_path)) == ([], [])


def test_what_a_guard_found_is_never_guessed(tmp_path: Path) -> None:
    """The candidate opens no file of yours, so it cannot say that there is one."""
    guarded = tool(read, guards={"path": {"kind": "path", "root": "files"}})
    (tmp_path / "files").mkdir()
    with beside(tmp_path, guarded, guarded, settings={"roots": {"files": str(tmp_path / "files")}}) as gateway:
        assert reason(one(gateway.session(ANA), "read", path="none.txt")) == "guard_found"
        assert reason(one(gateway.session(ANA), "read", path="../none.txt")) == "guard"
        gateway._beside.close()  # type: ignore[union-attr]
        tally = gateway._beside.tally  # type: ignore[union-attr]
    assert (tally.judged, tally.undecidable, differences(tmp_path)) == (1, 1, [])


def test_a_fact_that_repeats_a_secret_is_never_guessed(tmp_path: Path) -> None:
    facts = {"owner": {"provider": "owner", "args": ["order_id"]}}
    sees = SMALL | {"require": "facts.owner != 'nobody'"}
    active = tool(pay, facts=facts, secrets=["order_id"], rules=[sees])
    candidate = tool(pay, facts=facts, secrets=["order_id"], rules=[sees | {"require": f"facts.owner == '{SECRET}'"}])
    with beside(tmp_path, active, candidate) as gateway:
        gateway.register_fact("owner", lambda _, order_id: order_id)
        assert isinstance(one(gateway.session(ANA), "pay", order_id=SECRET, cents=5), Released)
        gateway._beside.close()  # type: ignore[union-attr]
        assert gateway._beside.tally.undecidable == 1  # type: ignore[union-attr]
    assert differences(tmp_path) == []


def test_a_fact_about_other_arguments_is_never_taken(tmp_path: Path) -> None:
    """The candidate fills in another default, so it would have asked something else."""

    def owed(order_id: str, cents: int = 1) -> str:
        return order_id

    facts = {"enough": {"provider": "enough", "args": ["cents"]}}
    rule = SMALL | {"require": "facts.enough == true"}

    def filled(cents: int) -> Tool:
        made = tool(owed, facts=facts, rules=[rule])
        made.contract["parameters"]["properties"]["cents"]["default"] = cents
        return made

    with beside(tmp_path, filled(1), filled(1000)) as gateway:
        gateway.register_fact("enough", lambda _, cents: cents < 100)
        assert isinstance(one(gateway.session(ANA), "owed", order_id="A-1"), Released)
        assert isinstance(one(gateway.session(ANA), "owed", order_id="A-1", cents=2), Released)
        gateway._beside.close()  # type: ignore[union-attr]
        tally = gateway._beside.tally  # type: ignore[union-attr]
    assert (tally.undecidable, tally.judged, tally.differences) == (1, 1, 0)


def test_a_redeemed_call_is_not_judged_a_second_time(tmp_path: Path) -> None:
    with beside(tmp_path, tool(pay, risk="high", effect="external"), tool(pay)) as gateway:
        session = gateway.session(ANA, conversation="c")
        parked = one(session, "pay", order_id="A-1", cents=5)
        assert isinstance(parked, Parked)
        vote(tmp_path, parked.request_id)
        assert result(session.resume_sync(parked.request_id)) == "paid 5 for A-1"
        gateway._beside.close()  # type: ignore[union-attr]
        assert gateway._beside.tally.judged == 1  # type: ignore[union-attr]
    assert differences(tmp_path) == [("escalate", "allow", "")]


def test_limits_of_the_one_in_force_are_not_charged_by_it(tmp_path: Path) -> None:
    limited = tool(pay, limits={"per_conversation": 2})
    with beside(tmp_path, limited, limited) as gateway:
        session = gateway.session(ANA, conversation="c")
        outcomes = [one(session, "pay", order_id="A-1", cents=n) for n in range(3)]
    assert [isinstance(each, Released) for each in outcomes] == [True, True, False]
    assert differences(tmp_path) == []


def test_secrets_do_not_come_out_of_it(tmp_path: Path) -> None:
    rule = SMALL | {"require": "args.order_id != 'x' && args.cents < 0"}
    with beside(tmp_path, tool(pay, secrets=["order_id"]), tool(pay, secrets=["order_id"], rules=[rule])) as gateway:
        one(gateway.session(ANA), "pay", order_id=SECRET, cents=5)
    assert differences(tmp_path) == [("allow", "deny", "rule")]
    assert SECRET not in log_text(tmp_path)


@pytest.mark.parametrize("broken", ["missing", "unreadable", "refused"])
def test_a_candidate_that_cannot_be_loaded_stops_nobody_and_is_said(tmp_path: Path, broken: str) -> None:
    if broken != "missing":
        write_policies(tmp_path / "candidate", [tool(pay)])
        text = "tool: [" if broken == "unreadable" else "tool: pay\n"
        (tmp_path / "candidate" / "tools" / "pay.yaml").write_text(text)
    with capture_logs() as alarms, beside(tmp_path, tool(pay), None) as gateway:
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=5), Released)
        said = status(tmp_path)
    assert "the shadow failed" in said
    assert [each["event"] for each in alarms].count("shadow_not_loaded") == 1


def test_a_failing_shadow_is_said_once_and_calls_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DryRun, "judge", lambda *_: 1 / 0)
    with capture_logs() as alarms, beside(tmp_path, tool(pay), tool(pay)) as gateway:
        for cents in range(5):
            assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=cents), Released)
    assert [each["event"] for each in alarms].count("shadow_failed") == 1


def test_taking_a_call_cannot_fail_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "ended_call", lambda *_: 1 / 0)
    with beside(tmp_path, tool(pay), tool(pay)) as gateway:
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=5), Released)


def test_a_slow_shadow_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More calls than it can hold are skipped and counted; the calls themselves never wait."""
    stuck, judge = threading.Event(), DryRun.judge

    def late(run: DryRun, asked: Any) -> Any:
        stuck.wait(20)
        return judge(run, asked)

    monkeypatch.setattr(DryRun, "judge", late)
    monkeypatch.setattr(shadows, "MAX_WAITING", 3)
    with beside(tmp_path, tool(pay), tool(pay)) as gateway:
        for cents in range(10):
            assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=cents), Released)
        assert gateway._beside is not None
        assert gateway._beside.tally.skipped >= 6
        stuck.set()
        gateway._beside.close()
        tally = gateway._beside.tally
    assert tally.judged + tally.skipped == 10


def test_a_reload_of_the_one_in_force_reads_the_candidate_again(tmp_path: Path) -> None:
    with beside(tmp_path, tool(pay), tool(pay)) as gateway:
        write_policies(tmp_path / "candidate", [tool(pay, rules=[SMALL])])
        assert gateway.reload()
        one(gateway.session(ANA), "pay", order_id="A-1", cents=500)
    assert differences(tmp_path) == [("allow", "deny", "rule")]


def test_it_works_beside_observe_mode(tmp_path: Path) -> None:
    settings = PERMITTED
    with beside(tmp_path, tool(pay, rules=[SMALL]), tool(pay), mode=True, settings=settings) as gateway:
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=500), Released)
        assert isinstance(one(gateway.session(Principal("mallory")), "pay", order_id="A-1", cents=500), Released)
    assert differences(tmp_path) == [("deny", "allow", "")]


def test_redeemed_unread_and_limited_calls_say_nothing_about_policy(tmp_path: Path) -> None:
    with beside(tmp_path, tool(pay, limits={"repeats": 1}), tool(pay)) as gateway:
        session = gateway.session(ANA, conversation="c")
        one(session, "pay", order_id="A-1", cents=5)
        assert reason(one(session, "pay", order_id="A-1", cents=5)) == "repeated_call"
    assert differences(tmp_path) == []


def test_status_and_figures_say_it(tmp_path: Path) -> None:
    with beside(tmp_path, tool(pay), tool(pay, rules=[SMALL])) as gateway:
        one(gateway.session(ANA), "pay", order_id="A-1", cents=500)
        assert gateway._beside is not None
        gateway._beside.close()
        gateway._report()
        assert "1 calls judged, 1 otherwise, 0 undecidable, 0 skipped" in " ".join(status(tmp_path).split())
    where = ["--policies", str(tmp_path / "policies"), "--home", str(tmp_path / "home")]
    stats = CliRunner().invoke(app, ["audit", "stats", *where]).output
    assert "allow -> deny" in stats
    found = CliRunner().invoke(app, ["audit", "search", "--decision", "would_deny", *where]).output
    assert "allow here, deny there: rule" in found


def status(base: Path) -> str:
    where = ["--policies", str(base / "policies"), "--home", str(base / "home")]
    done = CliRunner().invoke(app, ["policy", "status", *where])
    assert done.exit_code == 0, done.output
    return done.output
