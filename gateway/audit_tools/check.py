"""Checking a receipt with nothing but public keys: no log, no policy, no network. docs/audit-format.md, *Receipts*.

Guarantee: a record counts as proved only if an origin's key that the *checker* holds signed a checkpoint whose tree
holds exactly that line at that place (RFC 6962, C2SP tlog-checkpoint), and only proved records say what belongs to the
call. Keys named in the receipt itself prove nothing but that a vote was made with the key whose id the proved records
name. Every misfit is named; one is enough to refuse.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.errors import NoteInvalid
from gateway.audit.keyring import Keyring, Rotation
from gateway.audit.note import Checkpoint, Verifier
from gateway.audit.tree import leaf_hash, verify_inclusion
from gateway.audit_tools.receipt_form import Claim, Form, Misshapen, read
from gateway.clear.votes import CONFIRM, key_id_of, signed_bytes

_VOTED: Final = ("request_digest", "verdict", "voter", "comment")


@final
@dataclass(slots=True)
class Vote:
    """One vote that a proved intent rests on. `verified`: its signature was checked; `known`: by a key you gave."""

    voter: str
    verdict: str
    key_id: str
    dev: bool
    verified: bool = False
    known: bool = False


@final
@dataclass(slots=True)
class Checked:
    """The verdict. `ok`: nothing is `wrong` and the call's own records are proved. Texts are untrusted: escape them."""

    call_id: str = ""
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    proved: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    unproved: list[tuple[str, int]] = field(default_factory=list)
    signed: dict[str, int] = field(default_factory=dict)
    votes: list[Vote] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.wrong and bool(self.proved)


def check(raw: bytes, keys: Mapping[str, Verifier], approvers: Mapping[str, bytes] | None = None) -> Checked:
    """Check a receipt's bytes. `keys`: public keys by origin; `approvers`: 32-byte public keys by id, if any."""
    try:
        form = read(raw)
    except Misshapen as error:
        return Checked(wrong=[f"not a receipt: {error}"])
    checked = Checked(form.call_id)
    checkpoints = _checkpoints(form, keys, checked)
    for claim in form.claims:
        if claim.origin not in keys:
            checked.unproved.append((claim.origin, claim.seq))
        elif (checkpoint := checkpoints.get(claim.origin)) is None:
            checked.wrong.append(f"{claim.place} has no checkpoint that proves it")
        elif not verify_inclusion(checkpoint.root, checkpoint.size, claim.seq, leaf_hash(claim.line), claim.proof):
            checked.wrong.append(f"{claim.place} is not the line that was signed: it or its proof was changed")
        else:
            checked.proved.append((claim.origin, claim.seq, claim.record))
    if not checked.wrong:
        _belongs(form.claims, checked)
        _votes(form, keys, approvers or {}, checked)
    return checked


def _checkpoints(form: Form, keys: Mapping[str, Verifier], checked: Checked) -> dict[str, Checkpoint]:
    found: dict[str, Checkpoint] = {}
    for name, (note, rotations) in form.origins.items():
        key = keys.get(name)
        if key is None:
            continue
        try:
            found[name] = _keyring(key, rotations).checkpoint(note)
        except NoteInvalid as error:
            checked.wrong.append(f"the checkpoint of {name!a} is not signed by the key you hold: {error.why}")
        else:
            checked.signed[name] = found[name].size
    return found


def _keyring(key: Verifier, rotations: Iterable[bytes]) -> Keyring:
    """The key held, and those it handed on to. A statement that does not follow on them adds nothing."""
    ring = Keyring(key)
    for note in rotations:
        try:
            rotation = Rotation.open(note, ring.current)
        except NoteInvalid:
            continue  # from before the key in hand, or nobody's: the checkpoint's signature decides
        if ring.may_follow(rotation):
            ring = Keyring(key, (*ring.rotations, rotation))
    return ring


def _ids(record: dict[str, Any]) -> tuple[str, str]:
    """The call and the request that a record is about; empty where it does not say."""
    about = record.get("call")
    call = about if isinstance(about, dict) else record
    call_id, request = call.get("call_id"), record.get("request_id") or call.get("request_id")
    return call_id if isinstance(call_id, str) else "", request if isinstance(request, str) else ""


