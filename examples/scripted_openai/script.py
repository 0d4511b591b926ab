"""Scripts: the next turn of a pretended model, derived from the messages received and from nothing else.

A script is an ordered list of rules. The first rule whose predicate holds gives the reply.
No state is kept between requests, so a retried request gets the same reply, call ids included.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from examples.scripted_openai.conversation import Conversation

Arguments = Mapping[str, object] | str


class NoRuleError(LookupError):
    """No rule of the script fits the conversation received."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call the model makes: the tool need not be on offer. Arguments as text are sent as they stand."""

    name: str
    arguments: Arguments | Callable[[Conversation], Arguments] = field(default_factory=dict)
    call_id: str | None = None
    namespace: str | None = None

    def arguments_text(self, conversation: Conversation) -> str:
        given = self.arguments(conversation) if callable(self.arguments) else self.arguments
        return given if isinstance(given, str) else json.dumps(given)


@dataclass(frozen=True, slots=True)
class Say:
    """A turn of text alone."""

    text: str


@dataclass(frozen=True, slots=True)
class CallTools:
    """A turn of one or more parallel calls, with or without text before them.

    `searched` (Responses) are deferred tools of the request that the server's tool search found for the model first.
    """

    calls: tuple[Call, ...]
    text: str | None = None
    searched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Raw:
    """A whole HTTP answer, for shapes no honest model gives. A mapping is sent as JSON, bytes as they are.

    Where the request streams, a mapping is cut into events and bytes are sent as a stream. With `cut` the connection
    is closed after that many bytes of it.
    """

    body: Mapping[str, object] | bytes
    status: int = 200
    cut: int | None = None


Reply = Say | CallTools | Raw
Respond = Reply | Callable[[Conversation], Reply]


@dataclass(frozen=True, slots=True)
class Rule:
    """When `when(conversation)` holds, the model answers `reply` (or what `reply(conversation)` gives)."""

    when: Callable[[Conversation], bool]
    reply: Respond


class Script:
    """An ordered list of rules; the first that fits answers."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def next(self, conversation: Conversation) -> Reply:
        """The next turn. Raises NoRuleError where no rule fits."""
        for rule in self._rules:
            if rule.when(conversation):
                return rule.reply(conversation) if callable(rule.reply) else rule.reply
        raise NoRuleError(
            f"no rule of the script fits: the user's newest text is {conversation.last_user[:80]!r}, "
            f"after {conversation.rounds} round(s) of the model; add a rule or a reply to the script"
        )


def call(name: str, **arguments: object) -> CallTools:
    """One call, alone in its turn."""
    return CallTools((Call(name, arguments),))


def scene(trigger: str, *replies: Respond) -> Rule:
    """A rule for a user text that contains `trigger`: reply n answers after n rounds since that text."""

    def when(conversation: Conversation) -> bool:
        return trigger in conversation.last_user and conversation.rounds < len(replies)

    def reply(conversation: Conversation) -> Reply:
        chosen = replies[conversation.rounds]
        return chosen(conversation) if callable(chosen) else chosen

    return Rule(when, reply)


def in_order(*replies: Respond) -> Script:
    """A script of one conversation: reply n answers after n rounds of the model, whoever spoke between."""

    def reply(conversation: Conversation) -> Reply:
        chosen = replies[conversation.all_rounds]
        return chosen(conversation) if callable(chosen) else chosen

    return Script([Rule(lambda conversation: conversation.all_rounds < len(replies), reply)])
