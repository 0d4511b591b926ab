"""The desk's agent behind the gateway: the same tools as before, registered once, in whatever process needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.support_desk import config, facts, tools
from gateway import FactContext, Gateway, Principal

AGENT = Principal("ana")
CUSTOMER = Principal("cust-1001")

FUNCTIONS: tuple[Callable[..., Any], ...] = (
    tools.get_order_status,
    tools.search_orders,
    tools.get_weather,
    tools.get_weather_backup,
    tools.initiate_refund,
    tools.close_account,
    tools.send_email,
    tools.read_report,
)


def order(ctx: FactContext, order_id: str) -> dict[str, object]:
    """What the shop knows of an order; the rules of initiate_refund ask for it."""
    return facts.order_fact(ctx.principal.id, order_id)


def open_gateway(policies: Path, home: Path, *, origin: str) -> Gateway:
    """A gateway with every tool of the desk, over the services that SUPPORT_DESK_HOME names."""
    gateway = Gateway.from_policies(
        policies, home=home, origin=origin, roots={"reports": config.reports(config.home())}
    )
    for function in FUNCTIONS:
        gateway.register(function)
    gateway.register_fact("order", order)
    return gateway
