"""What clearing needs from outside: a transaction, a sealer, and what the policy of the moment says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from sqlalchemy import Connection

from gateway.domain.call import CallContext
from gateway.policy.documents import Approver, Contract


class Transactions(Protocol):
    """A database. Both raise StateUnavailable; `write` holds the write lock from its beginning to its commit."""

    def write(self) -> AbstractContextManager[Connection]: ...

    def read(self) -> AbstractContextManager[Connection]: ...


class Sealer(Protocol):
    """Encryption at rest, bound to a place. `unseal` raises StateUnavailable when anything does not fit."""

    def seal(self, plain: bytes, aad: bytes) -> bytes: ...

    def unseal(self, sealed: bytes, aad: bytes) -> bytes: ...


@runtime_checkable
class Pinnable(Protocol):
    """A capability whose content can be named by its digest, such as an open file."""

    def pinned(self, *, hold: bool) -> dict[str, object]:
        """What it holds now. With `hold` nothing else is ever read from it. Raises OSError."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Rules:
    """The policy of the moment, as far as it concerns clearing (I6: made anew for every policy version).

    `contracts` by tool. `approvers` are the enrolled people. `may_approve(voter, tool)` asks the policy whether she
    holds `approve` on that tool now. `trusted_hosts` maps the key id of an enrolled host process to its raw Ed25519
    public key. `sandbox_of(tool, ctx)` names the sandbox the tool would run in now, and the state
    of the session it would find there, or None.
    """

    contracts: Mapping[str, Contract]
    approvers: tuple[Approver, ...]
    may_approve: Callable[[str, str], bool]
    trusted_hosts: Mapping[str, bytes]
    sandbox_of: Callable[[str, CallContext], str | None]
    pending_requests: int
