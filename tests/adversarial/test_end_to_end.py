"""Catalogue, on a whole gateway: what the rooms promise one by one holds where they meet (C055, C060-C063, C085)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import Denied, Outcome, Parked, PolicyError, Principal, Released, Session, ToolCall
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
    vote,
)


class Shop:
    """One tool with an effect that can be counted."""

    def __init__(self) -> None:
        self.paid: list[str] = []

    def tools(self, **more: Any) -> Tool:
        def pay(order: str) -> str:
            self.paid.append(order)
            return f"paid {order}"

        return tool(pay, **({"risk": "high", "effect": "external", "effect_key": ["order"]} | more))


@pytest.mark.parametrize(
    ("sent", "executed"),
    [("1", 1.0), ("1.0", 1.0), ("1e0", 1.0), ("-0", 0.0), ("-0.0", 0.0), ("0.1", 0.1), ("-12.50", -12.5)],
)
def test_c014_what_is_hashed_and_recorded_is_what_runs(tmp_path: Path, sent: str, executed: float) -> None:
    ran: list[Any] = []

    def add(amount: float) -> str:
        ran.append(amount)
        return "ok"

    with gateway_with(tmp_path, tool(add)) as gateway:
        session = gateway.session(ANA)
        session.judge_sync([ToolCall("a", "add", f'{{"amount": {sent}}}')])
        session.judge_sync([ToolCall("b", "add", json.dumps({"amount": executed + 0.0}))])
    assert [(type(each), repr(each)) for each in ran] == [(float, repr(executed))] * 2
    first, second = records(tmp_path, "call.intent")
    assert first["arguments"] == {"amount": executed}
    assert first["effective_digest"] == second["effective_digest"]


def test_c055_a_hundred_redemptions_at_once_are_one_execution(tmp_path: Path) -> None:
    shop = Shop()
    with gateway_with(tmp_path, shop.tools()) as gateway:
        parked = one(gateway.session(ANA, conversation="c"), "pay", order="A")
        assert isinstance(parked, Parked)
        vote(tmp_path, parked.request_id)

        async def all_at_once() -> list[Outcome]:
            sessions = [gateway.session(ANA, conversation="c") for _ in range(100)]
            return await asyncio.gather(*(each.resume(parked.request_id) for each in sessions))

        outcomes = asyncio.run(all_at_once())
    assert shop.paid == ["A"]
    assert len(records(tmp_path, "call.intent")) == 1
    assert any(isinstance(each, Released) for each in outcomes)
    assert {each.refusal.reason for each in outcomes if isinstance(each, Denied)} <= {"grant_spent", "busy"}


def _comment(base: Path) -> None:
    for name in ("tools/pay.yaml", "settings.yaml", "approvers.yaml", "policy.csv"):
        path = base / "policies" / name
        path.write_text(f"# looked over\n{path.read_text()}")


def _rewritten(**more: Any) -> Callable[[Path], None]:
    return lambda base: void(policies_for(base, Shop().tools(**more)))


def _row(row: str) -> Callable[[Path], None]:
    return lambda base: void(policies_for(base, Shop().tools(), rows=[row]))


def void(_: object) -> None: ...


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        (_comment, "paid A"),
        (_rewritten(), "paid A"),
        (_rewritten(description="Pays an order, at once."), "approval_invalid"),
        (_rewritten(code_version="2"), "approval_invalid"),
        (_rewritten(limits={"per_minute": 3}), "approval_invalid"),
        (_row("p, user:ana, pay, call, deny"), "deny_rule"),
        (_row("p, user:ana, pay, see, deny"), "deny_rule"),
        (_row("p, user:bob, pay, approve, deny"), "parked"),
    ],
    ids=["comments", "nothing", "words", "code", "limits", "right to call", "right to see", "right to approve"],
)
def test_c060_c061_c062_a_grant_meets_the_policy_of_the_moment(
    tmp_path: Path, change: Callable[[Path], None], ends: str
) -> None:
    """Parked, approved, the policy edited, the process started again; then redeemed."""
    shop = Shop()
    with gateway_with(tmp_path, shop.tools()) as gateway:
        parked = one(gateway.session(ANA, conversation="c"), "pay", order="A")
        assert isinstance(parked, Parked)
        vote(tmp_path, parked.request_id)
    change(tmp_path)
    with open_gateway(tmp_path, shop.tools()) as gateway:
        outcome = gateway.session(ANA, conversation="c").resume_sync(parked.request_id)
    if ends == "parked":
        assert isinstance(outcome, Parked)
    elif ends == "paid A":
        assert result(outcome) == ends
    else:
        assert reason(outcome) == ends
    assert shop.paid == (["A"] if ends == "paid A" else [])


def test_c063_a_database_that_turns_to_garbage_denies(tmp_path: Path) -> None:
    shop = Shop()
    with gateway_with(tmp_path, shop.tools(risk="low"), tool(lambda: "x", name="fine")) as gateway:
        session = gateway.session(ANA)
        for name in ("state.db", "state.db-wal"):
            (tmp_path / "home" / "state" / name).write_bytes(b"\xff" * 65_536)
        assert reason(one(session, "pay", order="A")) == "state_unavailable"
    assert shop.paid == []
    assert records(tmp_path, "call.intent") == []
    assert [each["reason"] for each in records(tmp_path, "call.denied")] == ["state_unavailable"]


def test_c085_a_tool_that_calls_tools_is_bounded_in_depth_and_stays_who_it_was(tmp_path: Path) -> None:
    reached: dict[str, Session] = {}

    def again(depth: int) -> str:
        outcome = one(reached["root"], "again", depth=depth + 1)  # through a session of somebody else
        return f"{depth}:{outcome.ctx.principal.id}:{'' if isinstance(outcome, Released) else reason(outcome)}"

    with gateway_with(tmp_path, tool(again), settings={"loop": {"depth": 2}}) as gateway:
        reached["root"] = gateway.session(Principal("root"))
        assert result(one(gateway.session(ANA), "again", depth=0)) == "0:ana:"
    calls = [each["call"] for each in records(tmp_path, "call.intent")]
    assert [each["depth"] for each in calls] == [0, 1, 2]
    assert {each["principal"] for each in calls} == {"ana"}
    assert [each["parent_id"] for each in calls[1:]] == [each["call_id"] for each in calls[:-1]]
    (denied,) = records(tmp_path, "call.denied")
    assert (denied["reason"], denied["call"]["depth"]) == ("depth_exceeded", 3)


def test_c138_an_empty_text_is_no_arguments_and_nothing_else(tmp_path: Path) -> None:
    def ping() -> str:
        return "pong"

    def echo(word: str) -> str:
        return word

    with gateway_with(tmp_path, tool(ping), tool(echo)) as gateway:
        session = gateway.session(ANA)
        empty = [session.judge_sync([ToolCall(name, name, "")])[0] for name in ("ping", "echo", "no_such_tool")]
        assert result(empty[0]) == "pong"
        assert reason(empty[1]) == "schema"
        assert reason(empty[2]) == "unknown_tool"
        assert reason(session.judge_sync([ToolCall("s", "ping", " ")])[0]) == "bad_json"
        assert result(one(session, "ping")) == "pong"
        assert ask("ping").arguments == "{}"


def test_c073_a_tool_whose_failure_may_hide_an_effect_has_no_fallback(tmp_path: Path) -> None:
    """Else one payment that fails after it was made is followed by another (I5)."""
    for more in ({"effect": "external"}, {"effect": "internal"}):
        with (
            pytest.raises(PolicyError, match="may have had its effect"),
            gateway_with(
                tmp_path, Shop().tools(**more, execution={"fallback": "fine"}), tool(lambda: "x", name="fine")
            ),
        ):
            pass


def test_c073_a_result_that_breaks_its_schema_says_that_the_tool_ran(tmp_path: Path) -> None:
    shop = Shop()
    with gateway_with(tmp_path, shop.tools(risk="low", result={"schema": {"type": "integer"}})) as gateway:
        outcome = one(gateway.session(ANA), "pay", order="A")
    assert isinstance(outcome, Released)
    assert outcome.failure is not None
    assert json.loads(outcome.content)["error"]["code"] == "bad_result"
    assert "did run" in json.loads(outcome.content)["error"]["suggestion"]
    assert shop.paid == ["A"]
