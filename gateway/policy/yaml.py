"""Strict YAML: one document, plain data, every value with its place in the file.

libyaml (PyYAML's C parser) reads the syntax and gives events; what they mean is decided here, by the core schema of
YAML 1.2.2 (section 10.3): `no`, `on` and `12:30` are strings. Refused, with file, line and column (C034): duplicate
keys, tags, anchors and aliases, merge keys, directives, a second document, keys that are not strings, numbers that
read differently in YAML 1.1 and 1.2 or that JSON cannot hold, and anything deeper or larger than the caps below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, final

import yaml

from gateway.domain.canonical import MAX_SAFE_INTEGER
from gateway.domain.errors import PolicyError
from gateway.policy.text import decode

MAX_BYTES: Final = 256 * 1024  # a contract has some 2 KiB; libyaml reads 1 MiB in about 0.1 s
MAX_DEPTH: Final = 32  # a contract with nested schemas reaches about 12
MAX_VALUES: Final = 20_000

Path = tuple[str | int, ...]
_Mark = tuple[int, int]  # line and column from 0, as libyaml counts; a large policy has a hundred thousand of them

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
# What YAML 1.1, YAML 1.2 or a person would read as different numbers: leading zeros, 0o17, 0x1F, 1_000, .inf, .nan
_AMBIGUOUS = re.compile(
    r"[-+]?(?:0[0-9][0-9_.]*|0o[0-7]+|0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_]*_[0-9_.]*|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
    re.ASCII,
)


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Line and column in a file, both from 1."""

    line: int
    column: int


@final
@dataclass(frozen=True, slots=True)
class YamlDocument:
    """What a file says, and where. `keys` has the place of a key (or list item), `values` of what it holds."""

    file: str
    data: object
    values: dict[Path, _Mark] = field(repr=False)
    keys: dict[Path, _Mark] = field(repr=False)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where `path` stands, or the nearest thing around it."""
        known = self.known(path)
        marks = self.keys if key and known in self.keys else self.values
        line, column = marks.get(known, (0, 0))
        return Place(line + 1, column + 1)

    def known(self, path: Path) -> Path:
        """`path` without the parts that are not in the file, such as the tag of a union."""
        known: Path = ()
        for part in path:
            if (*known, part) in self.values:
                known = (*known, part)
        return known

    def error(self, message: str, path: Path = (), *, key: bool = False) -> PolicyError:
        """A PolicyError that points at `path`."""
        at = self.place(path, key=key)
        return PolicyError(message, file=self.file, line=at.line, column=at.column)


def read_yaml(raw: bytes, *, file: str) -> YamlDocument:
    """Read one document of plain data. Raises PolicyError."""
    text = decode(raw, file=file, max_bytes=MAX_BYTES)
    try:
        return _Builder(file, yaml.parse(text, Loader=yaml.CSafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"this is not YAML: {error.problem or error.context}"
        raise PolicyError(
            message, file=file, line=mark.line + 1 if mark else 0, column=mark.column + 1 if mark else 0
        ) from error
    except yaml.YAMLError as error:
        raise PolicyError(f"this is not YAML: {error}", file=file) from error


def scalar(text: str) -> object:
    """What an unquoted scalar means in the core schema. Raises ValueError, with words for the author, if unclear."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        if len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER:
            raise ValueError("this integer is beyond 2^53 - 1, where JSON readers disagree. Quote it")
        return int(text)
    if _AMBIGUOUS.fullmatch(text):
        raise ValueError(f"{text!r} is a number to some readers only. Quote it, or write a plain decimal number")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("this number is too large")
        return number
    return text


@final
class _Builder:
    """Turns events into data. Depth is counted before anything nests, so no file can exhaust the stack."""

    def __init__(self, file: str, events: Iterator[Any]) -> None:
        self._file = file
        self._events = events
        self._values: dict[Path, _Mark] = {}
        self._keys: dict[Path, _Mark] = {}

    def document(self) -> YamlDocument:
        next(self._events)  # stream start
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise PolicyError("the file is empty", file=self._file)
        if start.version or start.tags:
            self._refuse(start, "directives are not used here. Remove the line that begins with %")
        data = self._value(next(self._events), ())
        next(self._events)  # document end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, "a second document begins here. Use one file for each")
        return YamlDocument(self._file, data, self._values, self._keys)

    def _value(self, event: Any, path: Path) -> object:
        self._plain(event)
        if len(path) > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH}")
        if len(self._values) >= MAX_VALUES:
            self._refuse(event, f"more than {MAX_VALUES} values. Split the file")
        mark = event.start_mark
        self._values[path] = (mark.line, mark.column)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        if not event.style and not event.value:  # such as {description: Why, in your words}: a second key, not text
            self._refuse(event, "a value is missing here. Write null if none is meant, and quote text with a comma")
        return self._scalar(event)

    def _mapping(self, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._plain(event)
            key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                self._refuse(event, "a key must be text. Quote it")
            if key == "<<" and not event.style:
                self._refuse(event, "merge keys are not used here. Write the values out")
            if key in found:
                first = self._keys[(*path, key)][0] + 1
                self._refuse(event, f"the key {key!r} stands here a second time (first on line {first}). Remove one")
            mark, below = event.start_mark, (*path, key)
            self._keys[below] = (mark.line, mark.column)
            found[key] = self._value(next(self._events), below)
        return found

    def _sequence(self, path: Path) -> list[object]:
        found: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found

    def _scalar(self, event: Any) -> object:
        if event.style:  # quoted or a block: always a string
            return str(event.value)
        try:
            return scalar(event.value)
        except ValueError as error:
            self._refuse(event, str(error))

    def _plain(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._refuse(event, "anchors (&) and aliases (*) are not used here. Write the value out, or quote it")
        if event.tag is not None:
            self._refuse(event, f"the tag {event.tag!r} is not used here. Remove it, or quote the value")

    def _refuse(self, event: Any, message: str) -> NoReturn:
        at = _place(event)
        raise PolicyError(message, file=self._file, line=at.line, column=at.column)


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)
