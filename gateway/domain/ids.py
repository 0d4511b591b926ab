"""Names for who asks and what is asked about. All of them come from the host, never from a model (I14)."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from typing import final

from gateway.domain.errors import UsageError

MAX_ID_CHARS = 256  # enough for a URN or a mail address, small enough to stand in every record


def check_id(what: str, value: object) -> str:
    """Return `value` if it can stand for somebody in a record: 1-256 printable NFC characters, no edge spaces."""
    if not isinstance(value, str):
        raise UsageError(f"{what} must be a string, not {type(value).__name__}")
    if not value or len(value) > MAX_ID_CHARS:
        raise UsageError(f"{what} must have 1 to {MAX_ID_CHARS} characters, this one has {len(value)}")
    if value != value.strip() or not value.isprintable() or unicodedata.normalize("NFC", value) != value:
        raise UsageError(f"{what} {value!a} has spaces at an edge, unprintable characters, or is not in NFC")
    return value


@final
@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody the host has authenticated. Carries no roles: those come from the policy.

    In `policy.csv` this principal is written `user:<id>`, so no person can be named like a role (C027).
    """

    id: str

    def __post_init__(self) -> None:
        check_id("a principal id", self.id)


def new_id(prefix: str) -> str:
    """A fresh id with 128 random bits, such as `call_5f0c...`; safe to show and to put in a file name."""
    return f"{prefix}_{os.urandom(16).hex()}"
