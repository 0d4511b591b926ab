"""Observe mode: nothing is denied, everything is decided, and recorded as it would have been."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from gateway import Principal, ToolCall
from gateway.cli.app import app
from gateway.domain.call import Released
from tests.adversarial.observing import PERMITTED, SECRET, last, log_text, look_up, observing, pay, wild, would
from tests.support import ANA, ask, one, records, result, tool

# what would have been decided, and that it ran


def test_a_call_that_nobody_granted_runs_and_says_so(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay)) as gateway:
        outcome = one(gateway.session(Principal("mallory")), "pay", order_id="A-1", cents=5)
        assert result(outcome) == "paid 5 for A-1"
    (intent,) = records(tmp_path, "call.intent")
    assert intent["observed"]["decision"] == "deny"
    assert intent["observed"]["reason"] == "not_granted"
    assert intent["observed"]["public"] == "tool_not_available"
    assert intent["grant"] == ""
    assert intent["arguments"] == {"order_id": "A-1", "cents": 5}
    assert records(tmp_path, "call.denied") == []


def test_a_rule_that_refuses_lets_the_call_through(tmp_path: Path) -> None:
    rule = {"id": "small", "require": "args.cents <= 100", "tell_model": "Too much.", "tell_people": "over 1.00"}
    with observing(tmp_path, tool(pay, rules=[rule])) as gateway:
        assert result(one(gateway.session(ANA), "pay", order_id="A-1", cents=500)) == "paid 500 for A-1"
    found = last(tmp_path)
    assert (found["decision"], found["step"], found["reason"]) == ("deny", 4, "rule")
    assert found["detail"] == "over 1.00"
    assert found["rule"].endswith("(small)")


def test_nobody_is_asked_for_an_approval(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay, risk="high", effect="external")) as gateway:
        assert result(one(gateway.session(ANA), "pay", order_id="A-1", cents=5)) == "paid 5 for A-1"
    found = last(tmp_path)
    assert found["decision"] == "escalate"
    assert found["reason"] is None
    assert [each["kind"] for each in found["obligations"]] == ["approval"]
    assert records(tmp_path, "approval.requested") == []


def test_a_call_that_is_allowed_says_that_too(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay)) as gateway:
        one(gateway.session(ANA), "pay", order_id="A-1", cents=5)
    (intent,) = records(tmp_path, "call.intent")
    assert intent["observed"]["decision"] == "allow"
    assert "support" in intent["call"]["roles"]
    assert intent["grant"].startswith("policy.csv:")


def test_limits_and_streaks_of_denials_stop_nothing(tmp_path: Path) -> None:
    settings = PERMITTED | {"loop": {"consecutive_denials": 2, "calls_per_conversation": 3, "concurrent_calls": 1}}
    with observing(tmp_path, tool(pay), settings=settings) as gateway:
        session = gateway.session(ANA, conversation="c")
        stranger = gateway.session(Principal("mallory"), conversation="m")
        for cents in range(6):
            assert isinstance(one(session, "pay", order_id="A-1", cents=cents), Released)
            assert isinstance(one(stranger, "pay", order_id="A-1", cents=cents), Released)
    mine = [each["observed"] for each in records(tmp_path, "call.intent") if each["call"]["principal"] == "ana"]
    assert [each["reason"] for each in mine] == [None, None, None, "call_budget", "call_budget", "call_budget"]
    theirs = {each["observed"]["reason"] for each in records(tmp_path, "call.intent")} - {None, "call_budget"}
    assert theirs == {"not_granted"}


def test_arguments_that_do_not_fit_are_handed_over_as_they_were_sent(tmp_path: Path) -> None:
    seen: list[Any] = []

    def note(text: str) -> str:
        seen.append(text)
        return "noted"

    with observing(tmp_path, tool(note, secrets=["text"])) as gateway:
        outcome = gateway.session(ANA).judge_sync([ToolCall("c1", "note", json.dumps({"text": [SECRET]}))])[0]
        assert result(outcome) == "noted"
    assert seen == [[SECRET]]
    (intent,) = records(tmp_path, "call.intent")
    assert intent["observed"]["reason"] == "schema"
    assert intent["arguments"] == {}
    assert intent["effective_digest"] == ""
    assert SECRET not in log_text(tmp_path)
    assert intent["observed"]["arguments"]["properties"]["text"]["items"][0]["chars"] == len(SECRET)


def test_a_result_that_breaks_its_contract_is_handed_on_and_said(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"status": {"type": "integer"}}}
    with observing(tmp_path, tool(look_up, result={"schema": schema})) as gateway:
        outcome = one(gateway.session(ANA), "look_up", order_id="A-1")
        assert result(outcome) == {"status": "delivered", "order": "A-1"}
    (ended,) = records(tmp_path, "call.outcome")
    assert ended["status"] == "released"
    assert ended["observed"]["code"] == "bad_result"


# tools without a contract


def test_a_tool_without_a_contract_runs_and_its_values_stay_out_of_the_log(tmp_path: Path) -> None:
    def fails(password: str) -> str:
        raise ValueError(f"wrong: {password}")

    with observing(tmp_path, tool(pay)) as gateway:
        gateway.register(wild)
        gateway.register(fails)
        session = gateway.session(Principal("agent"))
        one(session, "wild", target=SECRET, options={"deep": [1, True, None, 2.5, SECRET]})
        one(session, "fails", password=SECRET)
    assert SECRET not in log_text(tmp_path)
    intent = records(tmp_path, "call.intent")[0]
    assert intent["call"]["tool"] == "wild"
    assert intent["contract"] == intent["contract_digest"] == intent["risk"] == ""
    assert intent["observed"]["reason"] == "unknown_tool"
    described = intent["observed"]["arguments"]["properties"]
    assert described["target"] == {"type": "string", "chars": len(SECRET), "digest": described["target"]["digest"]}
    deep = described["options"]["properties"]["deep"]
    assert [each["type"] for each in deep["items"]] == ["integer", "boolean", "null", "number", "string"]
    assert deep["items"][4]["digest"] == described["target"]["digest"]  # equal values have equal digests
    failed = records(tmp_path, "call.outcome")[1]
    assert failed["detail"] == "ValueError (not quoted: no contract)"


def test_values_are_recorded_only_where_the_policy_says_so(tmp_path: Path) -> None:
    settings = {"observe": {"arguments": "values"}}
    with observing(tmp_path, tool(pay, secrets=["order_id"]), settings=settings) as gateway:
        gateway.register(look_up)
        one(gateway.session(ANA), "look_up", order_id="A-77")
        one(gateway.session(ANA), "pay", order_id=SECRET, cents="no number")
    first, second = records(tmp_path, "call.intent")
    assert first["arguments"] == {"order_id": "A-77"}
    assert "delivered" in records(tmp_path, "call.outcome")[0]["preview"]
    assert second["arguments"] == {}  # a contract says what is secret, and these do not fit it
    assert SECRET not in log_text(tmp_path).replace(f"paid no number for {SECRET}", "")


def test_personal_arguments_stay_apart(tmp_path: Path) -> None:
    rule = {"id": "no", "require": "args.cents < 0", "tell_model": "No.", "tell_people": "never"}
    with observing(tmp_path, tool(pay, personal=["order_id"], rules=[rule])) as gateway:
        one(gateway.session(ANA), "pay", order_id="Anna Meier", cents=5)
        gateway.session(ANA).judge_sync([ToolCall("x", "pay", '{"order_id": ["Anna Meier"], "cents": 5}')])
    fitting, misfit = records(tmp_path, "call.intent")
    assert fitting["personal"]["sealed"]
    assert fitting["observed"]["detail"] == ""
    assert "order_id" not in misfit["observed"]["arguments"]["properties"]
    assert "Anna" not in log_text(tmp_path)


def test_a_huge_argument_does_not_make_the_record_huge(tmp_path: Path) -> None:
    def bulk(rows: list[int]) -> int:
        return len(rows)

    with observing(tmp_path) as gateway:
        gateway.register(bulk)
        assert result(one(gateway.session(ANA), "bulk", rows=list(range(100_000)))) == 100_000
        nested: Any = 1
        for _ in range(60):
            nested = {"a": nested}
        one(gateway.session(ANA), "bulk", rows=nested)
    flat, deep = would(tmp_path)
    rows = flat["arguments"]["properties"]["rows"]
    assert (rows["count"], rows["cut"], len(rows["items"])) == (100_000, True, 32)
    assert len(json.dumps(deep)) < 4_000


def test_an_agent_without_any_contract_can_be_observed(tmp_path: Path) -> None:
    """The first day: a folder with no tool and no row."""
    with observing(tmp_path) as gateway:
        gateway.register(wild)
        assert isinstance(one(gateway.session(Principal("agent")), "wild", target="x", options={}), Released)
    assert last(tmp_path)["reason"] == "unknown_tool"


def test_readers_of_the_log_say_what_would_have_been(tmp_path: Path) -> None:
    rule = {"id": "small", "require": "args.cents <= 100", "tell_model": "Too much.", "tell_people": "over 1.00"}
    with observing(tmp_path, tool(pay, rules=[rule])) as gateway:
        one(gateway.session(ANA), "pay", order_id="A-1", cents=500)
        one(gateway.session(ANA), "pay", order_id="A-2", cents=5)

    def said(*words: str) -> str:
        where = ["--policies", str(tmp_path / "policies"), "--home", str(tmp_path / "home")]
        done = CliRunner().invoke(app, ["audit", *words, *where])
        assert done.exit_code == 0, done.output
        return done.output

    found = said("search", "--decision", "would_deny")
    assert "would have been denied: rule" in found
    assert found.count("call.intent") == 1
    assert "otherwise: 1 denied, 0 waiting for a person" in said("stats")
    call_id = records(tmp_path, "call.intent")[0]["call"]["call_id"]
    assert "would have been denied: rule" in said("call", call_id)
    assert "over 1.00" in said("call", call_id)
    where = ["--policies", str(tmp_path / "policies"), "--home", str(tmp_path / "home")]
    explained = CliRunner().invoke(app, ["policy", "explain", call_id, *where]).output
    assert "only observed, so it ran; would have been: DENY rule" in explained
    assert "over 1.00" in explained


def test_a_tool_without_a_contract_runs_where_it_always_did(tmp_path: Path) -> None:
    """Connections of many libraries belong to the thread that made them; several calls in one turn are no exception."""
    database = sqlite3.connect(":memory:")

    def query(text: str) -> list[Any]:
        return [row[0] for row in database.execute(text)]

    with observing(tmp_path) as gateway:
        gateway.register(query)
        session = gateway.session(Principal("agent"))
        outcomes = session.judge_sync([ask("query", text="SELECT 1"), ask("query", text="SELECT 2")])
        assert [result(each) for each in outcomes] == [[1], [2]]
    database.close()
