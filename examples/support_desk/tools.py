"""The agent's own tools, as they were before any gateway: plain functions, importable by name.

Each finds the desk by `SUPPORT_DESK_HOME`. They check what their back end checks and no more.
"""

from __future__ import annotations

import http.client
import json
import smtplib
from dataclasses import asdict
from email.message import EmailMessage
from email.utils import make_msgid
from typing import BinaryIO, Literal
from urllib.parse import quote, urlsplit

from examples.support_desk import config
from examples.support_desk.business import NotFoundError, Shop
from examples.support_desk.seed import COMPANY_DOMAIN

NETWORK_SECONDS = 5.0
MAX_REPORT_BYTES = 64 * 1024
SENDER = f"desk@{COMPANY_DOMAIN}"


class WeatherUnavailableError(ConnectionError):
    """The weather source answered with an error of its own."""


class ReportTooLargeError(ValueError):
    """The report holds more than MAX_REPORT_BYTES."""


def get_order_status(order_id: str) -> dict[str, object]:
    """Status, item, total and refunds so far of one order. Raises NotFoundError."""
    return asdict(_shop().order(order_id))


def search_orders(
    customer_id: str,
    status: Literal["placed", "shipped", "delivered", "cancelled"] | None = None,
    limit: int = 10,
) -> dict[str, object]:
    """Orders of one customer, newest first; of one status if given."""
    return {"orders": [asdict(order) for order in _shop().search(customer_id, status, limit)]}


def get_weather(city: str) -> dict[str, object]:
    """The weather now, from the primary source. Raises WeatherUnavailableError, NotFoundError."""
    return _weather(config.read(config.home()).weather_primary, city)


def get_weather_backup(city: str) -> dict[str, object]:
    """The weather now, from the backup source. Raises WeatherUnavailableError, NotFoundError."""
    return _weather(config.read(config.home()).weather_backup, city)


def initiate_refund(
    order_id: str,
    amount_cents: int,
    reason: Literal["damaged", "late", "wrong_item", "not_received", "goodwill"],
) -> dict[str, object]:
    """Pay back part or all of an order, in US cents. Raises NotFoundError."""
    shop = _shop()
    refund_id = shop.refund(order_id, amount_cents, reason)
    return {
        "refund_id": refund_id,
        "order_id": order_id,
        "amount_cents": amount_cents,
        "refunded_cents": shop.order(order_id).refunded_cents,
    }


def close_account(customer_id: str, reason: str, pin: str) -> dict[str, object]:
    """Close a customer's account for good. Raises NotFoundError, WrongPinError."""
    _shop().close_account(customer_id, reason, pin)
    return {"customer_id": customer_id, "status": "closed"}


def send_email(to: str, subject: str, body: str) -> dict[str, object]:
    """Send one mail from the desk. Raises smtplib.SMTPException, OSError."""
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = to
    message["Subject"] = subject
    message["Message-ID"] = make_msgid(domain=COMPANY_DOMAIN)
    message.set_content(body)
    addresses = config.read(config.home())
    with smtplib.SMTP(addresses.smtp_host, addresses.smtp_port, timeout=NETWORK_SECONDS) as connection:
        # One recipient: a second address hidden in `to` never gets a copy.
        connection.send_message(message, from_addr=SENDER, to_addrs=[to])
    return {"to": to, "message_id": message["Message-ID"]}


def read_report(path: BinaryIO) -> dict[str, object]:
    """The text of a report. `path` is the report opened for reading, no name. Raises ReportTooLargeError."""
    content = path.read(MAX_REPORT_BYTES + 1)
    if len(content) > MAX_REPORT_BYTES:
        raise ReportTooLargeError(f"the report holds more than {MAX_REPORT_BYTES} bytes; ask for a part of it")
    return {"text": content.decode("utf-8"), "bytes": len(content)}


def _shop() -> Shop:
    return Shop(config.database(config.home()))


def _weather(source: str, city: str) -> dict[str, object]:
    parts = urlsplit(source)
    connection = http.client.HTTPConnection(parts.netloc, timeout=NETWORK_SECONDS)
    try:
        connection.request("GET", f"{parts.path}?city={quote(city, safe='')}")
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        raise NotFoundError(f"no weather for {city}")
    if answer.status != http.client.OK:
        raise WeatherUnavailableError(f"the source {parts.path.strip('/')} answered {answer.status}")
    found: dict[str, object] = json.loads(content)
    return found
