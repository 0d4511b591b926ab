"""The calls that every contestant of the speed table judges: one small refund, as a model would send it.

Standard library only, so that a rival can import it in an environment of its own. No argument is a float.
"""

from __future__ import annotations

import json

TOOL = "initiate_refund"
PRINCIPAL = "alice"
ROLE = "support"
MAX_CENTS = 10_000
REASONS = ("damaged", "late", "wrong_item", "other")

PARAMETERS: dict[str, object] = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string", "pattern": "^A-[0-9]{4}$"},
        "reason": {"type": "string", "enum": list(REASONS)},
        "amount_cents": {"type": "integer", "minimum": 1},
        "note": {"type": "string", "maxLength": 200},
    },
    "required": ["order_id", "reason", "amount_cents"],
    "additionalProperties": False,
}


def initiate_refund(order_id: str, reason: str, amount_cents: int, note: str = "") -> dict[str, object]:
    """Refund part of an order: the tool itself does next to nothing, so what is measured is what stands before it."""
    return {"order_id": order_id, "refunded_cents": amount_cents, "reason": reason, "noted": bool(note)}


def calls(count: int) -> list[str]:
    """`count` different argument texts, all legal."""
    return [
        json.dumps(
            {
                "order_id": f"A-{number % 10_000:04d}",
                "reason": REASONS[number % len(REASONS)],
                "amount_cents": 100 + number % (MAX_CENTS - 100),
                "note": f"arrived broken, call {number}",
            }
        )
        for number in range(count)
    ]
