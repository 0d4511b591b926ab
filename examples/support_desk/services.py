"""What the desk depends on, real and on loopback: a mail server (SMTP) and a weather service of two sources.

`with services(home) as desk:` starts both, writes their addresses to `desk.json`, sets `SUPPORT_DESK_HOME`,
and at the end stops both and puts the variable back. A process that inherits the variable uses the same
services.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.controller import Controller

from examples.loopback import LoopbackHandler, LoopbackServer
from examples.support_desk import config
from examples.support_desk.business import Shop
from examples.support_desk.seed import seed

if TYPE_CHECKING:
    import asyncio

    from aiosmtpd.smtp import SMTP, Envelope, Session

WEATHER = {
    "lisbon": {"temperature_c": 24, "sky": "clear"},
    "oslo": {"temperature_c": 9, "sky": "rain"},
    "vienna": {"temperature_c": 17, "sky": "cloudy"},
}


class WeatherService:
    """`GET /primary?city=` and `GET /backup?city=`. The primary answers 503 while `primary_fails` is true."""

    def __init__(self, *, primary_fails: bool = True) -> None:
        self.primary_fails = primary_fails
        self._hits: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = LoopbackServer(type("Handler", (_WeatherHandler,), {"owner": self}))
        self.primary_url = f"{self._server.origin}/primary"
        self.backup_url = f"{self._server.origin}/backup"

    @property
    def hits(self) -> dict[str, int]:
        """Requests so far by source: `primary`, `backup`."""
        with self._lock:
            return dict(self._hits)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def respond(self, target: str) -> tuple[int, dict[str, object]]:
        parts = urlsplit(target)
        source = parts.path.strip("/")
        if source not in ("primary", "backup"):
            return 404, {"error": "no such source"}
        with self._lock:
            self._hits[source] += 1
        if source == "primary" and self.primary_fails:
            return 503, {"error": "the primary source is down"}
        city = parse_qs(parts.query).get("city", [""])[0]
        if city.casefold() not in WEATHER:
            return 404, {"error": "no such city"}
        return 200, {"city": city, "source": source, **WEATHER[city.casefold()]}


class _WeatherHandler(LoopbackHandler):
    owner: WeatherService

    def do_GET(self) -> None:  # noqa: N802  the name is the base class's
        status, body = self.owner.respond(self.path)
        self.answer(status, json.dumps(body).encode())


class _Inbox:
    """What the mail server does with a message: store it, once a recipient."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        content = envelope.original_content or b""
        message = email.message_from_bytes(content, policy=email.policy.default)
        part = message.get_body(("plain",))
        body = part.get_content() if part is not None else ""
        for recipient in envelope.rcpt_tos:
            self._shop.receive_mail(envelope.mail_from or "", recipient, str(message["subject"] or ""), str(body))
        return "250 Message accepted for delivery"


class _MailServer(Controller):
    """aiosmtpd's controller on a socket bound beforehand: it cannot find out an ephemeral port itself."""

    def __init__(self, shop: Shop) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        super().__init__(_Inbox(shop), hostname="127.0.0.1", port=self._socket.getsockname()[1])

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        return self.loop.create_server(self._factory_invoker, sock=self._socket)


@dataclass(frozen=True, slots=True)
class Services:
    """The desk while it runs. `environment` is what another process needs to find it."""

    home: Path
    shop: Shop
    reports: Path
    weather: WeatherService
    config: config.Config

    @property
    def environment(self) -> dict[str, str]:
        return {config.HOME_VARIABLE: str(self.home)}


@contextmanager
def services(home: Path, *, primary_weather_fails: bool = True) -> Iterator[Services]:
    """Run the desk in `home`, seeded where it is empty."""
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    shop = seed(home)
    weather = WeatherService(primary_fails=primary_weather_fails)
    mail = _MailServer(shop)
    before = os.environ.get(config.HOME_VARIABLE)
    weather.start()
    try:
        mail.start()
        try:
            addresses = config.Config("127.0.0.1", mail.port, weather.primary_url, weather.backup_url)
            config.write(home, addresses)
            os.environ[config.HOME_VARIABLE] = str(home)
            yield Services(home, shop, config.reports(home), weather, addresses)
        finally:
            if before is None:
                os.environ.pop(config.HOME_VARIABLE, None)
            else:
                os.environ[config.HOME_VARIABLE] = before
            mail.stop()
    finally:
        weather.stop()
