"""The README is true: its diff runs before and after, its contract loads, its record has the shape of a real one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from examples.scripted_openai import Say, ScriptedOpenAI, call, in_order
from gateway.policy.loader import load
from tests.architecture.source import ROOT
from tests.e2e.pages import Block, Reader, before_and_after, blocks

README = ROOT / "README.md"
SHOP = """
def refund(order_id: str, cents: int) -> dict[str, object]:
    print("paid", cents, order_id)
    return {"order_id": order_id, "paid_cents": cents}
"""
HAND_WRITTEN = """[{"type": "function", "function": {"name": "refund", "parameters": {"type": "object", "properties":
    {"order_id": {"type": "string"}, "cents": {"type": "integer"}}, "required": ["order_id", "cents"]}}}]"""


def _the(language: str) -> Block:
    (found,) = (block for block in blocks(README) if block.language == language)
    return found


def test_the_readme_is_one_screen() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110
    assert max(map(len, lines)) <= 120


def test_wrapping_changes_at_most_five_lines() -> None:
    added = [line for line in _the("diff").text.splitlines() if line.startswith("+")]
    assert 0 < len(added) <= 5
    assert not any(";" in line for line in added)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Somebody who has typed the README's files, with a model that first asks for too much."""
    script = in_order(
        call("refund", order_id="A-1003", cents=25000), call("refund", order_id="A-1003", cents=4000), Say("Refunded.")
    )
    with ScriptedOpenAI(script) as server:
        reader = Reader(tmp_path, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=server.api_key)
        (reader.folder / "shop.py").write_text(SHOP)
        before, after = before_and_after(_the("diff").text)
        (reader.folder / "before.py").write_text(before)
        (reader.folder / "after.py").write_text(after)
        (reader.folder / "tools.json").write_text(HAND_WRITTEN)
        reader.type("toolgate init policies")
        for block in blocks(README):
            if "file" in block.options or "append" in block.options:
                reader.take(block)
        yield reader  # type: ignore[misc]


def test_before_the_model_is_obeyed_and_after_it_is_governed(reader: Reader) -> None:
    assert reader.type("python before.py").splitlines() == ["paid 25000 A-1003", "paid 4000 A-1003", "Refunded."]
    assert reader.type("python after.py").splitlines() == ["paid 4000 A-1003", "Refunded."]
    assert "whole" in reader.type("toolgate audit verify")


def test_the_contract_is_ten_lines_and_loads(reader: Reader) -> None:
    assert len(_the("yaml").text.splitlines()) == 10
    assert load(reader.folder / "policies").contracts["refund"].contract.rules[0].id == "small"


def test_the_record_has_the_shape_of_a_real_one(reader: Reader) -> None:
    reader.type("python after.py")
    shown = json.loads(_the("json").text)
    records = json.loads(reader.type("toolgate audit show --json"))
    (real,) = (record for record in records if record["kind"] == shown["kind"])
    assert _differences(shown, real) == []


def _differences(shown: Any, real: Any, at: str = "") -> list[str]:
    """Where `shown` is not `real` with fields left out; text may be cut with `...`, and example values may differ."""
    if isinstance(shown, dict) and isinstance(real, dict):
        order = [key for key in real if key in shown]
        found = (
            [] if order == list(shown) else [f"{at}: the fields {list(shown)} are not these, in this order: {order}"]
        )
        return found + [each for key in order for each in _differences(shown[key], real[key], f"{at}/{key}")]
    if at in ("/time", "/origin"):
        return []
    if isinstance(shown, str) and shown.endswith("..."):
        kind = re.match(r"[a-z0-9-]+[_:]", shown)
        return [] if kind and isinstance(real, str) and real.startswith(kind[0]) else [f"{at}: {real!r}"]
    return [] if shown == real else [f"{at}: {shown!r} is {real!r} in truth"]
