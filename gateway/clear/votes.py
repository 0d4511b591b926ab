"""What people sign, and which signatures count now (C057-C061, C070, C128).

Guarantee: a vote counts only while an enrolled key verifies it over this very request digest and the policy of the
moment lets that person vote; the row it is kept in proves nothing. Ed25519 (RFC 8032), with a domain of its own so that
no other signature made with the same key can pass for a vote.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.clear.port import Rules
from gateway.clear.request import Binding
from gateway.domain.canonical import canonical
from gateway.domain.decision import ORDER, Obligation
from gateway.domain.errors import UsageError
from gateway.policy.documents import Approval, Approver

Verdict = Literal["approve", "deny", "confirm"]
APPROVE: Final = "approve"
DENY: Final = "deny"
CONFIRM: Final = "confirm"
MAX_COMMENT_CHARS: Final = 1000
_DOMAIN: Final = b"toolgate approval v1\n"


@final
@dataclass(frozen=True, slots=True)
class Ballot:
    """One signed vote. `voter` is an approver's id, or for `confirm` the requester's."""

    request_id: str
    request_digest: str
    verdict: str
    voter: str
    key_id: str
    signature: bytes
    comment: str
    at_wall_ns: int
    dev: bool


@final
@dataclass(frozen=True, slots=True)
class Tally:
    """Votes sorted by whether they count now. `rejected` says why not."""

    approvals: tuple[Ballot, ...]
    confirmations: tuple[Ballot, ...]
    denials: tuple[Ballot, ...]
    rejected: tuple[tuple[Ballot, str], ...]

    def meets(self, needs: Needs) -> bool:
        return len(self.approvals) >= needs.approvals and (bool(self.confirmations) or not needs.confirmation)


@final
@dataclass(frozen=True, slots=True)
class Needs:
    """How many distinct approvers, and whether the requester herself must confirm."""

    approvals: int
    confirmation: bool


def needs_of(obligations: Iterable[Obligation], approval: Approval) -> Needs:
    """What the obligations ask for under this contract. An approval asks for one person at the very least."""
    kinds = {obligation.kind for obligation in obligations}
    if kinds - {"approval", "confirmation", ORDER}:
        raise UsageError(f"an obligation is an `approval`, a `confirmation` or the `{ORDER}`, not {sorted(kinds)}")
    return Needs(max(1, approval.approvers) if "approval" in kinds else 0, "confirmation" in kinds)


def signed_bytes(request_digest: str, verdict: str, voter: str, comment: str) -> bytes:
    """The bytes a vote's signature is over."""
    comment_digest = hashlib.sha256(comment.encode()).hexdigest()
    spelled = {"request": request_digest, "verdict": verdict, "voter": voter, "comment": comment_digest}
    return _DOMAIN + canonical(spelled)


def sign(
    request_id: str,
    request_digest: str,
    verdict: Verdict,
    *,
    voter: str,
    key_id: str,
    sign_with: Callable[[bytes], bytes],
    comment: str,
    at_wall_ns: int,
    dev: bool = False,
) -> Ballot:
    """Make a vote. `sign_with` is an Ed25519 private key's `sign`. Nothing is checked here: `objection` does that."""
    if len(comment) > MAX_COMMENT_CHARS:
        raise UsageError(f"a comment has at most {MAX_COMMENT_CHARS} characters, this one {len(comment)}")
    signature = sign_with(signed_bytes(request_digest, verdict, voter, comment))
    return Ballot(request_id, request_digest, verdict, voter, key_id, signature, comment, at_wall_ns, dev)


def objection(ballot: Ballot, binding: Binding, digest: str, rules: Rules) -> str | None:
    """Why this vote does not count now, in words for people; None if it counts."""
    if ballot.request_id != binding.id or ballot.request_digest != digest:
        return "it was cast on another request"
    if ballot.verdict == CONFIRM:
        return _confirmation_objection(ballot, binding, digest, rules)
    if ballot.verdict not in (APPROVE, DENY):
        return f"{ballot.verdict!a} is no verdict"
    approver = enrolled(ballot.voter, rules)
    if approver is None:
        return f"{ballot.voter!a} is not enrolled in approvers.yaml"
    if ballot.verdict == APPROVE and ballot.voter in (binding.principal, binding.on_behalf_of):
        return f"{ballot.voter!a} asked for this call, and nobody approves her own"
    if rules.may_approve(ballot.voter, binding.tool) is not True:
        return f"{ballot.voter!a} does not hold `approve` on {binding.tool!a}"
    if not _verifies(public_bytes(approver), ballot, digest):
        return f"the signature is not by the key of {ballot.voter!a} over this request"
    return None


def tally(ballots: Iterable[Ballot], binding: Binding, digest: str, rules: Rules) -> Tally:
    """Sort votes by whether they count now. One person, and one key, counts once for each verdict."""
    counted: dict[str, dict[str, Ballot]] = {APPROVE: {}, DENY: {}, CONFIRM: {}}
    rejected: list[tuple[Ballot, str]] = []
    for ballot in ballots:
        why = objection(ballot, binding, digest, rules)
        if why is not None:
            rejected.append((ballot, why))
            continue
        approver = None if ballot.verdict == CONFIRM else enrolled(ballot.voter, rules)
        if approver is None:
            counted[ballot.verdict].setdefault(ballot.voter, ballot)
        else:  # which key it is, and whether a --dev one, is the policy's to say and not the row's
            known = replace(ballot, key_id=key_id_of(public_bytes(approver)), dev=approver.dev)
            counted[ballot.verdict].setdefault(approver.key, known)
    approvals, confirmations, denials = (tuple(counted[verdict].values()) for verdict in (APPROVE, CONFIRM, DENY))
    return Tally(approvals, confirmations, denials, tuple(rejected))


def proof(ballot: Ballot) -> dict[str, object]:
    """What a record keeps of a vote that was verified."""
    return {
        "verdict": ballot.verdict,
        "voter": ballot.voter,
        "key_id": ballot.key_id,
        "dev_key": ballot.dev,
        "signature": base64.b64encode(ballot.signature).decode(),
    }


def enrolled(voter: str, rules: Rules) -> Approver | None:
    return next((approver for approver in rules.approvers if approver.id == voter), None)


def public_bytes(approver: Approver) -> bytes:
    """The 32 raw bytes of an approver's public key."""
    return base64.b64decode(approver.key.removeprefix("ed25519:"), validate=True)


def key_id_of(public: bytes) -> str:
    """A short name for a public key, as it stands in votes and records."""
    return hashlib.sha256(b"toolgate approver key id\0" + public).hexdigest()[:16]


def _confirmation_objection(ballot: Ballot, binding: Binding, digest: str, rules: Rules) -> str | None:
    if ballot.voter != binding.principal:
        return "only the requester herself confirms"
    public = rules.trusted_hosts.get(ballot.key_id)
    if public is None:
        return f"key {ballot.key_id!a} belongs to no enrolled host process"
    if not _verifies(public, ballot, digest):
        return "the signature is not by that host's key over this request"
    return None


def _verifies(public: bytes, ballot: Ballot, digest: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            ballot.signature, signed_bytes(digest, ballot.verdict, ballot.voter, ballot.comment)
        )
    except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no key
        return False
    return True
