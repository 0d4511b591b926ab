"""`email`: one plain address of RFC 5321 without quoting, comments, routes or literals, at a listed domain (CWE-93).

Advisory: the tool still gets the text.
"""

from __future__ import annotations

import re
from typing import final

from gateway.policy.guard_documents import EmailGuard
from gateway.validate.guards.hosts import Hosts
from gateway.validate.guards.refusal import GuardRefused

MAX_ADDRESS_CHARS = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM = r"[A-Za-z0-9#$&'*+/=?^_`{|}~-]+"  # RFC 5322 atext without `%` and `!`, which some relays route on
_ADDRESS = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+")


@final
class EmailCheck:
    """Each address of the argument."""

    def __init__(self, guard: EmailGuard) -> None:
        self._domains = Hosts(guard.domains) if guard.domains else None

    def __call__(self, name: str, value: object) -> None:
        for address in value if isinstance(value, list) else [value]:
            if not isinstance(address, str) or len(address) > MAX_ADDRESS_CHARS or not _ADDRESS.fullmatch(address):
                raise GuardRefused(
                    f"{name}: must be one plain mail address.",
                    "Write it like name@example.org, without a display name and without further addresses.",
                )
            if self._domains is not None and address.rpartition("@")[2].lower() not in self._domains:
                raise GuardRefused(f"{name}: mail may not go to that domain.", "Use an address of a known domain.")
