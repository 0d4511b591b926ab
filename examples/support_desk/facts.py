"""Facts for the rules: what is true of an order or a customer at this moment, read from the shop.

The values keep their types where nothing is found (`exists` is false, texts empty, amounts 0), so a rule
needs no second form. Whether the order is the caller's is for the rule: it compares `customer_id` with the
customer on whose behalf the session speaks.
"""

from __future__ import annotations

from examples.support_desk import config
from examples.support_desk.business import NotFoundError, Shop


def order_fact(principal_id: str, order_id: str) -> dict[str, object]:  # noqa: ARG001  one shape for all facts
    """`exists`, `customer_id`, `status`, `total_cents`, `refundable_cents` (never below 0), `currency`."""
    try:
        order = Shop(config.database(config.home())).order(order_id)
    except NotFoundError:
        return {
            "exists": False,
            "customer_id": "",
            "status": "",
            "total_cents": 0,
            "refundable_cents": 0,
            "currency": "",
        }
    return {
        "exists": True,
        "customer_id": order.customer_id,
        "status": order.status,
        "total_cents": order.total_cents,
        "refundable_cents": max(0, order.total_cents - order.refunded_cents),
        "currency": order.currency,
    }


def customer_fact(principal_id: str, customer_id: str) -> dict[str, object]:  # noqa: ARG001  as above
    """`exists`, `email`, `status` (`open`, `closed`, or empty)."""
    try:
        customer = Shop(config.database(config.home())).customer(customer_id)
    except NotFoundError:
        return {"exists": False, "email": "", "status": ""}
    return {"exists": True, "email": customer.email, "status": customer.status}
