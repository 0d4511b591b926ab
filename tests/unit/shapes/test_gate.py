"""The gate of the wrapped client: text at once, calls when the turn is over, and nothing of a bent stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gateway.shapes.gate
from gateway.shapes.gate import _EVENT_END, Gate
from gateway.shapes.incoming import ResponseRefused
from gateway.shapes.models import RequestRules
from tests.unit.loop_bench import Api, Bench, How, assert_goes_on, each_api, prompt
from tests.unit.shapes.test_stream import (
    BENT_CHAT,
    BENT_RESPONSES,
    LATE,
    assert_executes_nothing,
    assert_recorded,
    data,
    events,
    honest,
    whole,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


# The client makes numbers of these before the loop sees them; the wrap reads the bytes.
READ_BY_THE_CLIENT = ("a place that is no number", "a place that is true")


def wire(given: list[dict[str, Any]]) -> bytes:
    """Events as a server sends them, renumbered so that only what is bent is wrong."""
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in given)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("how", ["stream", "async stream"])
@each_api
def test_malformed_deltas_execute_nothing_and_the_conversation_goes_on(
    bench: Bench, api: Api, how: How, wrapped: bool
) -> None:
    good, tried = honest(api), 0
    for name, bad in (BENT_CHAT if api == "chat" else BENT_RESPONSES).items():
        if not wrapped and name in READ_BY_THE_CLIENT:
            continue
        tried += 1
        at = len(good) if name == "another end" else len(good) - 1
        assert_executes_nothing(bench, api, wire([*good[:at], bad, *good[at:]]), how, wrapped=wrapped)
    assert_recorded(bench, tried, wrapped=wrapped)
    assert_goes_on(bench, api, next(iter(prompt(api, "go").values())))


@pytest.mark.parametrize("how", ["stream", "async stream"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@each_api
def test_calls_after_the_end_of_a_turn_execute_nothing(bench: Bench, api: Api, how: How, wrapped: bool) -> None:
    good = honest(api)
    if api == "chat":
        late: list[dict[str, Any]] = list(LATE.values())
        good = [*good[:-1], good[-1] | {"choices": [good[-1]["choices"][0] | {"finish_reason": "stop"}]}]
    else:
        late = [{**each, "sequence_number": 1000} for each in good if each["type"] == "response.output_item.added"]
    for each in late:
        assert_executes_nothing(bench, api, wire([*good, each]), how, wrapped=wrapped)
    assert_recorded(bench, len(late), wrapped=wrapped)
    assert_goes_on(bench, api, next(iter(prompt(api, "go").values())))


def test_a_snapshot_on_the_way_holds_no_call() -> None:
    begun, *_, over = honest("responses")
    early = begun | {"response": begun["response"] | {"output": over["response"]["output"]}}
    with pytest.raises(ResponseRefused):
        Gate("responses", RequestRules()).feed(wire([early]))


@each_api
def test_an_event_that_comes_in_many_pieces_is_looked_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments of megabytes in one event cost what their length is, however finely the network cuts it."""
    looked_at = 0

    class Counting:
        def finditer(self, rest: bytearray, at: int) -> Iterator[re.Match[bytes]]:
            nonlocal looked_at
            looked_at += len(rest) - at
            return _EVENT_END.finditer(rest, at)

    monkeypatch.setattr(gateway.shapes.gate, "_EVENT_END", Counting())
    stream = b"".join(events(api, whole(api, "call_1", text="x" * 20_000)))
    gate = Gate(api, RequestRules())
    for at in range(0, len(stream), 50):
        gate.feed(stream[at : at + 50])
    gate.end()
    assert looked_at < len(stream) * 1.1


@pytest.mark.parametrize("size", [1, 2, 3, 50, 100_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@each_api
def test_the_gate_lets_an_honest_stream_through_whole_however_it_is_cut(api: Api, end: bytes, size: int) -> None:
    stream = b": hello\n\n" + b"".join(events(api, whole(api, "call_1", "call_2")))
    stream = stream.replace(b"\n", end)
    gate = Gate(api, RequestRules())
    out = b"".join(gate.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + gate.end()
    assert out == stream


@each_api
def test_text_passes_the_gate_at_once_and_a_call_only_when_the_turn_is_over(api: Api) -> None:
    gate = Gate(api, RequestRules())
    passed = [gate.feed(each) for each in events(api, whole(api, "call_1"))]
    begins = next(i for i, each in enumerate(passed) if not each)
    assert all(passed[:begins])
    assert b"Looking"[:3] in b"".join(passed[:begins])
    last = next(i for i in range(begins, len(passed)) if passed[i])
    assert b"call_1" not in b"".join(passed[:last])
    assert last == len(passed) - (2 if api == "chat" else 1)


def test_several_choices_are_kept_apart() -> None:
    first, second = ([data(e) for e in events("chat", whole("chat", i))[:-1]] for i in ("call_1", "call_2"))
    for each in second:
        each["choices"][0]["index"] = 1
    mixed = [chunk for pair in zip(first, second, strict=True) for chunk in pair]
    gate = Gate("chat", RequestRules())
    stream = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in mixed)
    assert gate.feed(stream) + gate.end() == stream


@pytest.mark.parametrize(
    "bad",
    [b"data: {not json}\n\n", b"data: 7\n\n", b'data: {"choices": 7}\n\n', b"data: " + b"[" * 100_000 + b"\n\n"],
    ids=["no json", "a number", "no choices", "deep"],
)
def test_the_gate_refuses_what_it_cannot_read(bad: bytes) -> None:
    with pytest.raises(ResponseRefused):
        Gate("chat", RequestRules()).feed(bad)
