"""Catalogue, Execution (C081, C082, C139): what a tool gives back, and what it does to what it was given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.call import Released
from gateway.shapes.answers import content
from tests.support import ANA, gateway_with, one, records, result, tool


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def fine(word: str) -> str:
    return word


def test_a_result_is_capped_and_marked(tmp_path: Path) -> None:
    def big() -> list[str]:
        return ["ä" * 1000] * 5000

    with gateway_with(tmp_path, tool(big, result={"max_bytes": 1000})) as gateway:
        value = result(one(gateway.session(ANA), "big"))
        assert value["truncated"] is True
        assert value["bytes"] > 5_000_000
        assert len(value["text"].encode()) <= 1000
        assert value["text"].startswith('["ä')


class Liar:
    """Says that it is text."""

    __class__ = str  # type: ignore[assignment]


class Leaver:
    def model_dump(self, mode: str) -> object:
        raise SystemExit(1)


class Endless(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            yield str(number)
            number += 1

    def __len__(self) -> int:
        return 2**40


class Loud:
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


def _circle() -> list[object]:
    circle: list[object] = []
    circle.append(circle)
    return circle


def _nameless() -> object:
    """Not even its type can be named. Made here, because pytest looks at every class of a module."""

    class Kind(type):
        def __getattribute__(cls, name: str) -> Any:
            raise SystemExit(1)

    class Nameless(metaclass=Kind):
        pass

    return object.__new__(Nameless)


VALUES: dict[str, Callable[[], object]] = {
    "circular": _circle,
    "bytes": lambda: b"\xff\x00",
    "nan": lambda: {"n": float("nan"), "i": [float("inf")]},
    "raising": Loud,
    "liar": Liar,
    "leaver": Leaver,
    "nameless": _nameless,
    "endless": Endless,
    "surrogate": lambda: "\ud800",
    "huge": lambda: 10**5000,
    "keys": lambda: {1: "a", None: "b", Loud(): "c", (1, 2): "d"},
    "deep": lambda: [[[[["x"]]]]] * 3,
    "set": lambda: {"a", "b"},
    "generator": lambda: (number for number in range(3)),
    "exception": lambda: Mute("x"),
    "class": lambda: Loud,
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("kind", ["sync", "inline", "async"])
def test_c081_any_value_is_released_as_json(tmp_path: Path, name: str, kind: str) -> None:
    def give() -> Any:
        return VALUES[name]()

    async def give_async() -> Any:
        return VALUES[name]()

    subject = tool(
        give_async if kind == "async" else give, name="give", effect="external", execution={"inline": kind == "inline"}
    )
    with gateway_with(tmp_path, subject) as gateway:
        outcome = one(gateway.session(ANA), "give")
        assert isinstance(outcome, Released)
        assert outcome.failure is None
        json.loads(outcome.content)
    (ended,) = records(tmp_path, "call.outcome")
    assert ended["status"] == "released"
    if name not in ("surrogate", "huge", "keys", "deep", "set"):
        assert ended["evidence"]["replaced"] >= 1


def test_c082_a_model_reads_a_code_and_an_id_and_nothing_of_the_inside(tmp_path: Path) -> None:
    def fail() -> str:
        raise OSError(f"cannot open {__file__}: password=hunter2")

    def broken_fact(_: object) -> object:
        raise RuntimeError(f"table users is missing in {__file__}")

    judged = tool(
        fine,
        facts={"it": {"provider": "it"}},
        rules=[{"id": "r", "require": "facts.it.ok == true", "tell_model": "no"}],
    )
    with gateway_with(tmp_path, tool(fail), judged) as gateway:
        gateway.register_fact("it", broken_fact)
        session = gateway.session(ANA)
        for outcome in (one(session, "fail"), one(session, "fine", word="w")):
            text = content(outcome)
            error = json.loads(text)["error"]
            assert error["correlation_id"] == outcome.ctx.id
            assert set(error) == {"code", "message", "suggestion", "correlation_id"}
            for inside in ("hunter2", __file__, "users", "Traceback", "OSError", "RuntimeError"):
                assert inside not in text
    (ended,) = records(tmp_path, "call.outcome")
    assert "hunter2" in ended["detail"]  # the operator reads what it was


def test_c139_a_tool_that_changes_its_arguments_changes_nothing_else(tmp_path: Path) -> None:
    def hoard(items: list[str], where: dict[str, str]) -> list[str]:
        items.append("more")
        where.clear()
        return items

    subject = tool(
        hoard,
        parameters={
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": {"type": "string"}},
                "where": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["items", "where"],
            "additionalProperties": False,
        },
        facts={"seen": {"provider": "seen", "args": ["items"]}},
        rules=[{"id": "few", "require": "size(args.items) == 1", "tell_model": "one only"}],
    )

    def seen(_: object, items: list[str]) -> dict[str, object]:
        items.append("from the fact")
        return {"n": len(items)}

    with gateway_with(tmp_path, subject) as gateway:
        gateway.register_fact("seen", seen)
        session = gateway.session(ANA)
        for _ in range(2):
            assert result(one(session, "hoard", items=["a"], where={"k": "v"})) == ["a", "more"]
    first, second = records(tmp_path, "call.intent")
    assert first["arguments"] == second["arguments"] == {"items": ["a"], "where": {"k": "v"}}
    assert first["effective_digest"] == second["effective_digest"]


@pytest.mark.parametrize("inline", [False, True])
def test_c081_a_coroutine_that_nobody_ran_is_no_success(tmp_path: Path, inline: bool) -> None:
    ran: list[str] = []

    async def really() -> str:
        ran.append("x")
        return "x"

    def looks_sync() -> Any:
        return really()

    with gateway_with(tmp_path, tool(looks_sync, execution={"inline": inline})) as gateway:
        outcome = one(gateway.session(ANA), "looks_sync")
    assert isinstance(outcome, Released)
    assert outcome.failure is not None
    assert "async def" in outcome.failure.detail
    assert ran == []
