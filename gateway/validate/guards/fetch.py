"""The client a URL guard hands to a tool: it asks the checked address, and nothing else (DNS rebinding, CWE-367).

The name stands in `Host` and in TLS (SNI and certificate), the connection goes to the address that was checked. Every
redirect is checked like a first address. One deadline bounds everything; a body past `max_bytes` is refused.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, final
from urllib.parse import urljoin

from gateway.domain.errors import ToolgateError
from gateway.policy.guard_documents import UrlGuard
from gateway.validate.guards.address import Address
from gateway.validate.guards.network import Network
from gateway.validate.guards.refusal import GuardRefused

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK = 64 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_OWN: Final = frozenset(
    {"host", "connection", "accept-encoding", "content-length", "transfer-encoding", "upgrade", "te"}
)


class FetchFailed(ToolgateError):
    """The page could not be had: not reachable, too slow, too large, or a redirect that may not be followed."""


@final
@dataclass(frozen=True, slots=True)
class Target:
    """One checked address. `path` has the query with it."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[Address, ...]

    @property
    def origin(self) -> str:
        default = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{self.host}" + ("" if self.port == default else f":{self.port}")

    @property
    def url(self) -> str:
        return self.origin + self.path


@final
@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. `url` is where it came from at last; `headers` have lower-case names; `body` is as it was sent."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes


Recheck = Callable[[str, object], Target]


@final
class PinnedClient:
    """Asks one checked address, by GET. It blocks: an async tool calls `asyncio.to_thread(page.get)`."""

    def __init__(self, target: Target, recheck: Recheck, network: Network, guard: UrlGuard) -> None:
        self._target = target
        self._recheck = recheck
        self._network = network
        self._guard = guard

    @property
    def url(self) -> str:
        """The address as it was read: scheme and host in lower case, without a fragment."""
        return self._target.url

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What was checked, in the order they are tried."""
        return self._target.addresses

    def __repr__(self) -> str:
        return f"<PinnedClient {self.url!r}>"

    def get(self, headers: Mapping[str, str] | None = None) -> Fetched:
        """Raises FetchFailed. `headers` go to the first origin only: a redirect elsewhere does not carry them."""
        given = dict(headers or {})
        if wrong := sorted(name for name in given if name.lower() in _OWN or not _TOKEN.fullmatch(name)):
            raise FetchFailed(f"the header {wrong[0]!a} is no header, or is the client's own; leave it out")
        deadline = time.monotonic() + self._guard.timeout_s
        target = self._target
        for _ in range(self._guard.redirects + 1):
            answer = self._once(target, given, deadline)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            try:
                following = self._recheck("redirect", urljoin(target.url, location))
            except (GuardRefused, ValueError) as error:
                raise FetchFailed("it redirects to where nobody may go") from error
            if target.scheme == "https" and following.scheme != "https":
                raise FetchFailed("it redirects from https to http")
            if following.origin != target.origin:
                given = {}
            target = following
        raise FetchFailed(f"it redirects more than {self._guard.redirects} times")

    def _once(self, target: Target, headers: Mapping[str, str], deadline: float) -> Fetched:
        link = http.client.HTTPConnection(target.host, target.port)
        own = {"Host": target.origin.partition("//")[2], "Accept-Encoding": "identity", "Connection": "close"}
        try:
            with self._connected(target, deadline) as sock:
                link.sock = _Timed(sock, deadline)
                link.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
                for name, value in (own | dict(headers)).items():
                    link.putheader(name, value)
                link.endheaders()
                with link.getresponse() as answer:
                    body = self._body(answer)
                    found = {name.lower(): value for name, value in answer.getheaders()}
                    return Fetched(answer.status, target.url, MappingProxyType(found), body)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a header that is none
            raise FetchFailed(f"{target.host}: {type(error).__name__}") from error

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        while chunk := answer.read(_CHUNK):
            body += chunk
            if len(body) > self._guard.max_bytes:
                raise FetchFailed(f"its body has more than {self._guard.max_bytes} bytes")
        return bytes(body)

    def _connected(self, target: Target, deadline: float) -> socket.socket:
        """A connection to the first checked address that answers. Raises OSError."""
        refused = OSError("no address")
        for address in target.addresses:
            try:
                plain = self._network.connect(address, target.port, _left(deadline))
            except OSError as error:
                refused = error
                continue
            if target.scheme == "http":
                return plain
            try:
                plain.settimeout(_left(deadline))
                return self._network.tls().wrap_socket(plain, server_hostname=target.host.strip("[]"))
            except BaseException:
                plain.close()
                raise
        raise refused


@final
class _Timed:
    """What http.client asks of a socket, each wait cut to what is left: a slow drip does not extend the deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self._deadline))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - http.client's call
        return io.BufferedReader(_Reader(self._sock, self._deadline))

    def close(self) -> None:
        """Nothing: http.client closes before the body is read. Whoever connected closes."""


@final
class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


def _left(deadline: float) -> float:
    """Seconds. Raises TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("past the deadline")
    return left
