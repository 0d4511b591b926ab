"""Putting a streamed turn together, in either API: what comes out is read as if it had come whole (`turns.read_turn`).

Guarantees: nothing is read before the provider has said that the turn is over; a call keeps the place, the id and the
name it began with, and its arguments are exactly the deltas in their order; deltas that contradict each other, that
belong to no call, or that come after the end make the whole turn unusable. Nothing here looks inside an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from gateway.domain.decision import StopReason
from gateway.domain.errors import UsageError
from gateway.shapes.calls import CALL_ITEMS, Format, kind_of, plain
from gateway.shapes.turns import Unusable

MAX_CALLS = 1_000  # of one turn; more than 128 are refused one and all, and this bounds what is kept until then
MAX_CHARS = 64 * 1024 * 1024  # of all arguments of one turn

Item = dict[str, Any]
_PARTS = {  # Responses: the event that carries a piece of a call, and the one that carries the whole
    "response.function_call_arguments.delta": "delta",
    "response.custom_tool_call_input.delta": "delta",
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.done": "input",
}
TERMINAL = ("response.completed", "response.incomplete", "response.failed")


class BadStream(ValueError):
    """The stream contradicts itself, or says that it has failed."""

    def __init__(self, why: str, reason: StopReason = StopReason.INVALID_TURN) -> None:
        super().__init__(why)
        self.reason = reason


@final
@dataclass(slots=True)
class _Call:
    """One call as far as it has come."""

    head: Item
    pieces: list[str] = field(default_factory=list)
    item: Item | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@final
class ChatStream:
    """`chat.completion.chunk`s to the body of a `chat.completion` with one choice."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._others: Item = {}
        self._calls: list[_Call] = []
        self._finish: str | None = None
        self._chars = 0

    @property
    def ended(self) -> bool:
        return self._finish is not None

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    def add(self, chunk: object) -> str:
        """Take one chunk; gives back the piece of text in it. Raises BadStream."""
        fields = _fields(chunk)
        choices = fields.get("choices")
        if not isinstance(choices, list) or len(choices) > 1:
            raise BadStream("a chunk without a list of one choice")
        if not choices:
            return ""  # the usage, or a filter's verdict on the prompt
        choice = choices[0]
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            raise BadStream("a chunk of another choice")
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise BadStream("a delta that is no object")
        said = {key: value for key, value in delta.items() if value not in (None, "", []) and key != "role"}
        if self.ended and said:
            raise BadStream("something was said after the turn was over")
        if delta.get("role") not in (None, "", "assistant"):
            raise BadStream("a delta of another role")
        for key, value in said.items():
            self._take(key, value)
        self._end(choice.get("finish_reason"))
        content = said.get("content")
        return content if isinstance(content, str) else ""

    def _end(self, finish: object) -> None:
        if finish is None or finish == self._finish:
            return
        if self.ended or not isinstance(finish, str):
            raise BadStream("two ends of one turn")
        self._finish = finish

    def _take(self, key: str, value: object) -> None:
        if key == "tool_calls":
            if not isinstance(value, list):
                raise BadStream("calls that are no list")
            for each in value:
                self._call(each)
        elif isinstance(value, str):
            self._texts.setdefault(key, []).append(value)
        elif key in ("content", "refusal"):
            raise BadStream(f"a piece of {key} that is no text")
        else:
            self._others[key] = value

    def _call(self, delta: object) -> None:
        if not isinstance(delta, dict):
            raise BadStream("a call that is no object")
        index = delta.get("index")
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= min(len(self._calls), MAX_CALLS):
            raise BadStream("a call at a place that does not follow")
        if index == len(self._calls):
            if not delta.get("id"):
                raise BadStream("a call that begins without an id")
            self._calls.append(_Call({}))
        call = self._calls[index]
        for key, value in delta.items():
            if key in ("function", "custom"):
                self._body(call, key, value)
            elif key != "index" and value not in (None, ""):
                _same(call.head, key, value)

    def _body(self, call: _Call, kind: str, value: object) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            raise BadStream("a call's body that is no object")
        field = "arguments" if kind == "function" else "input"
        piece = value.get(field)
        if piece is not None and not isinstance(piece, str):
            raise BadStream("a piece of arguments that is no text")
        self._chars += len(piece or "")
        if self._chars > MAX_CHARS:
            raise BadStream("more arguments than a turn may hold")
        if piece:
            call.pieces.append(piece)
        _same(call.head, "body", kind)
        if value.get("name"):
            _same(call.head, "name", value["name"])

    def result(self) -> Item | Unusable:
        """The whole body, or that the stream ended before the turn was over."""
        if self._finish is None:
            return Unusable(StopReason.TRUNCATED)
        message: Item = {"role": "assistant", "content": None}
        message |= {key: "".join(pieces) for key, pieces in self._texts.items()} | self._others
        if self._calls:
            message["tool_calls"] = [_chat_call(call) for call in self._calls]
        return {"choices": [{"index": 0, "finish_reason": self._finish, "message": message}]}


