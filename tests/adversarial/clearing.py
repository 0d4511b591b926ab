"""What the approval tests share."""

from __future__ import annotations

from gateway.domain.decision import ReasonCode, Refusal


def reason(result: object) -> ReasonCode:
    """The reason code of what must be a refusal."""
    assert isinstance(result, Refusal), result
    return result.reason
