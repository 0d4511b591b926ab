"""What a rule may know of the session a call belongs to."""

from __future__ import annotations

from typing import NamedTuple, final


@final
class SessionView(NamedTuple):
    """`calls` counts the calls of this conversation, the one in hand included; `roles` come from the policy (I14)."""

    conversation: str
    calls: int
    roles: tuple[str, ...]
