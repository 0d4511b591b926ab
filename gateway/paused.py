"""A run that waits for a person, as one text the host can keep: encrypted, and good for one conversation only (I10).

Guarantees: only a session of the same principal, on-behalf-of and conversation, in a deployment that holds the sealing
key, can open it; a changed byte or a row copied to another conversation is refused (AES-GCM, the place as associated
data). What may be read without opening, the ids that are waited for, is covered by the same seal. It grants nothing:
each parked call is resumed by its id, through every step again, so running one `Paused` twice executes nothing twice.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any, Self, final

from gateway.clear.port import Sealer
from gateway.domain.errors import StateUnavailable, UsageError
from gateway.shapes.calls import Format

PREFIX = "toolgate-paused-1"


class PausedRefused(StateUnavailable):
    """This paused run cannot be opened here: changed, another conversation's, or sealed with a key that is gone."""


@final
@dataclass(frozen=True, slots=True)
class Waiting:
    """One call that waits for a person: what `confirm` and `resume` take, and the tool it asks for."""

    request_id: str
    tool: str


@final
@dataclass(frozen=True, slots=True)
class Held:
    """One call of the paused turn: answered already, or still waiting (`content` is None)."""

    call_id: str
    tool: str
    request_id: str
    content: str | None


@final
@dataclass(slots=True)
class Progress:
    """How far a run has come. `items` is the conversation so far: valid for the API whenever the model is asked."""

    format: Format
    items: list[dict[str, Any]]
    params: dict[str, Any]
    turns: int = 0
    calls: int = 0
    pending: list[str] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    denied: dict[str, int] = field(default_factory=dict)  # by the digest of a call and its no: how often


@final
@dataclass(frozen=True, slots=True)
class Paused:
    """The run waits. Keep `dumps()`, and give `Paused.loads(text)` to `run(paused=...)` once the requests are decided.

    `requests` is for showing what is waited for; after `loads` it is believed only once `run` has opened the text.
    """

    requests: tuple[Waiting, ...]
    _text: str = field(repr=False)

    def dumps(self) -> str:
        """The whole run as ASCII text. Delete it when the run is over."""
        return self._text

    @classmethod
    def loads(cls, text: str) -> Self:
        """What `dumps` gave. Raises UsageError for anything that has not its form."""
        try:
            prefix, public, _ = text.split(".")
            listed = json.loads(_decoded(public))
            requests = tuple(Waiting(str(request_id), str(tool)) for request_id, tool in listed)
        except (AttributeError, TypeError, ValueError) as error:
            raise UsageError("this is no paused run; pass what Paused.dumps() gave, unchanged") from error
        if prefix != PREFIX:
            raise UsageError(f"a paused run starts with {PREFIX!r}; another version of Toolgate may have made this one")
        return cls(requests, text)


def pause(progress: Progress, sealer: Sealer, place: tuple[str, str | None, str]) -> Paused:
    """Seal a run for `place`: principal, on-behalf-of and conversation."""
    waiting = tuple(Waiting(each.request_id, each.tool) for each in progress.held if each.content is None)
    public = _encoded(json.dumps([[each.request_id, each.tool] for each in waiting]).encode())
    inside = {
        "format": progress.format,
        "items": progress.items,
        "params": progress.params,
        "turns": progress.turns,
        "calls": progress.calls,
        "pending": progress.pending,
        "denied": progress.denied,
        "held": [[each.call_id, each.tool, each.request_id, each.content] for each in progress.held],
    }
    sealed = sealer.seal(json.dumps(inside).encode(), _aad(place, public))
    return Paused(waiting, f"{PREFIX}.{public}.{_encoded(sealed)}")


def open_paused(paused: Paused, sealer: Sealer, place: tuple[str, str | None, str]) -> Progress:
    """The run as it was. Raises PausedRefused."""
    _, public, sealed = paused.dumps().split(".")
    try:
        inside = json.loads(sealer.unseal(_decoded(sealed), _aad(place, public)))
    except (StateUnavailable, ValueError) as error:
        raise PausedRefused(
            "this paused run was changed, belongs to another principal or conversation, or its key is gone. "
            "Resume its requests one by one with session.resume(id) instead."
        ) from error
    return Progress(**inside | {"held": [Held(*each) for each in inside["held"]]})


def _aad(place: tuple[str, str | None, str], public: str) -> bytes:
    return f"{PREFIX}\0{json.dumps(place)}\0{public}".encode()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _decoded(text: str) -> bytes:
    data = base64.b64decode(text, altchars=b"-_", validate=True)  # binascii.Error is a ValueError
    if _encoded(data) != text:
        raise ValueError("not the one base64url spelling of these bytes")
    return data
