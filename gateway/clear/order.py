"""Ordered calls that wait: one whose elder still waits for a person waits after it (`ordered: true` in a contract).

Guarantee: no ordered call runs while an ordered call that was asked before it, in the same conversation, may still run
later. It is not refused for that: it becomes a request which needs nobody's vote and is redeemed like any other, once
everything before it was carried out, denied or has expired. Reads the database; writes nothing.
"""

from __future__ import annotations

from gateway.clear.port import Rules
from gateway.clear.request import StoredRequest
from gateway.clear.store import RequestStore
from gateway.domain.call import CallContext
from gateway.domain.decision import ORDER, Obligation
from gateway.domain.instant import Instant

WHY = "An earlier call of this conversation waits for a person, and this tool keeps the order of its calls."


def behind(
    store: RequestStore, rules: Rules, tool: str, ctx: CallContext, now: Instant, own: StoredRequest | None = None
) -> Obligation | None:
    """What a call of `tool` must wait for, or None. `own` is the request that it redeems, if it has waited already."""
    if not rules.contracts[tool].ordered:
        return None
    for elder in store.pending_of(ctx.conversation):
        binding = elder.binding
        if (
            binding.asked_by(ctx.principal, ctx.on_behalf_of)
            and (own is None or _before(elder.created, own.created))
            and binding.tool in rules.contracts
            and rules.contracts[binding.tool].ordered
            and not elder.expired(now)
            and not store.markers.spent(binding.id)
        ):
            return Obligation(ORDER, WHY)
    return None


def _before(one: Instant, other: Instant) -> bool:
    """By the clock that nobody can set, where both were asked in one boot."""
    if one.boot_id == other.boot_id:
        return one.boot_ns < other.boot_ns
    return one.wall_ns < other.wall_ns
