"""Facts: fresh JSON copies within a deadline, or no call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gateway.domain.errors import UsageError
from gateway.domain.ids import Principal
from gateway.policy.documents import Fact
from gateway.validate.facts import FactContext, Facts, FactUnavailable
from gateway.waiting import Awaited, Blocking, OwnLoop, Workers, drive

CTX = FactContext(Principal("alice"), None, "conv-1")


class Ways:
    """Looks facts up on either side of `Waits`."""

    def __init__(self, awaited: bool) -> None:
        self.awaited = awaited
        self.workers, self.loop = Workers(2), OwnLoop()

    def look_up(self, facts: Facts, wanted: dict[str, Fact], given: dict[str, Any] | None = None) -> dict[str, object]:
        arguments = given or {}
        if not self.awaited:
            waits = Blocking(self.workers, self.loop)
            return drive(facts.look_up(wanted, lambda: dict(arguments), CTX, waits))
        with ThreadPoolExecutor(1) as own:
            return asyncio.run(facts.look_up(wanted, lambda: dict(arguments), CTX, Awaited(self.workers, own)))


@pytest.fixture(params=[False, True], ids=["blocking", "awaited"])
def ways(request: pytest.FixtureRequest) -> Iterator[Ways]:
    made = Ways(request.param)
    yield made
    made.workers.close()
    made.loop.close()


def one(name: str = "p", *args: str, deadline_s: float = 5.0) -> dict[str, Fact]:
    return {"f": Fact(provider=name, args=args, deadline_s=deadline_s)}


def test_sync_and_async_providers(ways: Ways) -> None:
    async def later(ctx: FactContext, order: str) -> object:
        return {"who": ctx.principal.id, "order": order}

    facts = Facts()
    facts.register("now", lambda ctx, order: {"who": ctx.principal.id, "order": order})
    facts.register("later", later)
    wanted = one("now", "order") | {"g": Fact(provider="later", args=("order",))}
    same = {"who": "alice", "order": "O-1"}
    assert ways.look_up(facts, wanted, {"order": "O-1", "amount": 3}) == {"f": same, "g": same}


def test_a_parameter_left_out_is_none(ways: Ways) -> None:
    facts = Facts()
    facts.register("p", lambda ctx, order: order is None)
    assert ways.look_up(facts, one("p", "order")) == {"f": True}


def test_the_same_question_is_asked_once_a_call(ways: Ways) -> None:
    asked: list[str] = []
    facts = Facts()
    facts.register("p", lambda ctx, a: asked.append(a) or len(asked))
    same, other = Fact(provider="p", args=("a",)), Fact(provider="p", args=())
    assert ways.look_up(facts, {"f": same, "g": same}, {"a": "x"}) == {"f": 1, "g": 1}
    assert ways.look_up(facts, {"f": same}, {"a": "x"}) == {"f": 2}
    with pytest.raises(FactUnavailable):
        ways.look_up(facts, {"f": other}, {"a": "x"})


def test_a_fact_is_a_copy_that_keeps_its_types(ways: Ways) -> None:
    kept = {"left": 100.0, "whole": 100, "list": [1]}
    facts = Facts()
    facts.register("p", lambda ctx: kept)
    found = ways.look_up(facts, one())
    kept["list"].append(2)  # type: ignore[attr-defined]
    assert repr(found) == "{'f': {'left': 100.0, 'whole': 100, 'list': [1]}}"


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**53, b"x", (1,), {1: 2}, object(), "\ud800", {"a": {1}}, "x" * 70_000],
    ids=range(10),
)
def test_what_is_no_fact(ways: Ways, value: object) -> None:
    facts = Facts()
    facts.register("p", lambda ctx: value)
    with pytest.raises(FactUnavailable, match="`f`"):
        ways.look_up(facts, one())


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x"), SystemExit(1), TimeoutError(), MemoryError()])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_provider_that_raises(ways: Ways, error: BaseException, is_async: bool) -> None:
    def fail(ctx: FactContext) -> object:
        raise error

    async def fail_later(ctx: FactContext) -> object:
        raise error

    facts = Facts()
    facts.register("p", fail_later if is_async else fail)
    with pytest.raises(FactUnavailable):
        ways.look_up(facts, one())


def test_a_provider_that_takes_too_long(ways: Ways) -> None:
    go_on = threading.Event()
    facts = Facts()
    facts.register("p", lambda ctx: go_on.wait(30))
    try:
        with pytest.raises(FactUnavailable, match=r"0\.01 s"):
            ways.look_up(facts, one(deadline_s=0.01))
    finally:
        go_on.set()


def test_an_async_provider_that_takes_too_long(ways: Ways) -> None:
    async def never(ctx: FactContext) -> object:
        await asyncio.Event().wait()
        return None

    facts = Facts()
    facts.register("p", never)
    with pytest.raises(FactUnavailable, match=r"0\.01 s"):
        ways.look_up(facts, one(deadline_s=0.01))


def test_a_coroutine_in_disguise(ways: Ways) -> None:
    async def real(ctx: FactContext) -> object:
        return 1

    def disguised(ctx: FactContext) -> object:
        return real(ctx)

    facts = Facts()
    facts.register("p", disguised)
    with pytest.raises(FactUnavailable, match="async def"):
        ways.look_up(facts, one())


def test_a_provider_nobody_registered(ways: Ways) -> None:
    facts = Facts()
    facts.register("p", lambda ctx: 1)
    assert facts.missing(["q", "p", "q"]) == ["q"]
    with pytest.raises(FactUnavailable, match="register"):
        ways.look_up(facts, one("q"))


def test_registering_twice_or_nothing() -> None:
    facts = Facts()
    facts.register("p", lambda ctx: 1)
    with pytest.raises(UsageError):
        facts.register("p", lambda ctx: 2)
    with pytest.raises(UsageError):
        facts.register("q", 7)  # type: ignore[arg-type]
