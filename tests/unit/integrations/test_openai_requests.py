"""What leaves through a wrapped client, in both APIs, blocking, awaited and streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from examples.scripted_openai import Call, CallTools, Raw, Rule, Say, Script
from gateway.domain.errors import UsageError
from gateway.shapes.outgoing import RequestRefused
from tests.unit.integrations.wrapped import ask, function
from tests.unit.loop_bench import (
    APIS,
    HIDDEN,
    Api,
    Bench,
    How,
    asked,
    each_api,
    each_way,
    function_call,
    prompt,
    responses_raw,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


@each_way
@each_api
def test_text_comes_through(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how)
    assert client() == ("Hello.", [])
    assert "tools" not in model.sent[0]
    assert bench.records("request.governed") == []


@each_way
@each_api
def test_only_what_is_granted_is_offered_and_in_the_contracts_own_words(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how)
    client(tools=[function(api, name) for name in ("pay", HIDDEN, "invented", "look_up")])
    assert model.sent[0]["tools"] == bench.session().tools(api, only={"pay", "look_up"})
    [record] = bench.records("request.governed")
    assert (record["verdict"], record["stripped"], record["allowed"]) == ("sent", [HIDDEN, "invented"], [])


@each_way
@each_api
def test_calls_come_through_unchanged_and_dispatch_judges_them(bench: Bench, api: Api, how: How) -> None:
    both = CallTools((Call("look_up", {"key": "a"}), Call(HIDDEN, {"text": "x"})), text="Looking.")
    client, _ = ask(bench, api, how, both)
    text, calls = client(tools=bench.session().tools(api))
    assert text == "Looking."
    assert [(name, json.loads(arguments)) for _, name, arguments in calls] == [
        ("look_up", {"key": "a"}),
        (HIDDEN, {"text": "x"}),
    ]
    items = [
        asked(name, i, arguments) if api == "chat" else function_call(name, i, arguments)
        for i, name, arguments in calls
    ]
    found = bench.session().dispatch_sync(items)
    contents = [json.loads(each.get("content") or each["output"]) for each in found]
    assert contents[0]["untrusted_result"] == "value of a"
    assert contents[1]["error"]["code"] == "tool_not_available"
    assert bench.done == [("look_up", "a")]


RUN_BY_THE_PROVIDER: list[dict[str, Any]] = [
    {"type": "web_search"},
    {"type": "web_search_preview_2025_03_11"},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example/mcp", "require_approval": "never"},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "image_generation"},
    {"type": "local_shell"},
    {"type": "shell"},
    {"type": "computer_use_preview", "display_width": 1, "display_height": 1, "environment": "browser"},
    {"type": "programmatic_tool_calling"},
    {"type": "apply_patch"},
    {"type": "telepathy"},
]


@each_way
@each_api
def test_what_the_provider_would_execute_is_taken_out_and_recorded(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how)
    request: dict[str, Any] = {"tools": [*RUN_BY_THE_PROVIDER, *bench.session().tools(api)]}
    if "stream" in how and api == "chat":  # the library's own `stream` looks at tools first
        request = {"tools": bench.session().tools(api), "extra_body": request}
    client(**request)
    assert model.sent[0]["tools"] == bench.session().tools(api)
    [record] = bench.records("request.governed")
    assert len(record["stripped"]) == len(RUN_BY_THE_PROVIDER)
    assert "mcp:https://mcp.example/mcp" in record["stripped"]


@each_way
def test_what_the_policy_allows_by_name_leaves_and_is_recorded(tmp_path: Path, how: How) -> None:
    with Bench(tmp_path, "provider_tools: [web_search, 'mcp:https://good.example/mcp']\n") as bench:
        client, model = ask(bench, "responses", how)
        servers = [
            {"type": "mcp", "server_label": label, "server_url": f"https://{label}.example/mcp"}
            for label in ("good", "evil")
        ]
        client(tools=[{"type": "web_search_preview"}, *servers], tool_choice={"type": "web_search_preview"})
        assert [tool.get("server_label", tool["type"]) for tool in model.sent[0]["tools"]] == [
            "web_search_preview",
            "good",
        ]
        [record] = bench.records("request.governed")
        assert record["allowed"] == ["web_search", "mcp:https://good.example/mcp"]
        assert record["stripped"] == ["mcp:https://evil.example/mcp"]


@each_way
def test_the_web_search_of_chat_completions_is_taken_out(bench: Bench, how: How) -> None:
    client, model = ask(bench, "chat", how)
    client(web_search_options={})
    assert "web_search_options" not in model.sent[0]
    assert [record["stripped"] for record in bench.records("request.governed")] == [["web_search"]]


REFUSED: dict[str, tuple[Api | None, dict[str, Any]]] = {
    "legacy functions": ("chat", {"functions": [{"name": "look_up"}]}),
    "a legacy choice": ("chat", {"function_call": {"name": "look_up"}}),
    "a stored prompt": ("responses", {"prompt": {"id": "pmpt_1"}}),
    "a forced tool without a right": (None, {"tool_choice": HIDDEN}),
    "a forced tool of the provider": ("responses", {"tool_choice": {"type": "web_search_preview"}}),
    "a required choice of nothing": (
        "responses",
        {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": HIDDEN}]}},
    ),
    "a choice of tomorrow": (None, {"tool_choice": "telepathy"}),
    "a model that searches by itself": ("chat", {"model": "gpt-4o-search-preview"}),
    "an approval of the provider's call": (
        "responses",
        {"input": [{"type": "mcp_approval_response", "approval_request_id": "r", "approve": True}]},
    ),
    "a program of the provider's": (
        "responses",
        {"input": [{"type": "program", "id": "p", "call_id": "c", "code": "x", "fingerprint": "f"}]},
    ),
    "an input item in no list": ("responses", {"input": {"type": "mcp_approval_response", "approval_request_id": "r"}}),
    "an input item of tomorrow": ("responses", {"input": [{"type": "wish", "id": "w"}]}),
    "agents of the provider's": (None, {"extra_body": {"multi_agent": {"enabled": True}}}),
    "what the provider would search": (None, {"extra_body": {"data_sources": [{"type": "azure_search"}]}}),
    "a parameter of tomorrow": (None, {"extra_body": {"enable_search": True}}),
    "something hidden in the extra body": ("chat", {"extra_body": {"functions": [{"name": "look_up"}]}}),
}


@each_way
@each_api
def test_c137_the_legacy_form_of_a_request_is_refused_with_what_to_do(bench: Bench, api: Api, how: How) -> None:
    legacy = {"functions": [{"name": "look_up"}], "function_call": {"name": "look_up"}}
    model = bench.serve(Say("never"))
    for name, value in legacy.items():
        now = "tools" if name == "functions" else "tool_choice"
        client, _ = ask(bench, api, how)
        request = {name: value} if api == "chat" else {"extra_body": {name: value}}
        with pytest.raises(RequestRefused, match=f"`{name}` may not be sent: .*`{now}`"):
            client(**request)
        with pytest.raises(UsageError, match=f"`{name}` cannot be given to run"):
            asyncio.run(model.run(bench.session(), api=api, how=how, **request))
    assert model.server.requests == ()
    assert [each["verdict"] for each in bench.records("request.governed")] == ["request_refused"] * 2


SAYS = {  # a refusal says what to do instead
    "legacy functions": "`functions` may not be sent: .*`tools`",
    "a legacy choice": "`function_call` may not be sent: .*`tool_choice`",
    "a stored prompt": "send its text instead",
    "a model that searches by itself": "allow `web_search` in the policy",
    "agents of the provider's": "`multi_agent` may not be sent",
    "what the provider would search": "`data_sources` may not be sent",
    "an input item in no list": "`input` is text or a list",
    "an input item of tomorrow": "does not know: 'wish'",
    "a parameter of tomorrow": r"`enable_search` .* settings.yaml under `openai: \{parameters: ",
}


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: f"{REFUSED[name][0] or 'chat-responses'}-{name}")
@each_way
def test_a_request_that_may_not_leave_is_refused_before_it_is_sent(bench: Bench, name: str, how: How) -> None:
    only, wrong = REFUSED[name]
    for api in (only,) if only else APIS:
        client, model = ask(bench, api, how)
        body = dict(wrong)
        if body.get("tool_choice") == HIDDEN:
            body["tool_choice"] = {"type": "function", "name": HIDDEN}
            if api == "chat":
                body["tool_choice"] = {"type": "function", "function": {"name": HIDDEN}}
        with pytest.raises(RequestRefused, match=SAYS.get(name, "tool|request|model|call|form")):
            client(**{"tools": bench.session().tools(api)} | body)
        assert model.server.requests == ()
    assert {record["verdict"] for record in bench.records("request.governed")} == {"request_refused"}


@each_way
@each_api
def test_a_parameter_of_another_provider_may_be_named_in_the_policy(tmp_path: Path, api: Api, how: How) -> None:
    with Bench(tmp_path, "openai: {parameters: [top_k]}\n") as bench:
        client, model = ask(bench, api, how)
        assert client(extra_body={"top_k": 4})[0] == "Hello."
        assert model.sent[0]["top_k"] == 4
        with pytest.raises(UsageError, match="`top_p_`"):
            asyncio.run(model.run(bench.session(), api=api, how=how, extra_body={"top_p_": 1}))
        assert len(model.server.requests) == 1


@each_way
@each_api
def test_allowed_tools_are_narrowed_and_never_widen(bench: Bench, api: Api, how: How) -> None:
    def named(name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name}} if api == "chat" else {"type": "function", "name": name}

    inner = {"mode": "auto", "tools": [named(HIDDEN), named("look_up")]}
    choice = {"type": "allowed_tools", "allowed_tools": inner} if api == "chat" else {"type": "allowed_tools", **inner}
    client, model = ask(bench, api, how)
    client(tools=[function(api, HIDDEN), *bench.session().tools(api)], tool_choice=choice)
    sent = model.sent[0]["tool_choice"]
    assert sent["allowed_tools" if api == "chat" else "type"]
    assert (sent["allowed_tools"] if api == "chat" else sent)["tools"] == [named("look_up")]


@each_way
@pytest.mark.parametrize("choice", ["none", "auto", "required"])
@each_api
def test_the_plain_choices_pass(bench: Bench, api: Api, choice: str, how: How) -> None:
    client, model = ask(bench, api, how)
    client(tools=bench.session().tools(api), tool_choice=choice)
    assert model.sent[0]["tool_choice"] == choice


@each_way
@each_api
def test_where_every_tool_is_taken_out_so_is_what_needs_one(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how, principal="eve")
    client(tools=bench.session().tools(api), tool_choice="auto", parallel_tool_calls=True)
    assert not model.sent[0].keys() & {"tools", "tool_choice", "parallel_tool_calls"}


@each_way
def test_tools_hidden_among_the_input_items_are_filtered(bench: Bench, how: How) -> None:
    client, model = ask(bench, "responses", how, Raw(responses_raw().body))
    more = {"type": "additional_tools", "role": "developer", "tools": [function("responses", HIDDEN)]}
    with pytest.raises(
        openai.BadRequestError
    ):  # the scripted server does not know such items; what counts is what left
        client(input=[*prompt("responses", "go")["input"], more])
    assert (model.server.requests[0].body or {})["input"][1]["tools"] == []


FAMILIES: list[tuple[str, bool | None, bool | None]] = [  # model, as asked for, as sent
    ("gpt-5", None, None),
    ("gpt-5", True, True),
    ("gpt-5", False, False),
    ("ft:gpt-4.1:acme", True, False),
    ("gpt-4.1-nano-2025-04-14", True, False),
    ("o3-mini", False, None),
    ("o4-mini-2025-04-16", True, None),
    ("house-model", True, False),
]


@each_way
@each_api
def test_parallel_calls_follow_the_table_of_families_and_the_policy_before_it(
    tmp_path: Path, api: Api, how: How
) -> None:
    with Bench(tmp_path, "openai: {parallel: {'house-*': 'off'}}\n") as bench:
        client, server = ask(bench, api, how, Script([Rule(lambda _: True, Say("Hello."))]))
        for model, given, _ in FAMILIES:
            asked_for = {} if given is None else {"parallel_tool_calls": given}
            client(model=model, tools=bench.session().tools(api), **asked_for)
        assert [body.get("parallel_tool_calls") for body in server.sent] == [sent for _, _, sent in FAMILIES]


@each_way
@each_api
def test_destructive_tools_are_called_one_at_a_time(tmp_path: Path, api: Api, how: How) -> None:
    for relaxed in ("false", "true"):
        settings = f"openai: {{destructive_in_parallel: {relaxed}}}\n"
        with Bench(tmp_path / relaxed, settings, risky=True) as bench:
            client, model = ask(bench, api, how, Script([Rule(lambda _: True, Say("Hello."))]))
            client(tools=bench.session().tools(api))
            client(tools=bench.session().tools(api, only={"look_up"}))
            assert [body.get("parallel_tool_calls") for body in model.sent] == [
                None if relaxed == "true" else False,
                None,
            ]
