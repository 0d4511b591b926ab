"""The documentation does not rot: pages are followed, generated pages are fresh, links and names exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.scripted_openai import Conversation, Say, Script, ScriptedOpenAI, call, scene
from examples.scripted_openai.script import Reply
from tests.architecture.source import ROOT
from tests.e2e.pages import Reader

DOCS = ROOT / "docs"


@pytest.fixture
def model() -> Iterator[dict[str, str]]:
    """The environment of a model that says what the pages say it says."""
    script = Script(
        [
            scene(
                "Refund me 900 USD",
                call("refund", order_id="A-1003", cents=90000),
                _by_result("I refunded 900 USD.", error="I may refund 500 USD at most."),
            ),
            scene("Then refund me 40 USD", call("refund", order_id="A-1003", cents=4000), Say("I refunded 40 USD.")),
            scene("Where is my order", call("get_order_status", order_id="A-1001"), Say("A-1001 is on its way.")),
            scene(
                "Refund me 250 USD",
                call("refund", order_id="A-1003", cents=25000),
                _by_result("I refunded 250 USD.", pending="A colleague has to agree first."),
            ),
        ]
    )
    with ScriptedOpenAI(script) as server:
        yield {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.api_key}


def _by_result(plain: str, **marked: str) -> Callable[[Conversation], Reply]:
    """A closing sentence chosen by what the tool's result holds: the model reads what the gateway let through."""

    def reply(conversation: Conversation) -> Reply:
        result = conversation.result("refund")
        found = [text for mark, text in marked.items() if isinstance(result, dict) and mark in result]
        return Say(found[0] if found else plain)

    return reply


PAGES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.docker] if path.stem == "sandbox" else [])
    for path in (DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md")))
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_happens(page: Path, tmp_path: Path, model: dict[str, str]) -> None:
    Reader(tmp_path, **model).follow(page)
