"""Deferred loading and namespaces (Responses): what a search may find, and whose word a definition is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.scripted_openai import Call, CallTools, Raw, Say
from gateway.domain.decision import StopReason
from gateway.domain.errors import UsageError
from gateway.loop import Finished, Stopped
from gateway.shapes.calls import read_calls
from gateway.shapes.incoming import ResponseRefused
from gateway.shapes.search import refreshed
from tests.unit.integrations.wrapped import ask, function, names
from tests.unit.loop_bench import (
    HIDDEN,
    Bench,
    How,
    answers,
    assert_goes_on,
    contract,
    each_way,
    function_call,
    prompt,
    responses_raw,
)

RARE = {"look_up": "tags: [rare]\n", HIDDEN: "tags: [rare]\n"}
SEARCH = {"type": "tool_search"}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    def find(text: str) -> str:
        return text.upper()

    with Bench(tmp_path, change=RARE, more={"crm__find": (contract("crm__find", "text", "string"), find)}) as made:
        yield made


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def searched(*tools: Any, output: dict[str, Any] | None = None) -> Raw:
    """A turn in which a search found these definitions, and the model calls `look_up`."""
    call = {"type": "tool_search_call", "id": "tsc_1", "execution": "server", "call_id": None, "arguments": {}}
    found = {"type": "tool_search_output", "id": "tso_1", "execution": "server", "call_id": None, "tools": list(tools)}
    called = function_call("look_up", arguments='{"key": "a"}', id="fc_1")
    return responses_raw(call | {"status": "completed"}, found | {"status": "completed"} | (output or {}), called)


# `session.tools` and `run`


def test_deferred_tools_bring_the_search_that_finds_them(bench: Bench) -> None:
    session = bench.session()
    plain = session.tools("responses")
    made = session.tools("responses", deferred=["rare"])
    assert made[-1] == SEARCH
    assert [tool for tool in made[:-1] if tool.get("defer_loading")] == [
        tool | {"defer_loading": True} for tool in plain if tool["name"] == "look_up"
    ]
    assert session.tools("responses", deferred=["no such tag"]) == plain
    assert session.tools("responses") == plain
    assert session.tool_cost("responses", deferred=["rare"]).tools.keys() >= {"look_up", "tool_search"}


def test_chat_completions_has_no_search(bench: Bench) -> None:
    with pytest.raises(UsageError, match="Responses"):
        bench.session().tools("chat", deferred=["rare"])


@each_way
def test_what_a_search_finds_is_called_and_stays_known(bench: Bench, how: How) -> None:
    turn = CallTools((Call("look_up", {"key": "a"}),), searched=("look_up",))
    model = bench.serve(turn, Say("Done."))
    ended = run(model.run(bench.session(), api="responses", how=how, deferred=["rare"]))
    assert isinstance(ended, Finished)
    assert bench.done == [("look_up", "a")]
    assert model.sent[0]["tools"] == bench.session().tools("responses", deferred=["rare"])
    kinds = [item.get("type", "message") for item in model.sent[1]["input"]]
    assert kinds == ["message", "tool_search_call", "tool_search_output", "function_call", "function_call_output"]
    assert_goes_on(bench, "responses", ended.messages)


@each_way
def test_a_search_that_found_what_is_not_offered_is_not_used(bench: Bench, how: How) -> None:
    own = bench.session().tools("responses", only=["look_up"], deferred=["rare"])[0]
    space = {"type": "namespace", "name": "crm", "description": "d", "tools": [function("responses", "drop")]}
    foreign: list[Any] = [
        function("responses", HIDDEN),
        function("responses", "invented"),
        {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example/mcp"},
        space,
        "look_up",
        None,
    ]
    for bad in foreign:
        turn = searched(own, bad)
        ended = run(bench.serve(turn).run(bench.session(), api="responses", how=how, deferred=["rare"]))
        assert isinstance(ended, Stopped), bad
        assert ended.reason is StopReason.UNKNOWN_ITEM
        assert_goes_on(bench, "responses", ended.messages)
        if not isinstance(bad, dict):
            continue  # the client itself stumbles over it
        with pytest.raises(ResponseRefused, match="search"):
            ask(bench, "responses", how, turn)[0]()
    assert bench.done == []
    assert bench.records("call.intent") == []


@each_way
def test_a_search_that_nobody_asked_for_is_no_turn(bench: Bench, how: How) -> None:
    own = bench.session().tools("responses", only=["look_up"])[0]
    ended = run(bench.serve(searched(own)).run(bench.session(), api="responses", how=how))
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.UNKNOWN_ITEM
    client_side = searched(own, output={"execution": "client", "call_id": "call_7"})
    ended = run(bench.serve(client_side).run(bench.session(), api="responses", how=how, deferred=["rare"]))
    assert isinstance(ended, Stopped)
    assert bench.done == []


def test_a_definition_goes_back_in_the_contracts_words_and_only_while_it_is_offered(bench: Bench) -> None:
    tools = bench.session().tools("responses", deferred=["rare"])
    old = {"type": "tool_search_output", "tools": [function("responses", "look_up"), function("responses", HIDDEN)]}
    message = {"role": "user", "content": "go"}
    [own] = [tool for tool in tools if tool.get("name") == "look_up"]
    assert refreshed([message, old], tools) == [message, old | {"tools": [own]}]
    assert refreshed([old], []) == [old | {"tools": []}]


# the wrapped client


@each_way
def test_a_hosts_own_deferred_list_is_governed(bench: Bench, how: How) -> None:
    turn = CallTools((Call("look_up", {"key": "a"}),), searched=("look_up",))
    client, model = ask(bench, "responses", how, turn, Say("Done."))
    theirs = [function("responses", name, defer_loading=True) for name in (HIDDEN, "look_up")]

    async def go() -> str:
        given: list[Any] = prompt("responses", "go")["input"]
        request = {"input": given, "tools": [*theirs, {"type": "tool_search", "execution": "server"}]}
        first = await client.answer(**request)
        kept = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        kept[1]["tools"].append(function("responses", HIDDEN))
        given += [*kept, *await client.dispatch(first)]
        return client.read(await client.answer(**request))[0]

    assert run(go()) == "Done."
    own = bench.session().tools("responses", only=["look_up"], deferred=["rare"])[0]
    assert model.sent[0]["tools"] == [own, {"type": "tool_search", "execution": "server"}]
    assert [each["name"] for each in model.sent[1]["input"][2]["tools"]] == ["look_up"]
    assert bench.done == [("look_up", "a")]


@each_way
def test_a_search_with_nothing_left_to_find_is_taken_out_and_nothing_is_deferred_without_one(
    bench: Bench, how: How
) -> None:
    client, model = ask(bench, "responses", how)
    client(tools=[function("responses", HIDDEN, defer_loading=True), function("responses", "pay"), SEARCH])
    assert names(model.sent[0]) == ["pay"]
    [record] = bench.records("request.governed")
    assert sorted(record["stripped"]) == [HIDDEN, "tool_search"]
    client, model = ask(bench, "responses", how)
    client(tools=[function("responses", "look_up", defer_loading=True)])
    assert model.sent[0]["tools"] == bench.session().tools("responses", only=["look_up"])


def test_a_search_of_the_hosts_own_is_left_to_the_host(bench: Bench) -> None:
    client, model = ask(bench, "responses", "sync")
    own = {"type": "tool_search", "execution": "client", "description": "Find.", "parameters": {"type": "object"}}
    client(tools=[own | {"more": 1}])
    assert model.sent[0]["tools"] == [own]
    items = [{"type": "tool_search_call", "id": "tsc_1", "call_id": "call_7", "execution": "client", "arguments": {}}]
    assert read_calls(items).calls == ()


# namespaces


@each_way
def test_a_namespace_holds_what_is_granted_under_its_name(bench: Bench, how: How) -> None:
    turn = CallTools((Call("find", {"text": "a"}, namespace="crm"), Call("look_up", {"key": "a"}, namespace="crm")))
    client, model = ask(bench, "responses", how, turn)
    space = {"type": "namespace", "name": "crm", "description": "Customers."}
    inner = [function("responses", name) for name in ("find", "look_up", "drop")]

    async def go() -> list[dict[str, Any]]:
        return await client.dispatch(await client.answer(tools=[space | {"tools": inner}]))

    found, refused = answers(run(go())).values()
    assert found["untrusted_result"] == "A"
    assert refused["error"]["code"] == "tool_not_available"
    [sent] = model.sent[0]["tools"]
    assert [(each["name"], each["strict"]) for each in sent["tools"]] == [("find", True)]
    [record] = bench.records("request.governed")
    assert record["stripped"] == ["crm__look_up", "crm__drop"]
    assert bench.done == ["A"]
