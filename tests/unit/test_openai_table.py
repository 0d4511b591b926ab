"""The page of what is proved about OpenAI's APIs is fresh, and names no test that is gone."""

from __future__ import annotations

from scripts import openai_table


def test_the_page_is_fresh() -> None:
    found = openai_table.page(openai_table.collected())
    assert openai_table.PAGE.read_text(encoding="utf-8") == found, openai_table.COMMAND
