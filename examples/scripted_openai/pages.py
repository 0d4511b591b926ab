"""What the model of the documentation's pages says, and a model for trying things out: it makes the calls it is told.

The pages are followed by tests with this very script, so whoever reads them without an API key sees what they show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from examples.scripted_openai.conversation import Conversation
from examples.scripted_openai.script import Call, CallTools, Reply, Rule, Say, Script, call, scene

WRITTEN_OUT: Final = re.compile(r"\b([A-Za-z_][A-Za-z0-9_-]*)\s*(\{.*\})", re.DOTALL)
HELP: Final = 'I am a script. Write out the call I shall make, such as: refund {"order_id": "A-1003", "cents": 4000}'


def pages_script() -> Script:
    """The scenes of the pages first; then whatever call the user's text writes out; else a word of help."""
    return Script(
        [
            scene(
                "Refund me 900 USD",
                call("refund", order_id="A-1003", cents=90000),
                _by_result("I refunded 900 USD.", error="I may refund 500 USD at most."),
            ),
            scene("Then refund me 40 USD", call("refund", order_id="A-1003", cents=4000), Say("I refunded 40 USD.")),
            scene(
                "Refund 40 USD of A-1003",
                call("refund", order_id="A-1003", cents=4000),
                _by_result("I refunded 40 USD.", error="I could not refund it."),
            ),
            scene("Where is my order", call("get_order_status", order_id="A-1001"), Say("A-1001 is on its way.")),
            scene(
                "Refund me 250 USD",
                call("refund", order_id="A-1003", cents=25000),
                _by_result("I refunded 250 USD.", pending="A colleague has to agree first."),
            ),
            Rule(lambda _: True, _as_told),
        ]
    )


def _by_result(plain: str, **marked: str) -> Callable[[Conversation], Reply]:
    """A closing sentence chosen by what the tool's result holds: the model reads what the gateway let through."""

    def reply(conversation: Conversation) -> Reply:
        result = conversation.result("refund")
        found = [text for mark, text in marked.items() if isinstance(result, dict) and mark in result]
        return Say(found[0] if found else plain)

    return reply


def _as_told(conversation: Conversation) -> Reply:
    """The call exactly as it was written, good or bad, and then what the tool answered."""
    told = WRITTEN_OUT.search(conversation.last_user)
    if told is None:
        return Say(HELP)
    if conversation.rounds == 0:
        return CallTools((Call(told[1], told[2]),))
    answers = conversation.results()
    return Say(f"The tool said: {answers[-1].text}" if answers else "My call was not answered.")
