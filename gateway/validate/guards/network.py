"""What a URL guard needs of the world: names to addresses, and connections to addresses."""

from __future__ import annotations

import socket
import ssl
from functools import cache
from ipaddress import ip_address
from typing import Protocol, final

from gateway.validate.guards.address import Address


class Network(Protocol):
    """The port. Both may block."""

    def resolve(self, host: str) -> list[Address]:
        """Every address of `host`, in the order to try them. Raises OSError."""
        ...

    def connect(self, address: Address, port: int, timeout_s: float) -> socket.socket:
        """A TCP connection to exactly that address. Raises OSError."""
        ...

    def tls(self) -> ssl.SSLContext:
        """Verifies certificates and names."""
        ...


@final
class SystemNetwork:
    """The resolver, network and certificates of this machine. No proxy is used, whatever the environment says."""

    def resolve(self, host: str) -> list[Address]:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))

    def connect(self, address: Address, port: int, timeout_s: float) -> socket.socket:
        return socket.create_connection((str(address), port), timeout_s)

    def tls(self) -> ssl.SSLContext:
        return _verifying()


@cache
def _verifying() -> ssl.SSLContext:
    return ssl.create_default_context()  # reads the certificates of the system, once


@final
class StandIn:
    """For dry runs: every name has one public address, and nothing is asked or connected to."""

    def resolve(self, host: str) -> list[Address]:
        return [ip_address("1.1.1.1")] if host else []

    def connect(self, address: Address, port: int, timeout_s: float) -> socket.socket:
        raise OSError(f"a dry run connects to nothing: not to {address} port {port} within {timeout_s} s")

    def tls(self) -> ssl.SSLContext:
        return _verifying()
