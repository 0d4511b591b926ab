"""A gateway in observe mode, for tests of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway import Gateway
from tests.support import ORIGIN, Tool, policies_for, records

PERMITTED = {"observe": {"arguments": "shapes"}}
SECRET = "hunter2-hunter2"


def pay(order_id: str, cents: int) -> str:
    return f"paid {cents} for {order_id}"


def look_up(order_id: str) -> dict[str, str]:
    return {"status": "delivered", "order": order_id}


def wild(target: str, options: dict[str, Any]) -> str:
    return f"did {target}"


@contextmanager
def observing(base: Path, *tools: Tool, settings: dict[str, Any] | None = None, **more: Any) -> Iterator[Gateway]:
    policies_for(base, *tools, settings=settings or PERMITTED, **more)
    with Gateway.from_policies(base / "policies", home=base / "home", origin=ORIGIN, observe=True) as gateway:
        for each in tools:
            if each.fn is not None:
                gateway.register(each.fn, name=each.name)
        yield gateway


def would(base: Path) -> list[dict[str, Any]]:
    return [each["observed"] for each in records(base, "call.intent")]


def last(base: Path) -> dict[str, Any]:
    return would(base)[-1]


def log_text(base: Path) -> str:
    return (base / "home" / "audit" / ORIGIN / "00000000.jsonl").read_text(encoding="utf-8")
