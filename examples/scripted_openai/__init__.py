"""A scripted OpenAI-compatible server on loopback: the model follows a script, the API's rules are real."""

from examples.scripted_openai.conversation import Answered, Called, Conversation, Said
from examples.scripted_openai.script import (
    Call,
    CallTools,
    NoRuleError,
    Raw,
    Rule,
    Say,
    Script,
    call,
    in_order,
    scene,
)
from examples.scripted_openai.server import Recorded, ScriptedOpenAI

__all__ = [
    "ScriptedOpenAI",
    "Recorded",
    "Script",
    "Rule",
    "scene",
    "in_order",
    "Say",
    "CallTools",
    "Call",
    "call",
    "Raw",
    "NoRuleError",
    "Conversation",
    "Said",
    "Called",
    "Answered",
]
