"""The guards of one contract, compiled at load. A new kind is one model, one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from gateway.domain.errors import PolicyError
from gateway.policy.guard_documents import (
    ArgvGuard,
    EmailGuard,
    Guard,
    HtmlGuard,
    IdentifierGuard,
    MoneyGuard,
    PathGuard,
    SqlGuard,
    TextGuard,
    UrlGuard,
)
from gateway.validate.beneath import OpenBeneath, OpenedFile
from gateway.validate.guards.email import EmailCheck
from gateway.validate.guards.identifier import IdentifierCheck
from gateway.validate.guards.markup import HtmlCheck
from gateway.validate.guards.money import MoneyCheck
from gateway.validate.guards.network import Network, SystemNetwork
from gateway.validate.guards.path import PathCheck
from gateway.validate.guards.programs import ArgvCheck
from gateway.validate.guards.refusal import Check
from gateway.validate.guards.text import TextCheck
from gateway.validate.guards.url import UrlCheck


@final
class Guards:
    """`roots` gives the folder for each name a path guard may use, `network` what a URL guard asks and connects to.

    `opens` says that `apply` may block: it touches the file system, asks for an address, or repairs HTML.
    """

    def __init__(
        self,
        guards: Mapping[str, Guard],
        roots: Mapping[str, str],
        open_beneath: OpenBeneath | None = None,
        network: Network | None = None,
    ) -> None:
        """Raises PolicyError for a root nobody has given."""
        self._checks: dict[str, Check] = {}
        self._hands = frozenset(name for name, guard in guards.items() if guard.hands is not None)
        for name, guard in guards.items():
            try:
                self._checks[name] = _compiled(guard, roots, open_beneath, network)
            except PolicyError as error:
                raise PolicyError(f"guards/{name}: {error.message}") from error
        self.opens = any(guard.blocks for guard in guards.values())

    def __bool__(self) -> bool:
        return bool(self._checks)

    @property
    def hands(self) -> bool:
        """Whether the tool gets something else than what was sent, and so cannot be run without it."""
        return bool(self._hands)

    def apply(self, arguments: Mapping[str, object], *, advisory: bool = True) -> dict[str, object]:
        """Check every guarded argument that is given: what the tool gets instead, by name. The caller closes it.

        `advisory=False` leaves out guards that hand nothing over. Raises GuardRefused; nothing stays open then.
        """
        handed: dict[str, object] = {}
        try:
            for name, check in self._checks.items():
                if not (advisory or name in self._hands):
                    continue
                value = arguments.get(name)
                if value is None:
                    continue
                capability = check(name, value)
                if capability is not None:
                    handed[name] = capability
        except BaseException:
            close(handed)
            raise
        return handed


def close(handed: Mapping[str, object]) -> None:
    """Close what a guard opened. Closing twice does no harm."""
    for capability in handed.values():
        if isinstance(capability, OpenedFile):
            capability.close()


def _compiled(
    guard: Guard, roots: Mapping[str, str], open_beneath: OpenBeneath | None, network: Network | None
) -> Check:
    match guard:
        case PathGuard():
            return PathCheck(guard, roots, open_beneath)
        case UrlGuard():
            return UrlCheck(guard, network or SystemNetwork())
        case SqlGuard():
            from gateway.validate.guards.sql import SqlCheck  # 0.13 s, and few policies have such a guard

            return SqlCheck(guard)
        case ArgvGuard():
            return ArgvCheck(guard)
        case HtmlGuard():
            return HtmlCheck(guard)
        case TextGuard():
            return TextCheck(guard)
        case EmailGuard():
            return EmailCheck(guard)
        case IdentifierGuard():
            return IdentifierCheck(guard)
        case MoneyGuard():
            return MoneyCheck(guard)
