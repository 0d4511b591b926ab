"""What a script sees of a request: one list of turns, the same for Chat Completions and for Responses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Said:
    """Text of the system (or developer), of the user, or of the model itself."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """One call the model made in an earlier turn; `arguments` is the text as sent."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The result the agent sent back: `text` as sent, `value` parsed where it is JSON, else the text."""

    call: Called
    text: str

    @property
    def value(self) -> object:
        try:
            return json.loads(self.text)
        except ValueError:
            return self.text


Turn = Said | Called | Answered


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything received so far, oldest first, and the names of the tools on offer (hosted ones by type)."""

    api: Literal["chat", "responses"]
    model: str
    turns: tuple[Turn, ...]
    tools: tuple[str, ...] = ()

    @property
    def last_user(self) -> str:
        """The newest text of the user, or the empty string."""
        return next((t.text for t in reversed(self.turns) if isinstance(t, Said) and t.role == "user"), "")

    @property
    def rounds(self) -> int:
        """How often the model has spoken or called since the newest text of the user."""
        return _model_rounds(self.since_user)

    @property
    def all_rounds(self) -> int:
        """How often the model has spoken or called in the whole conversation."""
        return _model_rounds(self.turns)

    @property
    def since_user(self) -> tuple[Turn, ...]:
        """The turns after the newest text of the user."""
        for index in range(len(self.turns) - 1, -1, -1):
            turn = self.turns[index]
            if isinstance(turn, Said) and turn.role == "user":
                return self.turns[index + 1 :]
        return self.turns

    def results(self, tool: str | None = None) -> list[Answered]:
        """Results received, oldest first; of one tool if named."""
        return [t for t in self.turns if isinstance(t, Answered) and tool in (None, t.call.name)]

    def result(self, tool: str) -> object:
        """The value of the newest result of `tool`. Raises LookupError where there is none."""
        found = self.results(tool)
        if not found:
            raise LookupError(f"the script reads a result of {tool!r}, but the conversation holds none")
        return found[-1].value

    def call_id(self, index: int) -> str:
        """An id for call `index` of the next turn: the same for the same conversation, new for any other."""
        digest = hashlib.sha256(repr((self.turns, index)).encode()).hexdigest()
        return f"call_{digest[:24]}"


def _model_rounds(turns: tuple[Turn, ...]) -> int:
    """Count runs of model output: a text with its calls is one round, and so are parallel calls."""

    def groups() -> Iterator[bool]:
        inside = False
        for turn in turns:
            model = isinstance(turn, Called) or (isinstance(turn, Said) and turn.role == "assistant")
            yield model and not inside
            inside = model

    return sum(groups())
