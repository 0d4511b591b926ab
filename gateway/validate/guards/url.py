"""`url`: an http(s) address in one plain spelling, of a listed host, whose every address is public (SSRF, CWE-918).

Read by RFC 3986, ASCII only. Spellings that programs read apart are refused: user names, backslashes, encoded or
trailing-dot hosts, and numbers that some resolvers take for IPv4 (`127.1`, `0x7f.1`, `2130706433`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, final

from gateway.policy.guard_documents import UrlGuard
from gateway.validate.guards.address import Address, is_public
from gateway.validate.guards.fetch import PinnedClient, Target
from gateway.validate.guards.hosts import Hosts
from gateway.validate.guards.network import Network
from gateway.validate.guards.refusal import GuardRefused

MAX_URL_CHARS = 2048
MAX_HOST_CHARS = 253  # RFC 1035

_DEFAULT_PORT: Final = {"https": 443, "http": 80}
_CHARS = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_URL = re.compile(
    rf"(?i:(https?)://)(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{{1,5}}))?(/{_CHARS}*)?(\?(?:{_CHARS}|\?)*)?"
    rf"(?:#(?:{_CHARS}|\?)*)?"
)
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = re.compile(rf"(?:{_LABEL}\.)*(?!0x)(?=[a-z0-9-]*[a-z]){_LABEL}")  # no number at the end, as WHATWG has it

_PLAIN_URL = "Write it like https://example.org/page, percent-encoding whatever is not plain ASCII."
_NOT_THERE = "Use an address of a known public site."


@final
class UrlCheck:
    """Reads an address, and asks where it leads. May block on the resolver."""

    def __init__(self, guard: UrlGuard, network: Network) -> None:
        self._guard = guard
        self._hosts = None if guard.any_public_host else Hosts(guard.hosts)
        self._network = network

    def __call__(self, name: str, value: object) -> PinnedClient:
        return PinnedClient(self.target(name, value), self.target, self._network, self._guard)

    def target(self, name: str, value: object) -> Target:
        """Where `value` leads, checked whole: also for each redirect. Raises GuardRefused."""
        spelled = self.spelled(name, value)
        return Target(spelled.scheme, spelled.host, spelled.port, spelled.path, self._addresses(name, spelled))

    def spelled(self, name: str, value: object) -> Spelled:
        """Everything but the addresses: no look-up is made for a host nobody listed. Raises GuardRefused."""
        found = _URL.fullmatch(value) if isinstance(value, str) and len(value) <= MAX_URL_CHARS else None
        if found is None:
            raise GuardRefused(f"{name}: must be one plain http or https address.", _PLAIN_URL)
        scheme, host, port_text, path, query = found.groups()
        scheme, host = scheme.lower(), host.lower()
        literal = _literal(name, host)
        port = int(port_text) if port_text else _DEFAULT_PORT[scheme]
        if scheme not in self._guard.schemes:
            raise GuardRefused(f"{name}: must begin with {' or '.join(self._guard.schemes)}.", _PLAIN_URL)
        if port not in self._guard.ports if self._guard.ports else port != _DEFAULT_PORT[scheme]:
            raise GuardRefused(f"{name}: must not name that port.", "Leave the port out.")
        if self._hosts is not None and host not in self._hosts:
            raise GuardRefused(f"{name}: that host may not be asked.", _NOT_THERE)
        return Spelled(scheme, host, port, (path or "/") + (query or ""), literal)

    def _addresses(self, name: str, spelled: Spelled) -> tuple[Address, ...]:
        """Every address of the host, all public: one inside is enough to refuse (DNS rebinding)."""
        try:
            found = [spelled.literal] if spelled.literal is not None else self._network.resolve(spelled.host)
        except (OSError, UnicodeError) as error:
            detail = f"{name}: {spelled.host} has no address: {error}"
            raise GuardRefused(f"{name}: that host cannot be asked.", _NOT_THERE, detail, found=True) from error
        inside = [address for address in found if not is_public(address)]
        if inside or not found:  # one answer: what names exist inside is nobody's business (I7)
            detail = f"{name}: {spelled.host} is {', '.join(map(str, inside)) or 'nowhere'}, not a public address"
            found_there = spelled.literal is None
            raise GuardRefused(f"{name}: that host cannot be asked.", _NOT_THERE, detail, found=found_there)
        return tuple(found)


@final
@dataclass(frozen=True, slots=True)
class Spelled:
    """An address as it is written. `literal` where the host is an IP address itself."""

    scheme: str
    host: str
    port: int
    path: str
    literal: Address | None


def _literal(name: str, host: str) -> Address | None:
    """The IP address that stands for the host, in its one usual spelling; None for a name. Raises GuardRefused."""
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        if host[-1].isdigit() and host.count(".") == 3 and not any(c.isalpha() or c == "-" for c in host):
            return IPv4Address(host)  # refuses leading zeros
    except ValueError:
        pass
    else:
        if len(host) <= MAX_HOST_CHARS and _HOST.fullmatch(host):
            return None
    raise GuardRefused(f"{name}: must name a host in the usual way.", _PLAIN_URL)
