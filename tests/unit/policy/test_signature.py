"""A contract and a function that disagree are told apart, and each disagreement is named."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, TypedDict

import orjson
import pytest
from pydantic import BaseModel

from gateway.policy.documents import Contract
from gateway.policy.signature import signature_mismatches

if TYPE_CHECKING:
    from decimal import Decimal


class Address(BaseModel):
    street: str


class Filter(TypedDict):
    name: str


def contract(properties: dict[str, Any], required: list[str] | None = None, **more: Any) -> Contract:
    parameters = {"type": "object", "properties": properties, "required": required or []}
    document = {"tool": "t", "description": "d", "risk": "low", "effect": "none", "parameters": parameters, **more}
    return Contract.model_validate_json(orjson.dumps(document))


STR, INT, NUM, BOOL = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))


def plain(a: str, b: int = 1) -> None: ...
def floats(a: float) -> None: ...
def optional(a: str | None = None) -> None: ...
def choice(a: Literal["x", "y"]) -> None: ...
def maybe_choice(a: Literal["x", "y"] | None = None) -> None: ...
def lists(a: list[dict[str, int]], b: Filter) -> None: ...
def anything(a, b: Any) -> None: ...  # type: ignore[no-untyped-def]
def keywords(**arguments: Any) -> None: ...
def annotated(a: Annotated[str, "x"]) -> None: ...
def returns_what_is_not_imported(a: str) -> Decimal: ...
def opened(a: BinaryIO) -> None: ...
def when(a: datetime) -> None: ...
def models(a: list[Address]) -> None: ...
def hidden(a: Decimal) -> None: ...
def positional(a: str, /) -> None: ...
def several(*a: str) -> None: ...


@functools.wraps(plain)
def wrapped(*args: Any, **kwargs: Any) -> None: ...


class Desk:
    def method(self, a: str) -> None: ...


PATH = {"guards": {"a": {"kind": "path", "root": "r"}}}


@pytest.mark.parametrize(
    ("function", "agreed"),
    [
        (plain, contract({"a": STR, "b": INT}, ["a"])),
        (plain, contract({"a": STR, "b": {**INT, "default": 1}}, ["a", "b"])),
        (plain, contract({"a": {**STR, "default": "x"}})),
        (wrapped, contract({"a": STR, "b": INT}, ["a"])),
        (Desk().method, contract({"a": STR}, ["a"])),
        (floats, contract({"a": NUM}, ["a"])),
        (floats, contract({"a": INT}, ["a"])),
        (optional, contract({"a": STR})),
        (optional, contract({"a": {"type": ["string", "null"]}})),
        (optional, contract({"a": {"anyOf": [STR, {"type": "null"}], "default": None}})),
        (choice, contract({"a": {"enum": ["x"]}}, ["a"])),
        (choice, contract({"a": {"type": "string", "const": "y"}}, ["a"])),
        (maybe_choice, contract({"a": {"type": "string", "enum": ["x", "y"]}})),
        (maybe_choice, contract({"a": {"anyOf": [{"enum": ["x"]}, {"type": "null"}], "default": None}})),
        (lists, contract({"a": {"type": "array"}, "b": {"type": "object"}}, ["a", "b"])),
        (anything, contract({"a": STR, "b": BOOL}, ["a", "b"])),
        (keywords, contract({"a": STR, "b": BOOL}, ["a"])),
        (annotated, contract({"a": STR}, ["a"])),
        (returns_what_is_not_imported, contract({"a": STR}, ["a"])),
        (opened, contract({"a": STR}, ["a"], **PATH)),
    ],
)
def test_agreement(function: Callable[..., Any], agreed: Contract) -> None:
    assert signature_mismatches(agreed, function) == []


@pytest.mark.parametrize(
    ("function", "wrong", "says"),
    [
        (plain, contract({"a": STR, "c": STR}, ["a"]), "the contract has 'c', which the function does not take"),
        (plain, contract({"b": INT}), "the function needs 'a', which the contract does not have"),
        (plain, contract({"a": STR, "b": INT}), "lets 'a' be left out, but the function needs it"),
        (plain, contract({"a": STR, "b": {**INT, "default": 2}}, ["a"]), "'b' defaults to 2 in the contract and to 1"),
        (plain, contract({"a": INT}, ["a"]), "lets 'a' be integer, the function takes string"),
        (plain, contract({"a": {"type": ["string", "null"]}}, ["a"]), "lets 'a' be null"),
        (plain, contract({"a": STR, "b": NUM}, ["a"]), "lets 'b' be number"),
        (plain, contract({"a": STR, "b": BOOL}, ["a"]), "lets 'b' be boolean"),
        (plain, contract({"a": {"enum": ["x", 1]}}, ["a"]), "lets 'a' be integer"),
        (choice, contract({"a": STR}, ["a"]), "takes only some values of 'a'"),
        (choice, contract({"a": {"enum": ["x", "z"]}}, ["a"]), "lets 'a' be 'z'"),
        (opened, contract({"a": STR}, ["a"]), "'a' is annotated BinaryIO"),
        (when, contract({"a": STR}, ["a"]), "'a' is annotated datetime"),
        (models, contract({"a": {"type": "array"}}, ["a"]), "plain JSON values"),
        (hidden, contract({"a": STR}, ["a"]), "cannot be resolved"),
        (positional, contract({"a": STR}, ["a"]), "positional-only"),
        (several, contract({"a": STR}, ["a"]), "does not take"),
    ],
)
def test_disagreement(function: Callable[..., Any], wrong: Contract, says: str) -> None:
    found = signature_mismatches(wrong, function)
    assert len(found) == 1, found
    assert says in found[0]
