"""The governed loop, with the real client over HTTP against the scripted server, and real tools, log and database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from examples.scripted_openai import Call, CallTools, Conversation, Raw, Rule, Say, Script, call
from gateway.domain.decision import StopReason
from gateway.domain.errors import UsageError
from gateway.loop import Finished, ModelUnavailable, Stopped
from tests.unit.loop_bench import (
    HIDDEN,
    SECRET,
    Api,
    Bench,
    How,
    answers,
    asked,
    assert_goes_on,
    chat_raw,
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


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# what works


@each_way
@each_api
def test_parallel_calls_a_chain_and_an_answer(bench: Bench, api: Api, how: How) -> None:
    def chained(conversation: Conversation) -> CallTools:
        first = conversation.results("look_up")[0].value
        assert isinstance(first, dict)
        return call("write_down", text=first["untrusted_result"])

    rules = [
        Rule(lambda c: c.all_rounds == 0, CallTools((Call("look_up", {"key": "a"}), Call("look_up", {"key": "b"})))),
        Rule(lambda c: c.all_rounds == 1, chained),
        Rule(lambda c: c.all_rounds == 2, Say("Done.")),
    ]
    model = bench.serve(Script(rules))
    ended = run(model.run(bench.session(), api=api, how=how))
    assert isinstance(ended, Finished)
    assert (ended.text, ended.turns, ended.calls, ended.pending) == ("Done.", 3, 3, ())
    assert sorted(map(str, bench.done)) == sorted(
        map(str, [("look_up", "a"), ("look_up", "b"), ("write_down", "value of a")])
    )
    values = [value.get("untrusted_result") for value in answers(ended.messages).values()]
    assert values[:2] == ["value of a", "value of b"]
    names = [tool.get("name") or tool["function"]["name"] for tool in model.sent[0]["tools"]]
    assert sorted(names) == sorted(("look_up", "write_down", "pay", "once"))
    assert_goes_on(bench, api, ended.messages)


@each_way
@each_api
def test_no_call_at_all(bench: Bench, api: Api, how: How) -> None:
    ended = run(bench.serve(Say("Hello.")).run(bench.session(), api=api, how=how))
    assert isinstance(ended, Finished)
    assert ended.text == "Hello."
    assert bench.done == []


def test_the_callers_list_is_not_changed(bench: Bench) -> None:
    given = prompt("chat", "go")["messages"]
    run(bench.serve(call("look_up", key="a"), Say("Done.")).run(bench.session(), messages=given))
    assert given == prompt("chat", "go")["messages"]


def test_a_principal_without_tools_sends_no_tool_list(bench: Bench) -> None:
    model = bench.serve(Say("Nothing to do."))
    run(model.run(bench.session(principal="eve"), tool_choice="auto", parallel_tool_calls=True))
    assert not model.sent[0].keys() & {"tools", "tool_choice", "parallel_tool_calls"}


@each_way
@each_api
def test_a_forced_call_is_forced_once(bench: Bench, api: Api, how: How) -> None:
    model = bench.serve(call("look_up", key="a"), Say("Done."))
    assert isinstance(run(model.run(bench.session(), api=api, how=how, tool_choice="required")), Finished)
    assert [body.get("tool_choice") for body in model.sent] == ["required", None]


def test_parameters_go_to_the_model(bench: Bench) -> None:
    model = bench.serve(Say("Hi."))
    run(model.run(bench.session(), temperature=0.5))
    assert model.sent[0]["temperature"] == 0.5


@each_way
@each_api
def test_a_forbidden_and_an_invented_tool_read_alike_and_the_loop_goes_on(bench: Bench, api: Api, how: How) -> None:
    both = CallTools((Call(HIDDEN, {"text": "x"}), Call("invented", {"text": "x"})))
    ended = run(bench.serve(both, Say("I cannot.")).run(bench.session(), api=api, how=how))
    assert isinstance(ended, Finished)
    errors = [dict(answer["error"], correlation_id="") for answer in answers(ended.messages).values()]
    assert len(errors) == 2
    assert errors[0] == errors[1]
    assert bench.done == []


@each_api
def test_c016_a_name_no_api_takes_back_leaves_the_conversation_valid(bench: Bench, api: Api) -> None:
    name = "look_up\u200b"
    odd = chat_raw({"tool_calls": [asked(name)]}, "tool_calls") if api == "chat" else responses_raw(function_call(name))
    model = bench.serve(odd, Say("I cannot."))
    ended = run(model.run(bench.session(), api=api))
    assert isinstance(ended, Finished)
    assert answers(ended.messages)["call_1"]["error"]["code"] == "tool_not_available"
    assert len(model.sent) == 2
    assert bench.done == []


@each_api
def test_half_a_character_reaches_neither_tool_nor_request(bench: Bench, api: Api) -> None:
    arguments = '{"key": "\ud800"}'
    turn = (
        chat_raw({"content": "\ud800", "tool_calls": [asked("look_up", arguments=arguments)]}, "tool_calls")
        if api == "chat"
        else responses_raw(function_call("look_up", arguments=arguments))
    )
    ended = run(bench.serve(turn, Say("Sorry.")).run(bench.session(), api=api))
    assert isinstance(ended, Finished)
    assert answers(ended.messages)["call_1"]["error"]["code"] == "invalid_arguments"
    assert bench.done == []


def test_reasoning_goes_back_with_what_followed(bench: Bench) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "opaque"}
    model = bench.serve(responses_raw(reasoning, function_call("look_up", arguments='{"key": "a"}')), Say("Done."))
    assert isinstance(run(model.run(bench.session(), api="responses")), Finished)
    kinds = [item.get("type", "message") for item in model.sent[1]["input"]]
    assert kinds == ["message", "reasoning", "function_call", "function_call_output"]
    assert model.sent[1]["input"][1] == reasoning


# our own ends


@each_way
@each_api
def test_the_turn_budget_stops_a_model_that_never_ends(tmp_path: Path, api: Api, how: How) -> None:
    forever = Script([Rule(lambda _: True, lambda c: call("look_up", key=str(c.all_rounds)))])
    with Bench(tmp_path, "loop: {turns_per_run: 3}\n") as bench:
        model = bench.serve(forever)
        ended = run(model.run(bench.session(), api=api, how=how))
        assert isinstance(ended, Stopped)
        assert (ended.reason, ended.turns, ended.calls) == (StopReason.TURN_BUDGET, 3, 3)
        assert len(model.sent) == 3
        assert len(answers(ended.messages)) == 3


@each_way
@each_api
def test_the_call_budget_stops_the_loop_and_every_call_is_answered(tmp_path: Path, api: Api, how: How) -> None:
    batch = CallTools(tuple(Call("look_up", {"key": str(n)}) for n in range(3)))
    with Bench(tmp_path, "loop: {calls_per_conversation: 2}\n") as bench:
        ended = run(bench.serve(batch, Say("never")).run(bench.session(), api=api, how=how))
        assert isinstance(ended, Stopped)
        assert ended.reason is StopReason.CALL_BUDGET
        assert sorted(map(str, bench.done)) == ["('look_up', '0')", "('look_up', '1')"]
        assert [a.get("error", {}).get("code") for a in answers(ended.messages).values()] == [None, None, "call_budget"]
        assert_goes_on(bench, api, ended.messages)


def test_one_tools_own_budget_does_not_stop_the_loop(bench: Bench) -> None:
    ended = run(bench.serve(call("once", text="a"), call("once", text="b"), Say("Done.")).run(bench.session()))
    assert isinstance(ended, Finished)
    assert bench.done == [("once", "a")]
    assert [a.get("error", {}).get("code") for a in answers(ended.messages).values()] == [None, "tool_budget"]


@each_way
@each_api
def test_too_many_denials_stop_the_loop(tmp_path: Path, api: Api, how: How) -> None:
    forever = Script([Rule(lambda _: True, lambda c: call("invented", n=c.all_rounds))])
    with Bench(tmp_path, "loop: {consecutive_denials: 2}\n") as bench:
        ended = run(bench.serve(forever).run(bench.session(), api=api, how=how))
        assert isinstance(ended, Stopped)
        assert (ended.reason, ended.calls) == (StopReason.TOO_MANY_DENIALS, 3)


def test_the_kill_switch_stops_the_loop(bench: Bench) -> None:
    bench.gateway._runtime.kill_switches.throw("all", "", by="lea", why="drill")
    ended = run(bench.serve(call("look_up", key="a"), Say("never")).run(bench.session()))
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.KILL_SWITCH
    assert bench.done == []


def test_a_model_out_of_reach_gives_back_what_was_done(bench: Bench) -> None:
    model = bench.serve(call("write_down", text="a"), Raw(b"{}", status=500))
    with pytest.raises(ModelUnavailable) as caught:
        run(model.run(bench.session()))
    assert isinstance(caught.value.__cause__, openai.InternalServerError)
    assert bench.done == [("write_down", "a")]
    assert len(answers(caught.value.messages)) == 1
    [ended] = bench.records("loop.ended")
    assert (ended["reason"], ended["principal"], ended["turns"], ended["calls"]) == ("model_unavailable", "ana", 1, 1)


# the final answer


@each_way
@each_api
def test_an_answer_with_a_declared_secret_is_refused(bench: Bench, api: Api, how: How) -> None:
    ended = run(bench.serve(Say(f"The password is {SECRET}.")).run(bench.session(), api=api, how=how))
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.ANSWER_REFUSED
    assert SECRET not in json.dumps([ended.messages, ended.message_for_user])
    [record] = bench.records("answer.checked")
    assert record["verdict"] == "refused"
    assert record["answer_digest"].startswith("hmac-sha256:")
    assert SECRET not in json.dumps(record)


@each_way
@each_api
def test_an_answer_with_a_declared_secret_is_masked_where_the_policy_says_so(
    tmp_path: Path, api: Api, how: How
) -> None:
    with Bench(tmp_path, "answer: {on_secret: mask}\n") as bench:
        ended = run(bench.serve(Say(f"It is {SECRET}.")).run(bench.session(), api=api, how=how))
        assert isinstance(ended, Finished)
        assert ended.text == "It is [secret removed]."
        assert SECRET not in json.dumps(ended.messages)
        assert [record["verdict"] for record in bench.records("answer.checked")] == ["masked"]
        assert_goes_on(bench, api, ended.messages)


def test_a_secret_cut_into_parts_is_still_found(bench: Bench) -> None:
    half = len(SECRET) // 2
    parts = [{"type": "output_text", "text": text, "annotations": []} for text in (SECRET[:half], SECRET[half:])]
    ended = run(
        bench.serve(
            responses_raw(
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"} | {"content": parts}
            )
        ).run(bench.session(), api="responses")
    )
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.ANSWER_REFUSED


# how it is called


@pytest.mark.parametrize(
    "wrong",
    [
        {"tools": []},
        {"functions": []},
        {"function_call": "auto"},
        {"on_unchecked_text": print},
        {"text_format": int, "messages": None, "input": "go"},
        {"n": 2},
        {"prompt": {"id": "p"}},
        {"conversation": "c"},
        {"background": True},
        {"web_search_options": {}},
        {"modalities": ["audio"]},
        {"extra_body": {"tools": []}},
        {"temperature": object()},
        {"input": "both"},
        {"messages": "text"},
        {"messages": [object()]},
        {"messages": None},
    ],
    ids="".join,
)
def test_what_would_lead_around_the_gateway_is_an_error_of_the_caller(bench: Bench, wrong: dict[str, Any]) -> None:
    model = bench.serve(Say("never"))
    with pytest.raises(UsageError):
        run(model.run(bench.session(), **{"messages": prompt("chat", "go")["messages"]} | wrong))
    assert model.server.requests == ()


def test_a_client_of_another_kind_is_an_error_of_the_caller(bench: Bench) -> None:
    with pytest.raises(UsageError):
        run(bench.session().run(object(), model="m", messages=[{"role": "user", "content": "go"}]))
