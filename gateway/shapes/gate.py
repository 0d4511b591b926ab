"""A model's event stream on its way to a host program: text goes on at once, calls when the turn is over.

Guarantees: no piece of a call is handed over before the provider has said that the turn is complete and every call in
it can be answered, so a stream cut anywhere hands over no call; events keep their order; what no contract can govern
ends the stream (`incoming`). Text before the first call is not held back at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, final

from gateway.domain.decision import StopReason
from gateway.shapes.calls import Format
from gateway.shapes.incoming import ResponseRefused, check_chat_message, check_item, check_response
from gateway.shapes.models import RequestRules
from gateway.shapes.stream import MAX_CHARS, BadStream, ChatStream, ResponsesStream
from gateway.shapes.turns import Unusable

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_SPLIT = 3  # bytes of an end that may have come before
_ITEM_EVENTS = ("response.output_item.added", "response.output_item.done")


@final
class Gate:
    """Bytes of server-sent events in, those that may go on out. `end` says whether all of it could."""

    def __init__(self, format: Format, rules: RequestRules, visible: Collection[str] = ()) -> None:
        self._rules = rules
        self._judge = _Chat(rules) if format == "chat" else _Responses(rules, visible)
        self._rest = bytearray()
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Raises ResponseRefused."""
        seen = max(0, len(self._rest) - _SPLIT)  # each byte is looked at once, however finely an event is cut
        self._rest += data
        out: list[bytes] = []
        start = 0
        for found in _EVENT_END.finditer(self._rest, seen):
            out += self._event(bytes(self._rest[start : found.end()]))
            start = found.end()
        del self._rest[:start]
        self._bound(len(self._rest))
        return b"".join(out)

    def end(self) -> bytes:
        """The stream is over. Raises ResponseRefused if a call in it is not."""
        rest = bytes(self._rest)
        last = b"".join(self._event(rest)) if rest.strip() else rest
        if self._held:
            raise ResponseRefused(StopReason.TRUNCATED, "the stream ended before its calls were complete")
        return last

    def _event(self, raw: bytes) -> list[bytes]:
        data = b"\n".join(line[5:].lstrip(b" ") for line in raw.splitlines() if line.startswith(b"data:"))
        if not data:
            return [raw]  # a comment that keeps the connection alive
        if data.strip() != b"[DONE]":
            try:
                event = json.loads(data)
                holds = self._judge.holds(event)
            except BadStream as bad:
                raise ResponseRefused(bad.reason, str(bad)) from bad
            except (ValueError, RecursionError) as error:
                raise ResponseRefused(StopReason.INVALID_TURN, "an event is no JSON") from error
            if holds:
                self._held.append(raw)
                self._size += len(raw)
                self._bound(self._size)
                return []
        elif self._held:
            return []  # `end` will say so
        released, self._held, self._size = self._held, [], 0
        return [*released, raw]

    @staticmethod
    def _bound(size: int) -> None:
        if size > 2 * MAX_CHARS:
            raise ResponseRefused(StopReason.INVALID_TURN, "more is held back than a turn may hold")


@final
class OpenGate:
    """Observe mode: every byte goes on at once. `end` raises what the gate would have stopped at."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._refused: ResponseRefused | None = None

    def feed(self, data: bytes) -> bytes:
        if self._refused is None:
            try:
                self._gate.feed(data)
            except ResponseRefused as refused:
                self._refused = refused
        return data

    def end(self) -> bytes:
        """Raises ResponseRefused, once all has gone on."""
        if self._refused is not None:
            raise self._refused
        self._gate.end()
        return b""


@final
class _Chat:
    """One assembler a choice: a host may have asked for several."""

    def __init__(self, rules: RequestRules) -> None:
        self._rules = rules
        self._choices: dict[int, ChatStream] = {}

    def holds(self, chunk: Any) -> bool:
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not isinstance(choices, list):
            if isinstance(chunk, dict) and chunk.get("error"):
                return False  # the client raises it
            raise BadStream("a chunk without choices")
        touched = [self._take(choice) for choice in choices]
        return any(each.has_calls and not each.ended for each in touched)

    def _take(self, choice: Any) -> ChatStream:
        index = choice.get("index", 0) if isinstance(choice, dict) else None
        if not isinstance(index, int) or not 0 <= index < MAX_CHOICES:
            raise BadStream("a chunk of no choice")
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise BadStream("a delta that is no object")
        check_chat_message(delta)
        stream = self._choices.setdefault(index, ChatStream())
        before = stream.ended
        stream.add({"choices": [{**choice, "index": 0}]})
        if stream.ended and not before and stream.has_calls:
            body = stream.result()
            if not isinstance(body, Unusable):
                check_response("chat", body, self._rules)
        return stream


MAX_CHOICES = 128  # API reference, `n`


@final
class _Responses:
    def __init__(self, rules: RequestRules, visible: Collection[str]) -> None:
        self._rules = rules
        self._visible = visible
        self._stream = ResponsesStream()

    def holds(self, event: Any) -> bool:
        if isinstance(event, dict) and event.get("type") == "error":
            return False  # the client raises it
        self._stream.add(event)
        if event.get("type") in _ITEM_EVENTS:
            check_item(event.get("item"), self._rules, self._visible)
        if "response" in event:  # the last one, or a snapshot on the way, which holds no call yet
            check_response("responses", event["response"], self._rules, self._visible)
        return self._stream.has_calls and not self._stream.ended