def _chat_call(call: _Call) -> Item:
    kind = call.head.get("body", "function")
    head = {"type": kind} | {key: value for key, value in call.head.items() if key not in ("body", "name")}
    field = "arguments" if kind == "function" else "input"
    return head | {kind: {"name": call.head.get("name"), field: call.text}}


@final
class ResponsesStream:
    """Responses events to the body of a `response`: the terminal one's, which must hold what was streamed."""

    def __init__(self) -> None:
        self._items: list[_Call] = []
        self._last = -1
        self._body: Item | None = None
        self._chars = 0
        self.has_calls = False

    @property
    def ended(self) -> bool:
        return self._body is not None

    def add(self, event: object) -> str:
        """Take one event; gives back the piece of text in it. Raises BadStream."""
        fields = _fields(event)
        kind = kind_of(fields)
        if self.ended:
            raise BadStream("an event after the response was over")
        self._in_order(fields.get("sequence_number"))
        if kind == "error":
            raise BadStream("the provider reported an error", StopReason.MODEL_FAILED)
        if kind == "response.output_item.added":
            self._added(fields)
        elif kind == "response.output_item.done":
            self._done(fields)
        elif kind in _PARTS:
            self._part(fields, _PARTS[kind], whole=not kind.endswith(".delta"))
        elif kind in TERMINAL:
            self._terminal(fields.get("response"))
        elif kind == "response.output_text.delta" and isinstance(fields.get("delta"), str):
            return str(fields["delta"])
        return ""

    def _in_order(self, number: object) -> None:
        if number is None:
            return
        if not isinstance(number, int) or number <= self._last:
            raise BadStream("events out of their order")
        self._last = number

    def _added(self, fields: Item) -> None:
        item = fields.get("item")
        if not isinstance(item, dict) or fields.get("output_index") != len(self._items) or len(self._items) > MAX_CALLS:
            raise BadStream("an item at a place that does not follow")
        self._items.append(_Call(item))
        self.has_calls = self.has_calls or kind_of(item) not in ("message", "reasoning")

    def _at(self, fields: Item) -> _Call:
        index = fields.get("output_index")
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(self._items):
            raise BadStream("an event of an item that has not begun")
        found = self._items[index]
        if found.item is not None:
            raise BadStream("an event of an item that was done")
        return found

    def _part(self, fields: Item, field: str, *, whole: bool) -> None:
        call, piece = self._at(fields), fields.get(field)
        if kind_of(call.head) not in CALL_ITEMS or not isinstance(piece, str):
            raise BadStream("a piece of arguments that belongs to no call")
        if fields.get("item_id") not in (None, "", call.head.get("id", "")):
            raise BadStream("a piece of another call's arguments")
        if not whole or not call.pieces:
            self._chars += len(piece)
            if self._chars > MAX_CHARS:
                raise BadStream("more arguments than a turn may hold")
            call.pieces.append(piece)
        elif piece != call.text:
            raise BadStream("arguments that are not the pieces they were streamed in")

    def _done(self, fields: Item) -> None:
        begun, item = self._at(fields), fields.get("item")
        if not isinstance(item, dict) or item.get("type") != begun.head.get("type"):
            raise BadStream("an item that ended as another kind than it began")
        field = CALL_ITEMS.get(kind_of(item))
        if field is not None:
            for key in ("call_id", "name"):
                if item.get(key) != begun.head.get(key):
                    raise BadStream(f"a call that ended with another {key} than it began with")
            if begun.pieces and item.get(field) != begun.text:
                raise BadStream("arguments that are not the pieces they were streamed in")
        begun.item = item

    def _terminal(self, body: object) -> None:
        if not isinstance(body, dict):
            raise BadStream("an end without a response")
        if body.get("status") == "completed":
            done = [each.item for each in self._items if each.item is not None]
            if len(done) != len(self._items):
                raise BadStream("a response that was over before its items were", StopReason.TRUNCATED)
            output = body.get("output") or done
            if not isinstance(output, list) or list(map(_identity, output)) != list(map(_identity, done)):
                raise BadStream("a response that does not hold what was streamed")
            body = body | {"output": output}
        self._body = body

    def result(self) -> Item | Unusable:
        """The whole body, or that the stream ended before the response was over."""
        return self._body if self._body is not None else Unusable(StopReason.TRUNCATED)


Assembler = ChatStream | ResponsesStream


def assembler(format: Format) -> Assembler:
    return ChatStream() if format == "chat" else ResponsesStream()


def _fields(event: object) -> Item:
    try:
        return plain(event)
    except UsageError as error:
        raise BadStream("an event that is no object of the API") from error


def _same(head: Item, key: str, value: object) -> None:
    if head.setdefault(key, value) != value:
        raise BadStream(f"a call that changed its {key}")


def _identity(item: object) -> object:
    """What of an item matters for what is executed."""
    if not isinstance(item, dict) or kind_of(item) not in CALL_ITEMS:
        return item.get("type") if isinstance(item, dict) else item
    return tuple(item.get(key) for key in ("type", "call_id", "name", "namespace", CALL_ITEMS[item["type"]]))
