"""Strict JSON: one text, one meaning, or a refusal (RFC 8259, narrowed by RFC 7493 I-JSON).

Guarantees: what is returned was said unambiguously. Refused are duplicate keys at any depth, NaN and infinities,
numbers a double cannot hold exactly, lone surrogates, control characters other than tab, line feed and carriage
return, other encodings than UTF-8, a byte order mark, anything after the value, a root that is no object, and
whatever is too large or too deep, which is found out before anything is built. The C scanner of the standard library
does the work; hooks take away what it is lenient about.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn, final

from gateway.domain.canonical import MAX_SAFE_INTEGER, exact_float
from gateway.domain.decision import ReasonCode
from gateway.domain.errors import ToolgateError

MAX_NUMBER_CHARS = 64  # longer spellings are refused before they are converted
MAX_INTEGER_CHARS = len(str(MAX_SAFE_INTEGER)) + 1  # and a sign

_SPACE = " \t\n\r"  # RFC 8259 section 2, and nothing else that Python calls a space
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
_SUSPICIOUS_ESCAPE = re.compile(r"\\(?:[bf]|u00[01]|u[dD][89a-fA-F])")  # may also match after `\\`: then we look closer
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")

_ONE_OBJECT = "Send the arguments as one JSON object."


@final
class BadJson(ToolgateError, ValueError):
    """The text is refused. `message` and `suggestion` are fit for the model: they quote nothing but positions."""

    def __init__(self, message: str, suggestion: str = "", code: ReasonCode = ReasonCode.BAD_JSON) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion
        self.code = code


@final
class Decoded(NamedTuple):
    """`simple` says that `value` holds no float and only ASCII keys, so its canonical form is cheap."""

    value: dict[str, object]
    simple: bool


def decode(wire: bytes, *, max_bytes: int, max_depth: int) -> Decoded:
    """The object that `wire` says, in UTF-8. Raises BadJson."""
    check_size(len(wire), max_bytes)
    try:
        text = wire.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(f"The arguments are not UTF-8 text (byte {error.start}).", _ONE_OBJECT) from None
    return decode_text(text, max_depth=max_depth)


def check_size(size: int, max_bytes: int) -> None:
    """Raises BadJson if `size` bytes are too many."""
    if size > max_bytes:
        raise BadJson(
            f"The arguments are {size} bytes long; at most {max_bytes} are accepted.",
            "Send less, or split the work into several calls.",
            ReasonCode.ARGUMENTS_TOO_LARGE,
        )


def decode_text(text: str, *, max_depth: int) -> Decoded:
    """The object that `text` says. `text` must be encodable as UTF-8 and bounded. Raises BadJson."""
    body = text.strip(_SPACE)
    if not body.startswith("{"):
        _no_object(body)
    if body.count("{") + body.count("[") > max_depth:
        _check_depth(body, max_depth)
    simple = True
    try:
        try:
            value, end = _scan_without_floats(body, 0)
        except _FloatSeen:
            simple = False
            value, end = _scan(body, 0)
    except json.JSONDecodeError as error:
        _malformed(text, body, error.pos, error.msg)
    except StopIteration as stop:
        _malformed(text, body, stop.value, "Expecting value")
    except RecursionError:
        raise BadJson("The arguments are nested too deeply.", "Send a flatter object.") from None
    if end != len(body):
        end += _lead(body[end:])
        raise BadJson(
            f"Something follows the object at {_place(text, _lead(text) + end)}.",
            "Send exactly one JSON object and nothing after it.",
        )
    if "\\" in body:
        if _SUSPICIOUS_ESCAPE.search(body):
            _check_strings(value)
        return Decoded(value, simple and _ascii_keys(value))
    return Decoded(value, simple and (body.isascii() or _ascii_keys(value)))


class _FloatSeen(Exception):
    """The text holds a float, so the slower scanner is asked."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadJson(f"The key {_quote(key)} stands twice in one object.", "Give every key once.")
            seen.add(key)
    return built


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_CHARS or abs(number := int(text)) > MAX_SAFE_INTEGER:
        raise BadJson(
            f"An integer of {len(text.lstrip('-'))} digits is beyond {MAX_SAFE_INTEGER} and would lose digits.",
            "Send a smaller number, or text where the tool takes text.",
            ReasonCode.NUMBER_NOT_EXACT,
        )
    return number


def _float(text: str) -> float:
    number = exact_float(text) if len(text) <= MAX_NUMBER_CHARS else None
    if number is None:
        raise BadJson(
            "A number has more digits, or a larger value, than can be kept exactly.",
            "Write at most 15 significant digits, and integers up to 9007199254740991.",
            ReasonCode.NUMBER_NOT_EXACT,
        )
    return number


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not a JSON number.", "Send a finite number, or leave the field out.")


def _see_float(_: str) -> NoReturn:
    raise _FloatSeen


_scan = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
).scan_once  # type: ignore[attr-defined]
_scan_without_floats = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_see_float, parse_constant=_constant
).scan_once  # type: ignore[attr-defined]


def _check_depth(body: str, max_depth: int) -> None:
    """Count brackets outside strings, without recursion: 100,000 of them cost one pass up to the first too many."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(body):
        mark = found[0]
        if mark in "{[":
            depth += 1
            if depth > max_depth:
                raise BadJson(f"The arguments are nested deeper than {max_depth} levels.", "Send a flatter object.")
        elif mark in "}]":
            depth -= 1


def _check_strings(root: object) -> None:
    todo = [root]
    while todo:
        item = todo.pop()
        if type(item) is dict:
            todo.extend(item)
            todo.extend(item.values())
        elif type(item) is list:
            todo.extend(item)
        elif type(item) is str and (bad := _NOT_TEXT.search(item)):
            code = ord(bad[0])
            what = "half of a character (a lone surrogate)" if code >= 0xD800 else "a control character"
            raise BadJson(
                f"A string holds {what}, U+{code:04X}.",
                "Send plain text; tab, line feed and carriage return are the only control characters accepted.",
            )


def _ascii_keys(root: object) -> bool:
    todo = [root]
    while todo:
        item = todo.pop()
        if type(item) is dict:
            if not all(map(str.isascii, item)):
                return False
            todo.extend(item.values())
        elif type(item) is list:
            todo.extend(item)
    return True


def _no_object(body: str) -> NoReturn:
    if not body:
        raise BadJson("The arguments are empty.", _ONE_OBJECT)
    if body[0] == "\ufeff":
        raise BadJson("The arguments begin with a byte order mark.", _ONE_OBJECT)
    raise BadJson("The arguments are not a JSON object: they do not begin with '{'.", _ONE_OBJECT)


def _malformed(text: str, body: str, position: int, what: str) -> NoReturn:
    if position >= len(body):
        raise BadJson("The JSON ends too early.", "Close every string, list and object.") from None
    what = what.removesuffix(" at").removesuffix(" starting")  # the standard library's halves of a sentence
    raise BadJson(f"The JSON is wrong at {_place(text, _lead(text) + position)}: {what}.", _ONE_OBJECT) from None


def _lead(text: str) -> int:
    return len(text) - len(text.lstrip(_SPACE))


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return f"line {line}, column {column}"


def _quote(key: str) -> str:
    return ascii(key if len(key) <= 64 else key[:64] + "...")
