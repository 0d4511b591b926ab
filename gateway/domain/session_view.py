"""What a rule may know of the session a call belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class SessionView:
    """`calls` counts the calls of this conversation, the one in hand included; `roles` come from the policy (I14)."""

    conversation: str
    calls: int
    roles: tuple[str, ...]
