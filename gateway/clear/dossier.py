"""What an approver is shown, as one sealed block: every argument in full, the facts, and why a person is asked.

The digest of these bytes is part of the request digest, so what was displayed is what was signed (I4). A random salt
stands inside, because the digest is stored in plain and an argument may be as guessable as a PIN (I10).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import orjson

from gateway.domain.decision import Obligation
from gateway.domain.errors import StateUnavailable
from gateway.domain.scope import Scope


@final
@dataclass(frozen=True, slots=True)
class Dossier:
    """`effective` and `masked` are JSON texts of the arguments; `secrets` and `authority` name some of them.

    `pinned` says by argument what it leads to held when people were asked, which the grant is bound to (C133);
    `mutable` says of those that lead to what nobody here can pin, what may change.
    `scopes` are those under which the call was made, spelled, and under which it will be resumed.
    """

    effective: str
    masked: str
    secrets: tuple[str, ...]
    authority: tuple[str, ...]
    facts: Mapping[str, object]
    obligations: Sequence[Mapping[str, object]]
    scopes: tuple[str, ...]
    pinned: Mapping[str, Mapping[str, object]]
    mutable: Mapping[str, str]
    salt: str

    @classmethod
    def make(
        cls,
        *,
        effective: bytes,
        masked: bytes,
        secret: Sequence[str],
        authority: Sequence[str],
        facts: Mapping[str, object],
        obligations: Sequence[Obligation],
        scopes: Sequence[Scope],
        pinned: Mapping[str, Mapping[str, object]],
        mutable: Mapping[str, str],
    ) -> Self:
        return cls(
            effective.decode(),
            masked.decode(),
            tuple(secret),
            tuple(authority),
            facts,
            [as_record(obligation) for obligation in obligations],
            tuple(scope.spelled for scope in scopes),
            pinned,
            mutable,
            secrets.token_hex(16),
        )

    def encode(self) -> bytes:
        """Raises TypeError for a fact that JSON cannot hold, such as an integer beyond 64 bits."""
        return orjson.dumps(self, default=_placeholder, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        found: dict[str, Any] = orjson.loads(data)
        try:
            return cls(
                found["effective"],
                found["masked"],
                tuple(found["secrets"]),
                tuple(found["authority"]),
                found["facts"],
                found["obligations"],
                tuple(found["scopes"]),
                found["pinned"],
                found["mutable"],
                found["salt"],
            )
        except (KeyError, TypeError) as error:
            raise StateUnavailable("a sealed dossier has another format: it was parked by another version.") from error


def display_digest(encoded: bytes) -> str:
    """64 hex digits over an encoded dossier."""
    return hashlib.sha256(b"toolgate dossier v1\n" + encoded).hexdigest()


def as_record(obligation: Obligation) -> dict[str, object]:
    """An obligation as records and dossiers carry it."""
    rule = None if obligation.rule is None else str(obligation.rule)
    return {"kind": obligation.kind, "why": obligation.why, "rule": rule}


def _placeholder(value: object) -> str:
    return f"<{type(value).__name__}>"
