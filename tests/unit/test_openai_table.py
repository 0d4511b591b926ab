"""The page of what is proved about OpenAI's APIs is fresh, and names no test that is gone."""

from __future__ import annotations

import pytest

from scripts import openai_table
from scripts.openai_promises import Line


def test_the_page_is_fresh() -> None:
    found = openai_table.page(openai_table.collected())
    assert openai_table.PAGE.read_text(encoding="utf-8") == found, openai_table.COMMAND


def test_a_promise_needs_a_proof_or_a_reason_for_every_api_and_way() -> None:
    cases = {"test_a": [f"{api}-{how}" for api in ("chat", "responses") for how in ("sync", "async", "stream")]}
    notes = openai_table.Notes()
    assert openai_table._row(Line("all", ("test_a",)), cases, notes) == "| all | 1 | 1 | 1 | 1 | 1 | 1 |"
    half = {"test_a": [case for case in cases["test_a"] if case != "responses-stream"]}
    with pytest.raises(LookupError, match="responses streamed"):
        openai_table._row(Line("all", ("test_a",)), half, notes)
    excused = Line("all", ("test_a",), without={"responses streamed": "Never."})
    assert openai_table._row(excused, half, notes).endswith("| n/a (1) |")
    with pytest.raises(LookupError, match="responses streamed"):
        openai_table._row(excused, cases, notes)
    with pytest.raises(LookupError, match="no test"):
        openai_table._row(Line("all", ("test_b",)), cases, notes)
