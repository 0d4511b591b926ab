"""What translating OpenAI's shapes costs: `python -m benchmarks.openai`. Nothing is decided or executed in here.

Adapter work of one call is: read the call, write its answer. Reading a turn in the loop, putting a stream together and
passing the wrapped client's gate are measured apart, an event or a turn at a time.
"""

from __future__ import annotations

import json
import statistics
import time
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from benchmarks.speed.table import Row, show
from benchmarks.speed.timing import Batch, medians
from examples.scripted_openai.stream import chat_events, responses_events
from gateway.domain.call import CallContext, Released
from gateway.domain.ids import Principal
from gateway.domain.instant import Instant
from gateway.policy.documents import Contract
from gateway.shapes.answers import write_answers
from gateway.shapes.calls import Format, read_calls
from gateway.shapes.gate import Gate
from gateway.shapes.models import RequestRules
from gateway.shapes.outgoing import govern_request
from gateway.shapes.stream import assembler
from gateway.shapes.tools import ToolLists
from gateway.shapes.turns import read_turn

CALLS = 4
TOOLS = 200
ARGUMENTS = '{"order_id": "A-1042", "amount": 129.5, "reason": "damaged in transit"}'
BATCH, ROUNDS = 200, 30
ADAPTER_US, COLD_MS, CACHED_US, TEXT_MS = 30.0, 2.0, 20.0, 1.0  # the targets

CHAT: dict[str, Any] = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Looking.",
        "tool_calls": [{"id": f"call_{n}", "type": "function", "function": {"name": "refund", "arguments": ARGUMENTS}}
                       for n in range(CALLS)]}}],
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "parallel_tool_calls": True,
    "tool_choice": "auto", "tools": [],
    "output": [{"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": "refund",
                "arguments": ARGUMENTS, "status": "completed"} for n in range(CALLS)],
}  # fmt: skip


def repeat(work: Any) -> Batch:
    def batch(times: int) -> None:
        for _ in range(times):
            work()

    return batch


def adapter() -> list[Row]:
    """Reading a call and writing its answer, by API and by what the host passes."""
    chat, response = ChatCompletion.model_validate(CHAT), Response.model_validate(RESPONSE)
    messages: list[tuple[str, Any]] = [
        ("Chat Completions, the client's objects", chat.choices[0].message.tool_calls),
        ("Chat Completions, dictionaries", CHAT["choices"][0]["message"]["tool_calls"]),
        ("Responses, the client's objects", response.output),
        ("Responses, dictionaries", RESPONSE["output"]),
    ]
    at = Instant(0, 0, "")
    who = Principal("ana")

    def work(items: Any) -> Any:
        def one() -> None:
            asked = read_calls(items)
            outcomes = [
                Released(CallContext(c.id, c.id, who, None, "c", "d", at, 0), "refund", '{"ok":true}', None)
                for c in asked.calls
            ]
            write_answers(asked.format, outcomes, asked.custom)

        return repeat(one)

    found = medians({name: work(items) for name, items in messages}, batch=BATCH, rounds=ROUNDS)
    return [Row(f"{name}, a call", us / CALLS, "us", ADAPTER_US) for name, us in found.items()]


def turns() -> list[Row]:
    """A whole turn read in the loop, a streamed one put together, and an event at the gate."""
    chat, response = ChatCompletion.model_validate(CHAT), Response.model_validate(RESPONSE)
    work: dict[str, Batch] = {
        "read a turn, chat": repeat(lambda: read_turn("chat", chat, ())),
        "read a turn, responses": repeat(lambda: read_turn("responses", response, ())),
    }
    events: dict[Format, list[bytes]] = {"chat": list(chat_events(CHAT)), "responses": list(responses_events(RESPONSE))}
    for api, stream in events.items():
        given = [json.loads(e.split(b"data: ", 1)[1]) for e in stream if b"[DONE]" not in e]
        work[f"put a streamed turn together, {api}"] = repeat(lambda api=api, given=given: _assemble(api, given))
        work[f"pass the gate, {api}"] = repeat(lambda api=api, stream=stream: _pass(api, stream))
    found = medians(work, batch=BATCH // 10, rounds=ROUNDS)
    rows = []
    for name, us in found.items():
        each = (
            len(events["chat" if name.endswith("chat") else "responses"])
            if "turn" not in name or "put" in name
            else CALLS
        )
        rows.append(Row(f"{name}, {'a call' if each == CALLS else 'an event'}", us / each, "us"))
    return [*rows, Row("text at the gate, p99 of an event", text_p99_ms(), "ms", TEXT_MS)]


def _assemble(api: Format, given: list[Any]) -> None:
    whole = assembler(api)
    for event in given:
        whole.add(event)
    whole.result()


def _pass(api: Format, stream: list[bytes]) -> None:
    gate = Gate(api, RequestRules())
    for event in stream:
        gate.feed(event)
    gate.end()


def text_p99_ms() -> float:
    """How long a piece of text stays in the gate."""
    said = CHAT | {"choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 8000}}]}
    gate, took = Gate("chat", RequestRules()), []
    for event in chat_events(said):
        began = time.perf_counter_ns()
        gate.feed(event)
        took.append((time.perf_counter_ns() - began) / 1e6)
    return sorted(took)[int(len(took) * 0.99)]


def first_ms(contracts: dict[str, Contract], names: tuple[str, ...]) -> float:
    """The first list of a policy version, with its warning that it is long."""
    took = []
    for _ in range(ROUNDS):
        fresh = ToolLists(contracts)
        began = time.perf_counter_ns()
        fresh.render(fresh.subset(names), "responses")
        took.append((time.perf_counter_ns() - began) / 1e6)
    return statistics.median(took)


def lists() -> list[Row]:
    """A list of 200 tools: made for a policy version, shown to a session, and put in place of a host's."""
    properties: dict[str, object] = {
        "order_id": {"type": "string", "pattern": "^[A-Z]-[0-9]+$", "description": "The order."},
        "amount": {"type": "number", "minimum": 0},
        "reason": {"type": "string", "enum": ["damaged", "late", "other"]},
        "note": {"type": "string", "maxLength": 200},
    }
    parameters: dict[str, object] = {"type": "object", "properties": properties, "required": ["order_id", "amount"]}
    names = tuple(f"tool_{n:03}" for n in range(TOOLS))
    contracts = {
        name: Contract(tool=name, description="Does one thing.", risk="low", effect="none", parameters=parameters)
        for name in names
    }
    compiled = ToolLists(contracts)
    rendered = compiled.render(names, "responses")
    rules = RequestRules()
    found = medians(
        {
            "made once a policy version": repeat(lambda: ToolLists(contracts)),
            "shown again": repeat(lambda: compiled.render(compiled.subset(names), "responses")),
            "govern a request that carries it": repeat(
                lambda: govern_request("responses", {"model": "m", "tools": rendered}, names, compiled, rules)
            ),
        },
        batch=5,
        rounds=ROUNDS,
    )
    compile_us, shown_us, govern_us = found.values()
    return [
        Row("made, once a policy version, at load", compile_us / 1000, "ms"),
        Row("shown for the first time", first_ms(contracts, names), "ms", COLD_MS),
        Row("shown again", shown_us, "us", CACHED_US),
        Row("a request that carries it, governed", govern_us / 1000, "ms"),
    ]


if __name__ == "__main__":
    with redirect_stderr(StringIO()):  # a list of that length is warned about each time
        long_lists = lists()
    show(
        "OpenAI's shapes",
        {"Adapter work": adapter(), "Turns and streams": turns(), f"A list of {TOOLS} tools": long_lists},
    )
