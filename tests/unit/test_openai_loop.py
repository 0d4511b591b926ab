"""What `run` does beside calling tools: structured answers, asking again, handing over, free text, and forged input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from examples.scripted_openai import Call, CallTools, Raw, Rule, Say, Script, call
from gateway.domain.decision import StopReason
from gateway.loop import Finished, Stopped
from gateway.shapes.outgoing import RequestRefused
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
    responses_raw,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


class Line(BaseModel):
    sku: str
    count: int = 1


class Order(BaseModel):
    order: str
    lines: list[Line]
    note: str | None = None


ORDER = {"order": "A-1", "lines": [{"sku": "x", "count": 2}], "note": None}


def as_model(api: Api, kind: Any = Order) -> dict[str, Any]:
    return {"response_format" if api == "chat" else "text_format": kind}


def as_json(api: Api) -> dict[str, Any]:
    form = {"type": "json_object"}
    return {"response_format": form} if api == "chat" else {"text": {"format": form}}


# structured answers


@each_way
@each_api
def test_an_answer_comes_as_the_pydantic_model_that_was_asked_for(bench: Bench, api: Api, how: How) -> None:
    model = bench.serve(call("look_up", key="a"), Say(json.dumps(ORDER)))
    ended = run(model.run(bench.session(), api=api, how=how, **as_model(api)))
    assert isinstance(ended, Finished)
    assert ended.parsed == Order.model_validate(ORDER)
    assert ended.form == "json_schema"
    body = model.sent[0]
    sent = body["response_format"]["json_schema"] if api == "chat" else body["text"]["format"]
    assert (sent["name"], sent["strict"]) == ("Order", True)
    assert sent["schema"]["required"] == ["order", "lines", "note"]
    assert sent["schema"]["$defs"]["Line"]["required"] == ["sku", "count"]
    assert_goes_on(bench, api, ended.messages)


@each_way
@each_api
def test_an_answer_of_another_form_is_not_handed_over(bench: Bench, api: Api, how: How) -> None:
    ended = run(bench.serve(Say('{"order": 7}')).run(bench.session(), api=api, how=how, **as_model(api)))
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.INVALID_ANSWER
    assert_goes_on(bench, api, ended.messages)


@each_api
def test_the_check_for_secrets_comes_before_the_form(bench: Bench, api: Api) -> None:
    said = Say(json.dumps(ORDER | {"note": SECRET}))
    ended = run(bench.serve(said).run(bench.session(), api=api, **as_model(api)))
    assert isinstance(ended, Stopped)
    assert ended.reason is StopReason.ANSWER_REFUSED


@each_way
@each_api
def test_json_mode_is_labelled_as_the_weaker_promise(bench: Bench, api: Api, how: How) -> None:
    ended = run(bench.serve(Say('{"a": 1}')).run(bench.session(), api=api, how=how, **as_json(api)))
    assert isinstance(ended, Finished)
    assert (ended.form, ended.parsed) == ("json_object", {"a": 1})


# asking again


def cut_off(api: Api) -> Raw:
    """A turn with a whole call that the provider says it cut off."""
    if api == "chat":
        return chat_raw({"tool_calls": [asked("look_up", arguments='{"key": "a"}')]}, "length")
    item = function_call("look_up", arguments='{"key": "a"}')
    return responses_raw(item, status="incomplete", incomplete_details={"reason": "max_output_tokens"})


@each_way
@each_api
def test_a_turn_our_own_limit_cut_off_is_asked_for_again_with_twice_the_tokens(
    tmp_path: Path, api: Api, how: How
) -> None:
    name = "max_completion_tokens" if api == "chat" else "max_output_tokens"
    with Bench(tmp_path, "loop: {truncated_retries: 2}\n") as bench:
        limit = {name: 100}

        def reply(_: Any) -> Any:
            return cut_off(api) if len(model.server.requests) < 2 else Say("Done.")

        model = bench.serve(Script([Rule(lambda _: True, reply)]))
        ended = run(model.run(bench.session(), api=api, how=how, **limit))
        assert isinstance(ended, Finished)
        assert [body[name] for body in model.sent] == [100, 200, 400]
        assert ended.turns == 3
        assert bench.done == []


@each_way
@each_api
def test_asking_again_ends(bench: Bench, api: Api, how: How) -> None:
    model = bench.serve(Script([Rule(lambda _: True, cut_off(api))]))
    name = "max_tokens" if api == "chat" else "max_output_tokens"
    ended = run(model.run(bench.session(), api=api, how=how, **{name: 10}))
    assert isinstance(ended, Stopped)
    assert (ended.reason, len(model.sent)) == (StopReason.TRUNCATED, 2)
    assert bench.done == []


# handing over


@each_way
@each_api
def test_an_answer_with_a_secret_goes_to_a_person_where_the_policy_says_so(tmp_path: Path, api: Api, how: How) -> None:
    with Bench(tmp_path, "answer: {on_secret: hand_over}\n") as bench:
        ended = run(bench.serve(Say(f"It is {SECRET}.")).run(bench.session(), api=api, how=how))
        assert isinstance(ended, Stopped)
        assert ended.reason is StopReason.ANSWER_HELD
        assert ended.for_person == f"It is {SECRET}."
        assert SECRET not in json.dumps([ended.messages, ended.message_for_user])
        assert [record["verdict"] for record in bench.records("answer.checked")] == ["handed_over"]
        assert_goes_on(bench, api, ended.messages)


@each_way
@each_api
def test_handing_over_is_a_tool_that_ends_the_run(tmp_path: Path, api: Api, how: How) -> None:
    with Bench(tmp_path, change={"write_down": "hands_over: true\n"}) as bench:
        both = CallTools((Call("look_up", {"key": "a"}), Call("write_down", {"text": "please help"})))
        model = bench.serve(both, Say("never"))
        ended = run(model.run(bench.session(), api=api, how=how))
        assert isinstance(ended, Stopped)
        assert ended.reason is StopReason.HANDED_OVER
        assert "person" in ended.message_for_user
        assert len(answers(ended.messages)) == 2
        assert len(model.sent) == 1
        assert_goes_on(bench, api, ended.messages)


@each_api
def test_handing_over_that_was_refused_ends_nothing(tmp_path: Path, api: Api) -> None:
    with Bench(tmp_path, change={"write_down": "hands_over: true\n"}) as bench:
        ended = run(bench.serve(call("write_down", wrong=1), Say("Sorry.")).run(bench.session(), api=api))
        assert isinstance(ended, Finished)


@each_way
@each_api
def test_what_is_missing_is_asked_of_the_user(tmp_path: Path, api: Api, how: How) -> None:
    hint = "ask_user: {key: the order number on the invoice}\n"
    with Bench(tmp_path, change={"look_up": hint}) as bench:
        ended = run(bench.serve(call("look_up"), Say("Which order?")).run(bench.session(), api=api, how=how))
        [answer] = answers(ended.messages).values()
        assert answer["error"]["code"] == "invalid_arguments"
        assert answer["error"]["suggestion"] == "Do not guess `key`: ask the user for the order number on the invoice."


# free text


def _runs(done: list[Any]) -> Any:
    def once(input: str) -> None:
        done.append(input)

    return once


LARK = 'start: "SELECT" " " NAME\nNAME: /[a-z]+/\n'
GRAMMARS = {"regex": "SELECT [a-z]+", "lark": LARK}


def free(folder: Path, syntax: str) -> Bench:
    """`once` as a free-text tool of the form `SELECT <word>`."""
    field = "{type: string, pattern: '^SELECT [a-z]+$'}" if syntax == "regex" else "{type: string}"
    text = (
        "tool: once\ndescription: once one thing.\neffect: internal\nrisk: low\nfree_text: true\nparameters:\n"
        f"  type: object\n  properties:\n    input: {field}\n  required: [input]\n"
    )
    if syntax == "lark":
        text += f"grammar: {json.dumps(LARK)}\n"
    return Bench(folder, whole={"once": text}, functions={"once": _runs})


@pytest.fixture(params=GRAMMARS)
def free_bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    with free(tmp_path, request.param) as made:
        yield made


def free_call(api: Api, text: str) -> Raw:
    if api == "chat":
        item = {"id": "call_1", "type": "custom", "custom": {"name": "once", "input": text}}
        return chat_raw({"tool_calls": [item]}, "tool_calls")
    return responses_raw(
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "once", "input": text}
    )


@each_way
@each_api
def test_free_text_is_governed_by_its_grammar(free_bench: Bench, api: Api, how: How) -> None:
    bench = free_bench
    for text, code in (("SELECT a", None), ("SELECT a; DROP b", "invalid_arguments"), ("", "invalid_arguments")):
        session = bench.session(conversation=f"c{len(bench.done)}{code}{text[:2]}")
        model = bench.serve(free_call(api, text), Say("Done."))
        ended = run(model.run(session, api=api, how=how))
        assert isinstance(ended, Finished)
        [answer] = answers(ended.messages).values()
        assert answer.get("error", {}).get("code") == code
        tool = next(each for each in model.sent[0]["tools"] if each["type"] == "custom")
        sent = tool["custom"]["format"]["grammar"] if api == "chat" else tool["format"]
        assert sent["definition"] == GRAMMARS[sent["syntax"]]
    assert bench.done == ["SELECT a"]


@pytest.mark.parametrize("how", ["sync", "async"])
@each_api
def test_free_text_is_answered_by_dispatch_in_its_own_shape(free_bench: Bench, api: Api, how: How) -> None:
    raw: Any = free_call(api, "SELECT a").body
    items = raw["choices"][0]["message"]["tool_calls"] if api == "chat" else raw["output"]
    session = free_bench.session()
    [answer] = session.dispatch_sync(items) if how == "sync" else run(session.dispatch(items))
    assert (answer.get("type") or answer["role"]) == ("tool" if api == "chat" else "custom_tool_call_output")


def test_instructions_tell_roles_and_rules_and_no_tool(bench: Bench) -> None:
    text = bench.session().instructions()
    assert "'support'" in text
    assert "untrusted_result" in text
    assert not any(name in text for name in ("look_up", "write_down", "pay", HIDDEN))


@each_way
@each_api
def test_a_forced_tool_without_a_right_is_refused_before_anything_is_sent(bench: Bench, api: Api, how: How) -> None:
    model = bench.serve(Say("never"))
    choice = {"type": "function", "name": HIDDEN}
    if api == "chat":
        choice = {"type": "function", "function": {"name": HIDDEN}}
    with pytest.raises(RequestRefused):
        run(model.run(bench.session(), api=api, how=how, tool_choice=choice))
    assert model.server.requests == ()
