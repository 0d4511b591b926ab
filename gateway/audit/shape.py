"""The form every record must have, whatever it says: what a reader may rely on before reading events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import orjson

from gateway.audit.segment import read_lines

TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


class Shape(NamedTuple):
    """The framing fields of a well-formed record."""

    seq: int
    origin: str


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)  # made once: it costs as much as reading a record


def decode(line: bytes) -> dict[str, Any]:
    """A stored line as a JSON object. Raises ValueError."""
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- callers treat every bad line alike
    return record


def decode_quickly(line: bytes) -> dict[str, Any]:
    """As `decode`, in a third of the time, for readers that prove nothing. Raises ValueError for the very same lines.

    Only an integer beyond 64 bits, which no event holds (`domain.canonical`), comes as a float.
    """
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:  # stricter: a lone surrogate, a number beyond a double, deeper nesting
        return decode(line)
    if not isinstance(record, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- callers treat every bad line alike
    return record


def shape_of(line: bytes) -> Shape | None:
    """The framing fields, or None for a line that is no record."""
    try:
        record = decode(line)
    except ValueError:
        return None
    seq, origin = record.get("seq"), record.get("origin")
    when, mono = record.get("time"), record.get("mono_ns")
    if type(seq) is not int or seq < 0 or type(mono) is not int or not isinstance(origin, str):
        return None
    if not isinstance(when, str) or not TIME.fullmatch(when):
        return None
    return Shape(seq, origin)


class Numbered(NamedTuple):
    """One line by its place in the log. `torn`: the unfinished last line, which is no record.

    A line without a newline that is not the last one holds a NUL at its end: it is hashed so, and is no record either.
    """

    at: int
    data: bytes
    torn: bool


def numbered(segments: list[Path], start: int = 0) -> Iterator[Numbered]:
    """Every line, counted from `start` over all segments."""
    index = start
    waiting = None
    for line in read_lines(segments):
        if waiting is not None:  # unfinished, yet followed by more: over-long, or a segment cut in the middle
            yield Numbered(index, waiting + b"\0", torn=False)
            index += 1
            waiting = None
        if line.whole:
            yield Numbered(index, line.data, False)
            index += 1
        else:
            waiting = line.data
    if waiting is not None:
        yield Numbered(index, waiting, torn=True)
