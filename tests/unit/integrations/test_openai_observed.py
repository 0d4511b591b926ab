"""A wrapped client in observe mode: requests and answers pass as they are, and the log says what would not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.scripted_openai import Say, call
from gateway.loop import Finished
from tests.unit.integrations.test_openai_answers import BACK
from tests.unit.integrations.wrapped import ask, function, names
from tests.unit.loop_bench import SECRET, Api, Bench, How, each_api, each_way


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, "observe: {arguments: shapes}\n", observe=True) as made:
        yield made


@each_api
@each_way
def test_the_hosts_own_tools_are_sent_as_it_wrote_them(bench: Bench, api: Api, how: How) -> None:
    client, model = ask(bench, api, how, call("anything"))
    mine = [function(api, "anything"), function(api, "look_up")]
    _, [(_, name, _)] = client(tools=mine)
    assert name == "anything"
    (sent,) = model.server.requests
    assert names(dict(sent.body or {})) == ["anything", "look_up"]
    (record,) = bench.records("request.governed")
    assert (record["verdict"], record["stripped"], record["observe"]) == ("sent", ["anything"], True)


def test_a_request_that_would_be_refused_is_sent(bench: Bench) -> None:
    client, _ = ask(bench, "chat", "sync", call("hidden", text="x"))
    forced = {"type": "function", "function": {"name": "hidden"}}
    assert client(tools=[function("chat", "hidden")], tool_choice=forced)[1][0][1] == "hidden"
    assert [each["verdict"] for each in bench.records("request.governed")] == ["request_refused"]


@pytest.mark.parametrize("name", ["searched", "cut off, items", "executed", "an id twice"])
@pytest.mark.parametrize("how", ["sync", "async"])
def test_an_answer_that_would_be_refused_is_handed_over(bench: Bench, name: str, how: How) -> None:
    api, raw = BACK[name]
    client, _ = ask(bench, api, how, raw)
    client(tools=bench.session().tools(api))
    (record,) = bench.records("request.governed")
    assert (record["verdict"], record["observe"]) == ("response_refused", True)


@pytest.mark.parametrize("how", ["stream", "async stream"])
def test_a_stream_that_would_be_stopped_goes_on(bench: Bench, how: How) -> None:
    api, raw = BACK["searched"]
    client, _ = ask(bench, api, how, raw)
    client(tools=bench.session().tools(api))
    assert [each["verdict"] for each in bench.records("request.governed")] == ["response_refused"]


@each_api
def test_an_answer_with_a_secret_is_recorded_and_leaves(bench: Bench, api: Api) -> None:
    model = bench.serve(Say(f"It is {SECRET}."))
    ended = asyncio.run(model.run(bench.session(), api=api))
    assert isinstance(ended, Finished)
    assert ended.text == f"It is {SECRET}."
    (checked,) = bench.records("answer.checked")
    assert (checked["verdict"], checked["observe"]) == ("refused", True)
