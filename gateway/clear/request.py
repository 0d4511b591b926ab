"""What a grant is bound to, and the one digest that names all of it (I4).

The request digest is SHA-256 over the canonical JSON (RFC 8785) of id, nonce, conversation, principal, on-behalf-of,
tool, contract digest, effective digest, sandbox, expiry and the digest of what was displayed. It is what people sign
and what the parked bytes are sealed to, so no part can be exchanged for another without being found out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from gateway.domain.canonical import canonical
from gateway.domain.ids import Principal
from gateway.domain.instant import Instant

PENDING: Final = "pending"
CLAIMED: Final = "claimed"
DONE: Final = "done"
DENIED: Final = "denied"
EXPIRED: Final = "expired"
UNKNOWN: Final = "unknown"
BURNT: Final = "burnt"  # claimed, but never ran and never will
FAILED: Final = "failed"  # how a claim may end, and no state: the tool failed for certain, so nothing was spent
STATES: Final = (PENDING, CLAIMED, DONE, DENIED, EXPIRED, UNKNOWN, BURNT)


@final
@dataclass(frozen=True, slots=True)
class Binding:
    """What one grant is for. `display_digest` covers the sealed dossier that approvers are shown."""

    id: str
    nonce: str
    conversation: str
    principal: str
    on_behalf_of: str | None
    tool: str
    contract_digest: str
    effective_digest: str
    sandbox: str | None
    expires: Instant
    display_digest: str

    def asked_by(self, principal: Principal, on_behalf_of: Principal | None) -> bool:
        """Whether this is their request: what one principal asked for two people is not one person's to see."""
        behalf = None if on_behalf_of is None else on_behalf_of.id
        return self.principal == principal.id and self.on_behalf_of == behalf

    def digest(self) -> str:
        """64 hex digits."""
        spelled = canonical(
            {
                "id": self.id,
                "nonce": self.nonce,
                "conversation": self.conversation,
                "principal": self.principal,
                "on_behalf_of": self.on_behalf_of,
                "tool": self.tool,
                "contract_digest": self.contract_digest,
                "effective_digest": self.effective_digest,
                "sandbox": self.sandbox,
                # as text: nanoseconds since 1970 lie beyond 2^53 and have no exact form as a JSON number
                "expires": [str(self.expires.wall_ns), str(self.expires.boot_ns), self.expires.boot_id],
                "display_digest": self.display_digest,
            }
        )
        return hashlib.sha256(b"toolgate request v1\n" + spelled).hexdigest()


@final
@dataclass(frozen=True, slots=True)
class StoredRequest:
    """One row, as found. `digest` is the stored one: compare it with `binding.digest()` before believing the row."""

    binding: Binding
    digest: str
    state: str
    created: Instant
    policy_digest: str
    provider_call_id: str
    masked: str
    sealed_wire: bytes | None
    sealed_dossier: bytes | None
    sealed_verdict: bytes | None
    claim_origin: str | None
    claim_call: str | None

    @property
    def intact(self) -> bool:
        """False if the row was changed by anything but Toolgate."""
        return self.binding.digest() == self.digest

    def expired(self, now: Instant) -> bool:
        """Within the boot of its making both clocks are asked, so moving the wall clock never makes it live longer."""
        expires = self.binding.expires
        return now.wall_ns >= expires.wall_ns or (now.boot_id == expires.boot_id and now.boot_ns >= expires.boot_ns)

    def overdue(self, now: Instant, newest_log_ns: Callable[[], int]) -> str | None:
        """Why this request can be granted no more at `now`, or None (C056, C071).

        After a reboot only wall time is left, and that is believed only if it does not lie behind the log, which is
        asked in that case alone.
        """
        if self.expired(now):
            return "it has expired"
        if now.boot_id == self.binding.expires.boot_id:
            return None
        if now.wall_ns < max(newest_log_ns(), self.created.wall_ns):
            return "this machine's clock stands behind the newest record of the log; set the clock"
        return None


# Where sealed bytes belong: bytes moved to another request, or to another call of the model's, do not open there.


def wire_place(digest: str, provider_call_id: str) -> bytes:
    return f"toolgate parked wire v1\n{digest}\n{provider_call_id}".encode()


def dossier_place(digest: str) -> bytes:
    return f"toolgate parked dossier v1\n{digest}".encode()


def verdict_place(digest: str, provider_call_id: str) -> bytes:
    return f"toolgate verdict v1\n{digest}\n{provider_call_id}".encode()
