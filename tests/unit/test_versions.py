"""Two versions of one tool side by side: which is offered to whom, what each call is judged by, and how one goes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from examples.scripted_openai import CallTools, Rule, Say, Script, ScriptedOpenAI, call
from gateway import Gateway
from gateway.domain.call import Parked, Released
from gateway.domain.decision import ReasonCode
from gateway.domain.errors import PolicyError
from gateway.loop import Finished
from gateway.policy.loader import load
from gateway.policy_tools.diff import diff
from gateway.policy_tools.lint import lint
from tests.support import ANA, Tool, ask, gateway_with, one, open_gateway, policies_for, reason, records, tool, vote
from tests.unit.loop_bench import Api, How, Model, answers, each_api, each_way, prompt


def refund(order: str, cents: int) -> str:
    return f"paid {cents} of {order}"


def refund_2(order: str, cents: int, why: str) -> str:
    return f"paid {cents} of {order} because of {why}"


def first(**more: Any) -> Tool:
    return tool(refund, version="1", **more)


def second(**more: Any) -> Tool:
    return tool(refund_2, version="2", replaces="refund", **more)


def listed(gateway: Gateway, **subset: Any) -> list[str]:
    return [each["name"] for each in gateway.session(ANA).tools("responses", **subset)]


def test_new_conversations_are_offered_the_newest(tmp_path: Path) -> None:
    with gateway_with(tmp_path, first(), second(), tool(lambda: 1, name="other")) as gateway:
        assert listed(gateway) == ["other", "refund_2"]
        assert listed(gateway, only=["refund", "other"]) == ["other", "refund"]
        assert listed(gateway, called=["refund"]) == ["other", "refund"]
        assert listed(gateway, called=["refund", "refund_2"]) == ["other", "refund_2"]


def test_who_may_not_call_the_newest_keeps_the_older(tmp_path: Path) -> None:
    rows = ["p, role:support, refund_2, call, deny"]
    with gateway_with(tmp_path, first(), second(), rows=rows) as gateway:
        assert listed(gateway) == ["refund"]
        assert listed(gateway, called=["refund_2"]) == ["refund"]


@each_way
@each_api
def test_a_conversation_that_began_with_the_older_version_keeps_it(tmp_path: Path, api: Api, how: How) -> None:
    older, newer = call("refund", order="A", cents=1), call("refund_2", order="A", cents=1, why="late")
    policies_for(tmp_path, first())
    with open_gateway(tmp_path, first()) as gateway:
        begun, _ = said(gateway, "old", older, api, how=how)
    policies_for(tmp_path, first(), second())
    with open_gateway(tmp_path, first(), second()) as gateway:
        items = [*begun.messages, *prompt(api, "again").popitem()[1]]
        went_on, offered = said(
            gateway, "old", older, api, how=how, **{"messages" if api == "chat" else "input": items}
        )
        assert offered == ["refund"]
        new, offered = said(gateway, "new", newer, api, how=how)
        assert offered == ["refund_2"]
    assert results(went_on) == ["paid 1 of A", "paid 1 of A"]
    assert results(new) == ["paid 1 of A because of late"]
    intents = [(each["call"]["tool"], each["contract_version"]) for each in records(tmp_path, "call.intent")]
    assert intents == [("refund", "1"), ("refund", "1"), ("refund_2", "2")]


def said(gateway: Gateway, conversation: str, asks: CallTools, api: Api, **given: Any) -> tuple[Finished, list[str]]:
    """One question to a model that makes these calls, and the names it was offered first."""
    rules = [Rule(lambda c: c.rounds == 0, asks), Rule(lambda _: True, Say("Done."))]
    with ScriptedOpenAI(Script(rules)) as server:
        model = Model(server)
        ended = asyncio.run(model.run(gateway.session(ANA, conversation=conversation), api=api, **given))
        assert isinstance(ended, Finished)
        return ended, [tool.get("name") or tool["function"]["name"] for tool in model.sent[0]["tools"]]


def results(ended: Finished) -> list[str]:
    return [each["untrusted_result"] for each in answers(ended.messages).values()]


def test_c136_a_call_from_an_older_list_is_judged_by_the_version_it_was_made_for(tmp_path: Path) -> None:
    with gateway_with(tmp_path, first(), second()) as gateway:
        old = {"type": "function_call", "call_id": "c1", "name": "refund", "arguments": '{"order": "A", "cents": 1}'}
        new = old | {"call_id": "c2", "name": "refund_2"}
        kept, refused = gateway.session(ANA).dispatch_sync([old, new])
        assert json.loads(kept["output"]) == {"untrusted_result": "paid 1 of A"}
        assert "why: is required and missing" in json.loads(refused["output"])["error"]["message"]


def test_limits_are_counted_over_every_version(tmp_path: Path) -> None:
    once = {"limits": {"per_conversation": 1}}
    with gateway_with(tmp_path, first(**once), second(**once)) as gateway:
        session = gateway.session(ANA)
        assert isinstance(one(session, "refund", order="A", cents=1), Released)
        assert reason(one(session, "refund_2", order="A", cents=1, why="late")) is ReasonCode.TOOL_BUDGET


def test_the_switch_of_the_older_version_stops_the_newer_and_not_the_other_way_round(tmp_path: Path) -> None:
    with gateway_with(tmp_path, first(), second()) as gateway:
        session, switches = gateway.session(ANA), gateway._runtime.kill_switches
        switches.throw("tool", "refund", by="lea", why="drill")
        assert reason(one(session, "refund_2", order="A", cents=1, why="late")) is ReasonCode.TOOL_OFF
        switches.release("tool", "refund")
        switches.throw("tool", "refund_2", by="lea", why="drill")
        assert reason(one(session, "refund_2", order="A", cents=1, why="late")) is ReasonCode.TOOL_OFF
        assert isinstance(one(session, "refund", order="A", cents=1), Released)


def test_to_retire_the_older_ends_nothing_that_waits_for_the_newer(tmp_path: Path) -> None:
    asks = {"approval": {"when": "always"}}
    with gateway_with(tmp_path, first(**asks), second(**asks)) as gateway:
        session = gateway.session(ANA, conversation="c")
        waits = one(session, "refund_2", order="A", cents=1, why="late")
        waits_too = one(session, "refund", order="A", cents=1)
        assert isinstance(waits, Parked)
        assert isinstance(waits_too, Parked)
    (tmp_path / "policies" / "tools" / "refund.yaml").unlink()
    last = tool(refund_2, version="2", **asks)
    policies_for(tmp_path, last)
    with open_gateway(tmp_path, last) as gateway:
        session = gateway.session(ANA, conversation="c")
        vote(tmp_path, waits.request_id)
        assert isinstance(session.resume_sync(waits.request_id), Released)
        assert reason(session.resume_sync(waits_too.request_id)) is ReasonCode.UNKNOWN_TOOL
        assert reason(one(session, "refund", order="A", cents=1)) is ReasonCode.UNKNOWN_TOOL


@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ([second()], "has no contract"),
        ([tool(refund, version="1", replaces="refund_2"), second()], "circle"),
        ([first(), second(), tool(refund_2, name="refund_3", version="3", replaces="refund")], "already"),
        ([first(), tool(refund_2, version="1", replaces="refund")], "both have version"),
    ],
)
def test_a_line_of_versions_that_cannot_be_is_refused_at_load(tmp_path: Path, tools: list[Tool], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        load(policies_for(tmp_path, *tools))


def test_lint_finds_who_stays_behind_and_diff_compares_the_versions(tmp_path: Path) -> None:
    before = load(policies_for(tmp_path / "before", first()))
    after = load(policies_for(tmp_path / "after", first(), second(), rows=["p, user:eve, refund, call, allow"]))
    found = [each for each in lint(after) if each.code == "version-ungranted"]
    assert [each.what for each in found] == ["eve may call refund and not refund_2"]
    assert not [each for each in lint(after) if each.code == "descriptions-alike"]
    said = [(each.meaning, each.what) for each in diff(before, after).differences if each.subject == "refund_2"]
    assert ("rewords", "the next version of refund: new conversations are offered it") in said
    assert ("breaks", "against refund: the parameter why is new") in said
    assert diff(before, after).lists_changed == ("ana",)


def test_the_two_are_called_in_one_turn_and_stay_apart(tmp_path: Path) -> None:
    with gateway_with(tmp_path, first(), second()) as gateway:
        both = [ask("refund", order="A", cents=1), ask("refund_2", order="A", cents=2, why="late")]
        outcomes = gateway.session(ANA).judge_sync(both)
        assert [json.loads(each.content)["untrusted_result"] for each in outcomes if isinstance(each, Released)] == [
            "paid 1 of A",
            "paid 2 of A because of late",
        ]
