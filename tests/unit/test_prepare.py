"""`prepare` in a contract: one contract, two tools for the model, and a draft that only its user's word carries out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.scripted_openai import Call, CallTools, Rule, Say, Script
from gateway.domain.errors import PolicyError
from gateway.loop import Finished
from gateway.policy.loader import load
from gateway.policy_tools.diff import diff
from gateway.policy_tools.lint import lint
from gateway.policy_tools.tables import read_tables, run_tables
from gateway.shapes.outgoing import govern_request
from tests.unit.loop_bench import Api, Bench, How, answers, each_api, each_way, function_of, named
from tests.unit.policy.folders import POLICY_TEXT, contract_text, write_policies

CONFIRMED = "approval: {when: always, approvers: 0, confirm: true}"
PREPARE = "prepare: {tool: prepare_refund, description: Prepare a refund.}"
REFUND = f"""tool: execute_refund
description: Carry out a prepared refund.
{PREPARE}
risk: medium
effect: external
parameters:
  type: object
  properties:
    order: {{type: string, description: "The order."}}
    cents: {{type: integer, description: "How much."}}
  required: [order, cents]
{CONFIRMED}
tags: [money]
"""


def refund(order: str, cents: int) -> tuple[str, int]:
    return order, cents


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, more={"execute_refund": (REFUND, refund)}) as made:
        yield made


# what a policy may say


def loaded(folder: Path, contract: str, **more: str) -> Any:
    return load(write_policies(folder, tools__execute_refund_dot_yaml=contract, **more))


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        ("tool: prepare_refund", "tool: execute_refund", "need two names"),
        ("tool: prepare_refund", "tool: look_up", "another contract has the name 'look_up'"),
        ("tool: prepare_refund", "tool: no spaces", "should match pattern"),
        (CONFIRMED, "approval: {when: always}", "confirm: true"),
        (CONFIRMED, "approval: {when: rules, confirm: true}", "when: always"),
        (CONFIRMED, "", "when: always"),
        (CONFIRMED, f"{CONFIRMED}\nreplaces: look_up", "`replaces` exclude each other"),
        (CONFIRMED, f"{CONFIRMED}\nordered: true", "`ordered` exclude each other"),
        (CONFIRMED, f"{CONFIRMED}\nidempotent: true\nexecution: {{fallback: look_up}}", "`fallback` exclude"),
        (CONFIRMED, f"{CONFIRMED}\nexecution: {{sandbox: python}}", "`sandbox` exclude each other"),
        (", description: Prepare a refund.", "", "`description` is missing"),
    ],
)
def test_a_contract_that_could_not_be_prepared_is_refused(tmp_path: Path, was: str, now: str, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        loaded(tmp_path, REFUND.replace(was, now))


def test_free_text_is_not_prepared(tmp_path: Path) -> None:
    text = REFUND[: REFUND.index("parameters")] + (
        "parameters: {type: object, properties: {input: {type: string}}, required: [input]}\nfree_text: true\n"
    )
    with pytest.raises(PolicyError, match="`free_text` exclude each other"):
        loaded(tmp_path, f"{text}{CONFIRMED}\n")


@pytest.mark.parametrize(
    ("contract", "why"),
    [
        (REFUND.replace("tool: execute_refund", "tool: other"), "another contract has the name 'prepare_refund'"),
        (contract_text("other", "version: '2'", "replaces: execute_refund"), "give it no versions"),
        (contract_text("other", "execution: {fallback: execute_refund}"), "a fallback waits for nobody"),
        (contract_text("prepare_refund"), "another contract has the name 'prepare_refund'"),
    ],
)
def test_what_other_contracts_say_of_it_is_refused(tmp_path: Path, contract: str, why: str) -> None:
    name = contract.split("\n")[0].removeprefix("tool: ")
    with pytest.raises(PolicyError, match=why):
        loaded(tmp_path, REFUND, **{f"tools__{name}_dot_yaml": contract})


def test_the_first_face_has_no_grant_of_its_own(tmp_path: Path) -> None:
    rows = POLICY_TEXT + "p, role:support, prepare_refund, call, allow\n"
    with pytest.raises(PolicyError, match="no contract"):
        loaded(tmp_path, REFUND, policy_dot_csv=rows)


# what a model is shown


@each_api
def test_two_tools_are_listed_strict_and_priced(bench: Bench, api: Api) -> None:
    session = bench.session()
    shown = named(session.tools(api))
    names = list(shown)
    assert names.index("execute_refund") == names.index("prepare_refund") + 1
    assert set(shown["prepare_refund"]["parameters"]["properties"]) == {"order", "cents"}
    assert set(shown["execute_refund"]["parameters"]["properties"]) == {"draft"}
    assert all(shown[name]["strict"] for name in ("prepare_refund", "execute_refund"))
    assert {"prepare_refund", "execute_refund"} <= set(session.tool_cost(api).tools)
    assert list(named(session.tools(api, tags=["money"]))) == ["prepare_refund", "execute_refund"]
    assert list(named(session.tools(api, only=["execute_refund"]))) == ["execute_refund"]
    assert bench.gateway.unavailable == {}


@each_api
def test_a_request_may_offer_and_force_either_name(bench: Bench, api: Api) -> None:
    session, policy = bench.session(), bench.session().engine.policy()
    for name in ("prepare_refund", "execute_refund"):
        tools = session.tools(api, only=[name])
        forced = {"type": "function", "name": name}
        choice = {"type": "function", "function": {"name": name}} if api == "chat" else forced
        body = {"model": "m", "tools": tools, "tool_choice": choice}
        made = govern_request(api, body, session.visible(policy), policy.tools, policy.requests)
        assert ([function_of(tool)["name"] for tool in made.body["tools"]], made.stripped) == ([name], [])
        assert made.body["tool_choice"] == choice


# the whole of it, by a model


@each_way
@each_api
@pytest.mark.parametrize("defer", ["answer", "pause"])
def test_a_model_prepares_asks_and_carries_out(bench: Bench, api: Api, how: How, defer: Any) -> None:
    session = bench.session(defer=defer)
    prepares = CallTools((Call("prepare_refund", {"order": "A", "cents": 5}), Call("look_up", {"key": "a"})))
    asks = bench.serve(prepares, Say("Please confirm it in the app."))
    ended = asyncio.run(asks.run(session, api=api, how=how))
    assert isinstance(ended, Finished)
    drafted, found = answers(ended.messages).values()
    assert found["untrusted_result"] == "value of a"
    draft = drafted["draft"]["id"]
    assert ended.pending == (draft,)
    assert "call execute_refund with this id as `draft`" in drafted["draft"]["message"]

    tries = CallTools((Call("execute_refund", {"draft": draft}),))
    items = [*ended.messages, {"role": "user", "content": "I confirm!"}]
    early = asyncio.run(
        bench.serve(Script([Rule(lambda c: c.rounds == 0, tries), Rule(lambda _: True, Say("Not yet."))])).run(
            session, api=api, how=how, **{"messages" if api == "chat" else "input": items}
        )
    )
    assert isinstance(early, Finished)
    assert list(answers(early.messages).values())[-1]["error"]["code"] == "not_confirmed"
    assert ("A", 5) not in bench.done

    session.confirm(draft)
    items = [*early.messages, {"role": "user", "content": "Confirmed in the app."}]
    late = asyncio.run(
        bench.serve(Script([Rule(lambda c: c.rounds == 0, tries), Rule(lambda _: True, Say("Paid."))])).run(
            session, api=api, how=how, **{"messages" if api == "chat" else "input": items}
        )
    )
    assert isinstance(late, Finished)
    assert (late.text, late.pending) == ("Paid.", ())
    assert list(answers(late.messages).values())[-1]["untrusted_result"] == ["A", 5]
    assert bench.done.count(("A", 5)) == 1


# the tools of a policy's writer


def test_tables_judge_what_prepares_a_call_as_the_call(tmp_path: Path) -> None:
    table = {
        "table": "refunds",
        "cases": [
            {
                "name": "prepared",
                "principal": "ana",
                "call": {"tool": "prepare_refund", "arguments": {"order": "A", "cents": 5}},
                "expect": "escalate",
            }
        ],
    }
    rows = POLICY_TEXT + "".join(f"p, role:support, execute_refund, {each}, allow\n" for each in ("see", "call"))
    found = loaded(tmp_path, REFUND, policy_dot_csv=rows, tests__refunds_dot_yaml=json.dumps(table))
    report = run_tables(found, read_tables(tmp_path))
    assert [each.problem for each in report.results] == [""]
    assert [name for name, times in report.grants.items() if "execute_refund" in name and not times] == []
    assert [each for each in lint(found) if each.level == "error"] == []


def test_a_diff_sees_the_list_change(tmp_path: Path) -> None:
    rows = POLICY_TEXT + "".join(f"p, role:support, execute_refund, {each}, allow\n" for each in ("see", "call"))
    before = loaded(tmp_path / "a", REFUND, policy_dot_csv=rows)
    after = loaded(tmp_path / "b", REFUND.replace("Prepare a refund.", "Draft it."), policy_dot_csv=rows)
    found = diff(before, after)
    assert "ana" in found.lists_changed
    assert [each.what for each in found.differences] == ["another prepare"]
