"""What comes from a provider, cut at every byte of a call, and with every part of it made something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import openai
import pytest

from gateway.domain.decision import StopReason
from gateway.shapes.gate import Gate
from gateway.shapes.incoming import ResponseRefused, check_response
from gateway.shapes.models import RequestRules
from gateway.shapes.stream import ChatStream, ResponsesStream
from gateway.shapes.turns import Unusable
from tests.unit.loop_bench import Api, each_api, prompt
from tests.unit.shapes.test_stream import data, events, whole


@each_api
def test_the_gate_hands_over_nothing_of_a_call_cut_at_any_byte(api: Api) -> None:
    made = events(api, whole(api, "call_1", text="Hm."))
    complete = b"".join(made)
    end = len(complete) - (len(made[-1]) if api == "chat" else 0) - 2
    for cut in range(complete.index(b"call_1"), end):
        gate = Gate(api, RequestRules())
        out = gate.feed(complete[:cut])
        with pytest.raises(ResponseRefused):
            gate.end()
        assert b"call_1" not in out
        assert b"look_up" not in out


@each_api
def test_the_client_and_the_assembler_make_no_turn_of_a_call_cut_at_any_byte(api: Api) -> None:
    made = events(api, whole(api, "call_1", text="Hm."))
    complete, sent = b"".join(made), b""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=sent)

    inner = httpx2.Client(transport=httpx2.MockTransport(answer))
    with openai.OpenAI(api_key="k", max_retries=0, http_client=inner) as c:
        part: Any = c.chat.completions if api == "chat" else c.responses
        begins = complete.index(b"call_1")
        for cut in range(begins, len(complete) - (len(made[-1]) if api == "chat" else 0) - 2):
            sent = complete[:cut]
            stream = ChatStream() if api == "chat" else ResponsesStream()
            with suppress(ValueError):  # half an event is no JSON
                for event in part.create(model="m", stream=True, **prompt(api, "go")):
                    stream.add(event)
            assert stream.result() == Unusable(StopReason.TRUNCATED), cut


STRANGE = (None, True, 5, "x", [], [1], {}, {"type": ["function"]})


def bent(node: Any) -> Iterator[Any]:
    """Every copy in which one node is something else."""
    yield from STRANGE
    for at in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        for other in bent(node[at]):
            made = node.copy()
            made[at] = other
            yield made


@each_api
def test_no_part_of_an_answer_surprises_the_wrap(api: Api) -> None:
    """Whatever stands where something was expected: handed over or refused, whole and streamed."""
    for body in bent(whole(api, "call_1")):
        with suppress(ResponseRefused):
            check_response(api, body, RequestRules())
    good = [data(each) for each in events(api, whole(api, "call_1")) if b"[DONE]" not in each]
    for at, each in enumerate(good):
        for event in bent(each):
            gate = Gate(api, RequestRules())
            with suppress(ResponseRefused):
                for sent in (*good[:at], event, *good[at + 1 :]):
                    gate.feed(b"data: " + json.dumps(sent).encode() + b"\n\n")
                gate.end()
