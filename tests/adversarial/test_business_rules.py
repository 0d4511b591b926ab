"""What is not yours and what does not exist read alike to the byte, whatever the contract asks of it (C131)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import Gateway, Principal, ToolCall
from gateway.domain.decision import ReasonCode
from tests.support import ANA, gateway_with, one, reason, records, result, tool

ORDERS = {"mine": {"owner": "ana", "left": 100}, "theirs": {"owner": "eve", "left": 100}}
BELONGS = {
    "id": "mine",
    "require": "facts.order != null && facts.order.owner == principal.id",
    "tell_model": "There is no such order of yours.",
}
ENOUGH = {"id": "enough", "require": "args.cents <= facts.order.left", "tell_model": "Too much."}
IN_BUDGET = {"id": "in_budget", "require": "double(args.cents) <= left.a_day", "tell_model": "Too much for today."}
SETTINGS = {"budgets": {"a_day": {"max": 1000, "window_s": 86_400, "per": ["facts.order.owner"]}}}


def refund(order: str, cents: int) -> int:
    return cents


def said(gateway: Gateway, order: str, format: str) -> dict[str, Any]:
    """The whole message for the model, but for the id that names the call in the log."""
    session = gateway.session(ANA, conversation=f"c-{order}")
    arguments = json.dumps({"order": order, "cents": 5})
    call: Any = ToolCall("c1", "refund", arguments)
    if format != "plain":
        call = {"type": "function_call", "call_id": "c1", "name": "refund", "arguments": arguments}
        if format == "chat":
            call = {"id": "c1", "type": "function", "function": {"name": "refund", "arguments": arguments}}
    (message,) = session.dispatch_sync([call])
    text = json.dumps(message)
    named = json.loads(message.get("content") or message["output"])
    return {"text": text.replace(named.get("error", {}).get("correlation_id", "-"), "ID")}


@pytest.mark.parametrize("format", ["plain", "chat", "responses"])
@pytest.mark.parametrize(
    "fields",
    [
        {"rules": [BELONGS]},
        {"rules": [BELONGS, ENOUGH]},
        {"rules": [BELONGS, ENOUGH], "charges": {"a_day": "args.cents"}},
        {"rules": [IN_BUDGET, BELONGS], "charges": {"a_day": "args.cents"}},
        {"rules": [BELONGS], "charges": {"a_day": "args.cents"}, "approval": {"when": "always", "approvers": 1}},
        {"rules": [BELONGS], "effect_key": ["order"], "serialize_by": ["order"]},
    ],
    ids=["rule", "two", "charged", "left-first", "approved", "keys"],
)
def test_c131_not_yours_and_not_there_are_the_same_bytes(tmp_path: Path, fields: dict[str, Any], format: str) -> None:
    contract = tool(refund, effect="external", facts={"order": {"provider": "order", "args": ["order"]}}, **fields)
    with gateway_with(tmp_path, contract, settings=SETTINGS) as gateway:
        gateway.register_fact("order", lambda _, order: ORDERS.get(order))
        assert said(gateway, "theirs", format) == said(gateway, "nobodys", format)
        assert said(gateway, "mine", format) != said(gateway, "nobodys", format)
    denied = records(tmp_path, "call.denied")
    assert len({each["facts"]["order"] is None for each in denied}) == 2  # the log knows which was which
    assert len({each["reason"] for each in denied}) == 1


def test_c131_a_stranger_reads_no_more_than_the_owner_of_nothing(tmp_path: Path) -> None:
    contract = tool(
        refund, effect="external", facts={"order": {"provider": "order", "args": ["order"]}}, rules=[BELONGS]
    )
    rows = ["g, user:eve, role:support"]
    with gateway_with(tmp_path, contract, rows=rows) as gateway:
        gateway.register_fact("order", lambda _, order: ORDERS.get(order))
        session = gateway.session(Principal("eve"))
        told = []
        for order in ("mine", "nobodys"):
            call = ToolCall("c1", "refund", json.dumps({"order": order, "cents": 5}))
            (message,) = session.dispatch_sync([call])
            error = json.loads(message["content"])["error"]
            told.append({name: value for name, value in error.items() if name != "correlation_id"})
        assert told[0] == told[1]
        assert list(told[0].values()) == ["not_allowed", BELONGS["tell_model"], told[1]["suggestion"]]


@pytest.mark.parametrize("owner", [["ana\0"], ["ana\0eve"], {"ana\0": 1}, ["\\\0"]])
def test_c146_a_fact_that_the_rules_would_read_short_is_none(tmp_path: Path, owner: object) -> None:
    by_name = {"id": "hers", "require": "principal.id in facts.owner", "tell_model": "No."}
    contract = tool(
        refund, effect="external", facts={"owner": {"provider": "owner", "args": ["order"]}}, rules=[by_name]
    )
    with gateway_with(tmp_path, contract) as gateway:
        gateway.register_fact("owner", lambda _, order: owner if order == "theirs" else [f"ana{order}"])
        assert reason(one(gateway.session(ANA), "refund", order="theirs", cents=1)) is ReasonCode.FACT_UNAVAILABLE
        assert (
            reason(one(gateway.session(ANA), "refund", order="\\u0000", cents=1)) is ReasonCode.RULE
        )  # only its spelling
        assert result(one(gateway.session(ANA), "refund", order="", cents=1)) == 1
