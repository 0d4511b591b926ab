"""What a tool's name suggests about its risk, and what a parameter's name suggests about its value.

Guesses and nothing else: they fill a proposal that a person reads (`toolgate policy scaffold`), and each is marked as
one where it stands. A name that says nothing gets the careful guess. No gateway ever asks this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gateway.policy.generate import Effect, Risk

_READS: Final = (
    "calculate check compare compute count describe fetch find get is list look lookup query read search show "
    "status summarize validate verify view"
)
_DESTROYS: Final = "close delete destroy drop erase export grant kill purge revoke shutdown wipe"
_LEAVES: Final = (
    "book buy call cancel charge email invite mail message notify order pay post publish purchase refund reserve "
    "schedule send share submit transfer tweet withdraw"
)
_KINDS: Final[dict[str, tuple[Risk, Effect]]] = {
    **dict.fromkeys(_READS.split(), ("low", "none")),
    **dict.fromkeys(_LEAVES.split(), ("medium", "external")),
    **dict.fromkeys(_DESTROYS.split(), ("high", "internal")),
}
_SECRET: Final = frozenset(
    ("apikey", "credential", "credentials", "cvc", "cvv", "passphrase", "password", "passwd", "pin", "secret", "token")
)
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def guess(tool: str) -> tuple[Risk, Effect]:
    """Risk and effect by the first telling word of `tool`; medium and internal where none is."""
    return next((_KINDS[word] for word in _words(tool) if word in _KINDS), ("medium", "internal"))


def secret_parameters(names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that probably hold a secret."""
    return tuple(name for name in names if set(_words(name)) & _SECRET or "".join(_words(name)) in _SECRET)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]
