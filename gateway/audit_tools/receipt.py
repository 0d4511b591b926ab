"""A portable proof of one call: its records as they stand in the log, and what proves that they stand there.

Its form stands in docs/audit-format.md, *Receipts*.

Guarantee: nothing is in it that is not in the log, secrets and personal data as they stand there; and it is handed out
only after `check` has proved every record in it by the enrolled keys. It proves what it holds and cannot show what was
left out: whoever needs the whole history needs the log.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from gateway.audit.errors import NoteInvalid
from gateway.audit.keyring import Keyring, rotation_path
from gateway.audit.note import Checkpoint
from gateway.audit.proofs import Leaves, inclusion
from gateway.audit.retention import read_retired, stored_leaves
from gateway.audit.segment import Place
from gateway.audit.tree import leaf_hash, verify_inclusion
from gateway.audit_tools.facts import facts_of
from gateway.audit_tools.index import Found
from gateway.audit_tools.receipt_form import TITLE
from gateway.audit_tools.story import Story
from gateway.clear.votes import key_id_of
from gateway.domain.errors import ToolgateError

_KINDS: Final = frozenset(
    {
        *("call.intent", "call.outcome", "call.denied", "call.settled"),
        *("approval.requested", "approval.voted", "approval.expired"),
    }
)


class NoReceipt(ToolgateError):
    """A call cannot be proved now. `why` says what is missing."""

    def __init__(self, call_id: str, why: str) -> None:
        self.call_id = call_id
        self.why = why
        super().__init__(f"no receipt of {call_id!a}: {why}")


@final
@dataclass(frozen=True, slots=True)
class Prover:
    """One origin as it was when its checkpoint was read."""

    place: Place
    checkpoint: Checkpoint
    note: str
    rotations: tuple[str, ...]
    leaves: Leaves

    def proof(self, found: Found) -> list[bytes]:
        """Raises LookupError where the side files do not lead from the line to the signed root."""
        proof = inclusion(found.seq, self.checkpoint.size, self.leaves.root)
        root, size = self.checkpoint.root, self.checkpoint.size
        if not verify_inclusion(root, size, found.seq, leaf_hash(found.line), proof):
            raise LookupError("the stored leaf hashes do not lead to the signed root")
        return proof


def make(
    story: Story,
    audit: Path,
    checkpoints: Path,
    trust: Path,
    keyrings: Mapping[str, Keyring],
    approvers: Mapping[str, bytes],
) -> dict[str, Any]:
    """The receipt of the call that `story`, of enrolled origins only, tells. `approvers`: 32-byte public keys by id.

    Raises NoReceipt, OSError.
    """
    about = [found for found in story.own if facts_of(found.record).kind in _KINDS]
    if not about:
        raise NoReceipt(story.call_id, "the log holds no such call; see `toolgate audit search`")
    provers = {
        name: _prover(story.call_id, Place(name, audit, checkpoints), keyrings.get(name), trust)
        for name in {found.origin for found in about}
    }
    records = []
    for found in about:
        prover = provers[found.origin]
        if found.seq >= prover.checkpoint.size:
            raise NoReceipt(
                story.call_id,
                f"record {found.seq} of {found.origin} is not under a signature yet "
                f"({prover.checkpoint.size} records are): wait for the next checkpoint or close the gateway",
            )
        try:
            proof = prover.proof(found)
        except LookupError as error:
            raise NoReceipt(story.call_id, f"{error}; run `toolgate audit verify`") from error
        records.append(
            {
                "origin": found.origin,
                "seq": found.seq,
                "line": found.line.decode("utf-8"),
                "proof": [base64.b64encode(each).decode() for each in proof],
            }
        )
    return {
        "receipt": TITLE,
        "call_id": story.call_id,
        "origins": {
            name: {"checkpoint": prover.note, "rotations": list(prover.rotations)}
            for name, prover in sorted(provers.items())
        },
        "records": records,
        "approvers": _voters(about, approvers),
    }


def _prover(call_id: str, place: Place, keys: Keyring | None, trust: Path) -> Prover:
    if keys is None:
        raise NoReceipt(call_id, f"nobody enrolled the origin {place.origin!a}: its records prove nothing")
    try:
        raw = place.checkpoint.read_bytes()
        checkpoint = keys.checkpoint(raw)
        leaves = stored_leaves(place, read_retired(place, keys))
    except (NoteInvalid, FileNotFoundError) as error:
        raise NoReceipt(
            call_id, f"{place.origin} has no good checkpoint ({error}); run `toolgate audit verify`"
        ) from error
    public = trust / "origins" / f"{place.origin}.pub"
    rotations = [rotation_path(public, number).read_text("utf-8") for number in range(1, len(keys.rotations) + 1)]
    return Prover(place, checkpoint, raw.decode("utf-8"), tuple(rotations), leaves)


def _voters(about: Iterable[Found], approvers: Mapping[str, bytes]) -> list[dict[str, str]]:
    """The keys of those who voted, as far as they are enrolled now with the key they voted with."""
    voted = {
        (str(found.record.get("voter")), str(found.record.get("key_id")))
        for found in about
        if found.record is not None and found.record.get("kind") == "approval.voted"
    }
    return [
        {"id": voter, "key_id": key_id, "key": base64.b64encode(approvers[voter]).decode()}
        for voter, key_id in sorted(voted)
        if voter in approvers and key_id_of(approvers[voter]) == key_id
    ]
