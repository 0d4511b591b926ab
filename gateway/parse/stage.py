"""Step 1, parse: from what the model sent to one decoded object and the exact bytes it came from (I1).

Guarantees: text, bytes and an already decoded object take the same path, through bytes (C013), so nothing the caller
changes afterwards has any effect (C053). A tool name is taken as it is: never trimmed, folded or normalised (C016).
Nothing here looks at policy: what is refused does not depend on whether the tool exists (I7). That is also why empty
text is `{}` for every tool: where a parameter is required, step 4 says which (C138).
"""

from __future__ import annotations

import json
from typing import final

from gateway.domain.call import ParsedCall, RawCall
from gateway.domain.canonical import NotCanonical, plain
from gateway.domain.decision import ReasonCode, Refusal, Step
from gateway.domain.keyed import Digests
from gateway.parse.strict_json import BadJson, Decoded, check_size, decode, decode_text
from gateway.policy.documents import ArgumentLimits

MAX_TOOL_CHARS = 256  # four times what any contract may be called; a longer name cannot be right

_encode_object = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


@final
class Parse:
    """The step. `limits` bound the arguments of one call."""

    def __init__(self, limits: ArgumentLimits, key: Digests) -> None:
        self._max_bytes = limits.max_bytes
        self._max_depth = limits.max_depth
        self._key = key

    def __call__(self, call: RawCall) -> ParsedCall | Refusal:
        tool = call.tool
        if type(tool) is not str or not 0 < len(tool) <= MAX_TOOL_CHARS or not _is_text(tool):
            return _bad_call("The call names no tool.", "Name one of the tools you were given, exactly.")
        try:
            wire, decoded = self._read(call.arguments)
        except BadJson as bad:
            return Refusal(Step.PARSE, bad.code, bad.message, bad.suggestion)
        except NotCanonical as bad:  # a decoded object that is not JSON: the host's doing, so the host is told
            return _bad_call("The arguments are not JSON.", "Send one JSON object.", detail=str(bad))
        digest = self._key.digest(wire, domain=b"wire")
        return ParsedCall(call.ctx, tool, decoded.value, decoded.simple, wire, digest)

    def _read(self, arguments: object) -> tuple[bytes, Decoded]:
        """The wire bytes and what they say. Raises BadJson, NotCanonical."""
        kind = type(arguments)
        if kind is str:
            return self._read_text(arguments)  # type: ignore[arg-type]
        if kind is bytes:
            if not arguments:
                return b"", Decoded({}, simple=True)
            wire: bytes = arguments  # type: ignore[assignment]
            return wire, decode(wire, max_bytes=self._max_bytes, max_depth=self._max_depth)
        if kind is dict:
            wire = _encode_object(plain(arguments)).encode()
            return wire, decode(wire, max_bytes=self._max_bytes, max_depth=self._max_depth)
        raise NotCanonical(f"arguments of type {kind.__name__}; hand in text, bytes or a dict")

    def _read_text(self, text: str) -> tuple[bytes, Decoded]:
        if not text:
            return b"", Decoded({}, simple=True)
        check_size(len(text), self._max_bytes)
        try:
            wire = text.encode()
        except UnicodeEncodeError as error:
            raise BadJson(f"The arguments hold half of a character (a lone surrogate) at {error.start}.") from None
        check_size(len(wire), self._max_bytes)
        return wire, decode_text(text, max_depth=self._max_depth)


def _is_text(name: str) -> bool:
    """False for a name with lone surrogates, which no record could hold."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad_call(message: str, suggestion: str, detail: str = "") -> Refusal:
    return Refusal(Step.PARSE, ReasonCode.BAD_CALL, message, suggestion, detail)
