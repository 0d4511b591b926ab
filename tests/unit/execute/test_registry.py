"""Registering tools: one that may have to wait for a person belongs where another process finds it again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import gateway_with, tool

ASKS = {"approval": {"when": "always"}}
ESCALATES = {"rules": [{"id": "r", "require": "true", "otherwise": "escalate", "tell_model": "Ask."}]}


def pay() -> int:
    return 1


def closure() -> Any:
    def pay() -> int:
        return 1

    return pay


class Payer:
    __name__ = "pay"

    def __call__(self) -> int:
        return 1

    def pay(self) -> int:
        return 1


@pytest.fixture
def alarms(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    heard: list[tuple[str, str]] = []
    said = SimpleNamespace(warning=lambda event, **about: heard.append((event, about["tool"])))
    monkeypatch.setattr("gateway.execute.registry.alarm", lambda: said)
    return heard


@pytest.mark.parametrize("waits", [ASKS, ESCALATES, {"ordered": True}, {"risk": "high"}])
def test_a_closure_that_may_have_to_wait_is_alarmed_about(
    tmp_path: Path, alarms: list[tuple[str, str]], waits: dict[str, Any]
) -> None:
    with gateway_with(tmp_path, tool(closure(), **waits)):
        assert alarms == [("tool_not_importable", "pay")]


@pytest.mark.parametrize("fn", [lambda: 1, partial(pay), Payer()])
def test_so_is_whatever_else_is_gone_with_the_process(tmp_path: Path, alarms: list[tuple[str, str]], fn: Any) -> None:
    with gateway_with(tmp_path, tool(fn, name="pay", **ASKS)):
        assert alarms == [("tool_not_importable", "pay")]


@pytest.mark.parametrize("fn", [pay, Payer().pay, Payer.pay.__get__(Payer())])
def test_a_function_of_a_module_is_not(tmp_path: Path, alarms: list[tuple[str, str]], fn: Any) -> None:
    with gateway_with(tmp_path, tool(fn, **ASKS)):
        assert alarms == []


def test_nor_is_a_closure_that_never_waits(tmp_path: Path, alarms: list[tuple[str, str]]) -> None:
    with gateway_with(tmp_path, tool(closure())):
        assert alarms == []