def _belongs(claims: Iterable[Claim], checked: Checked) -> None:
    """The records must be about the call named, and about one another: proved ones say which, the others must fit."""
    asked, proved = checked.call_id, [record for _, _, record in checked.proved]
    ids = [_ids(record) for record in proved]
    requests = {request for call, request in ids if asked in (call, request)} - {""}
    own = {asked} | {call for call, request in ids if call and request in requests}
    for claim in claims:
        call, request = _ids(claim.record)
        if call not in own and request not in requests:
            checked.wrong.append(f"{claim.place} is about another call")
    intents = {(each["origin"], each["seq"]): each for each in proved if each.get("kind") == "call.intent"}
    for claim in claims:
        if claim.record.get("kind") == "approval.requested" and any(
            _ids(claim.record)[1] == _ids(ran)[1] != "" and _bound(claim.record) != _bound(ran)
            for ran in intents.values()
        ):
            checked.wrong.append("what was asked for is not what ran: their digests differ")
    ended = {(each["origin"], each.get("intent_seq")) for each in proved if each.get("kind") == "call.outcome"}
    if not any(_ids(each)[0] in own and str(each.get("kind")).startswith("call.") for each in proved):
        checked.wrong.append("no record of the call itself is proved by a key you hold")
    if ended - set(intents):
        checked.notes.append("the intent that an outcome answers is not in the receipt")
    if set(intents) - ended:
        checked.notes.append("an intent has no outcome here: the call had not ended, or its outcome was left out")


def _bound(record: dict[str, Any]) -> tuple[object, object]:
    return record.get("contract_digest"), record.get("effective_digest")


def _votes(form: Form, keys: Mapping[str, Verifier], held: Mapping[str, bytes], checked: Checked) -> None:
    """The signatures that proved intents rest on, against the keys held or else the ones their ids name."""
    offered = {key_id_of(key): key for key in form.keys}  # what the receipt says of a key is not believed
    records = [claim.record for claim in form.claims]
    cast = {each["proof"]: each for each in _of(records, "approval.voted") if isinstance(each.get("proof"), str)}
    asked = {
        (each.get("request_id"), each.get("request_digest"))
        for each in _of(records, "approval.requested")
        if isinstance(each.get("request_id"), str) and isinstance(each.get("request_digest"), str)
    }
    for intent in _of((record for _, _, record in checked.proved), "call.intent"):
        proofs = intent.get("proofs")
        for proof in proofs if isinstance(proofs, list) else ():
            if not isinstance(proof, dict):
                continue
            voter, verdict, key_id = (str(proof.get(name)) for name in ("voter", "verdict", "key_id"))
            vote = Vote(voter, verdict, key_id, dev=proof.get("dev_key") is True)
            checked.votes.append(vote)
            signature = proof.get("signature")
            ballot = cast.get(signature) if isinstance(signature, str) else None
            key, vote.known = held.get(voter) or offered.get(key_id), voter in held
            if verdict == CONFIRM:
                host = next((each for each in keys.values() if each.key_id.hex() == key_id), None)
                key, vote.known = (host.public, True) if host is not None else (None, False)
            if ballot is None or key is None:
                continue
            request = (ballot.get("request_id"), ballot.get("request_digest"))
            if request[0] != _ids(intent)[1] or request not in asked:
                checked.wrong.append(f"the vote of {voter!a} was cast on another request")
            elif _signed(key, ballot, vote):
                vote.verified = True
            else:
                checked.wrong.append(f"the vote of {voter!a} is not signed by {'her' if vote.known else 'that'} key")


def _of(records: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in records if each.get("kind") == kind]


def _signed(key: bytes, ballot: dict[str, Any], vote: Vote) -> bool:
    fields = [ballot.get(name) for name in _VOTED]
    if not all(isinstance(each, str) for each in fields) or fields[1:3] != [vote.verdict, vote.voter]:
        return False
    try:
        signature = base64.b64decode(str(ballot["proof"]), validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed_bytes(*(str(each) for each in fields)))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
