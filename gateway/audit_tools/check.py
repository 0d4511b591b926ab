"""Checking a receipt with nothing but public keys: no log, no policy, no network.

Guarantee: a record counts as proved only if an origin's key that the *checker* holds signed a checkpoint whose tree
holds exactly that line at that place (RFC 6962, C2SP tlog-checkpoint). Keys named in the receipt itself prove nothing
but that a vote was made with the key whose id the proved records name. Every misfit is named; one is enough to refuse.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.errors import NoteInvalid
from gateway.audit.keyring import Keyring, Rotation
from gateway.audit.note import Checkpoint, Verifier
from gateway.audit.shape import decode
from gateway.audit.tree import leaf_hash, verify_inclusion
from gateway.audit_tools.facts import facts_of
from gateway.audit_tools.receipt import TITLE
from gateway.clear.votes import CONFIRM, key_id_of, signed_bytes

MAX_RECEIPT_BYTES: Final = 64 << 20
_MOST: Final = 10_000  # records, and as many signatures


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
    checked = Checked()
    try:
        receipt = _shape(raw)
        checked.call_id = receipt["call_id"]
        checkpoints = _checkpoints(receipt["origins"], keys, checked)
        lines = [_record(each, checkpoints, keys, checked) for each in receipt["records"]]
    except _Misshapen as error:
        checked.wrong.append(f"not a receipt: {error}")
        return checked
    records = [each for each in lines if each is not None]
    if not checked.wrong:
        _belongs(records, checked)
        try:
            _votes(records, receipt["approvers"], keys, approvers or {}, checked)
        except _Misshapen as error:
            checked.wrong.append(f"not a receipt: {error}")
    return checked


class _Misshapen(Exception):
    """The file is not in a receipt's form."""


def _shape(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_RECEIPT_BYTES:
        raise _Misshapen(f"longer than {MAX_RECEIPT_BYTES} bytes")
    try:
        receipt = decode(raw)
    except (ValueError, UnicodeDecodeError) as error:
        raise _Misshapen(f"no JSON object ({error})") from error
    if receipt.get("receipt") != TITLE:
        raise _Misshapen(f"it does not begin as {TITLE!r}")
    wanted = {"call_id": str, "origins": dict, "records": list, "approvers": list}
    for name, kind in wanted.items():
        if not isinstance(receipt.get(name), kind):
            raise _Misshapen(f"{name} is missing or of another kind")
    if set(receipt) != {"receipt", *wanted}:
        raise _Misshapen("it holds more than a receipt does")
    if not 0 < len(receipt["records"]) <= _MOST or len(receipt["approvers"]) > _MOST:
        raise _Misshapen("it has no records, or too many")
    return receipt


def _checkpoints(origins: dict[str, Any], keys: Mapping[str, Verifier], checked: Checked) -> dict[str, Checkpoint]:
    found: dict[str, Checkpoint] = {}
    for name, given in origins.items():
        if not isinstance(given, dict) or not isinstance(given.get("checkpoint"), str):
            raise _Misshapen(f"origin {name!a} has no checkpoint")
        rotations = given.get("rotations")
        if not isinstance(rotations, list) or not all(isinstance(each, str) for each in rotations):
            raise _Misshapen(f"origin {name!a} has no list of rotations")
        key = keys.get(name)
        if key is None:
            continue
        try:
            found[name] = _keyring(key, rotations).checkpoint(given["checkpoint"].encode("utf-8", "replace"))
        except NoteInvalid as error:
            checked.wrong.append(f"the checkpoint of {name!a} is not signed by the key you hold: {error.why}")
        else:
            checked.signed[name] = found[name].size
    return found


def _keyring(key: Verifier, rotations: list[str]) -> Keyring:
    """The key held, and those it handed on to. A statement that no key in hand signed adds nothing."""
    followed: list[Rotation] = []
    current = key
    for note in rotations:
        try:
            rotation = Rotation.open(note.encode("utf-8", "replace"), current)
        except NoteInvalid:
            continue  # from before the key in hand, or nobody's: the checkpoint's signature decides
        followed.append(rotation)
        current = rotation.new
    return Keyring(key, tuple(followed))


def _record(
    given: Any, checkpoints: Mapping[str, Checkpoint], keys: Mapping[str, Verifier], checked: Checked
) -> dict[str, Any] | None:
    """The record, where it has the log's form; whether it is proved is noted in `checked`."""
    if (
        not isinstance(given, dict)
        or not isinstance(given.get("line"), str)
        or not isinstance(given.get("proof"), list)
    ):
        raise _Misshapen("a record without its line or its proof")
    origin, seq = given.get("origin"), given.get("seq")
    if not isinstance(origin, str) or type(seq) is not int:
        raise _Misshapen("a record that does not say where it stood")
    place = f"record {seq} of {origin!a}"
    line = given["line"].encode("utf-8", "surrogatepass")
    try:
        record = decode(line)
    except ValueError:
        checked.wrong.append(f"{place} is no record")
        return None
    if record.get("seq") != seq or record.get("origin") != origin:
        checked.wrong.append(f"{place} says of itself that it is another record")
        return None
    if origin not in keys:
        checked.unproved.append((origin, seq))
        return record
    checkpoint = checkpoints.get(origin)
    if checkpoint is None:
        checked.wrong.append(f"{place} has no checkpoint that proves it")
        return None
    try:
        proof = [base64.b64decode(each, validate=True) for each in given["proof"]]
    except (binascii.Error, ValueError, TypeError) as error:
        raise _Misshapen(f"the proof of {place} is not base64") from error
    if len(proof) > 64 or not verify_inclusion(checkpoint.root, checkpoint.size, seq, leaf_hash(line), proof):
        checked.wrong.append(f"{place} is not the line that was signed: it or its proof was changed")
        return None
    checked.proved.append((origin, seq, record))
    return record


def _belongs(records: list[dict[str, Any]], checked: Checked) -> None:
    """The records must be about the call named, and about one another."""
    proved = [record for _, _, record in checked.proved]
    facts = [facts_of(record) for record in records]
    own = {checked.call_id}
    requests = {each.request_id for each in facts if checked.call_id in (each.call_id, each.request_id)} - {""}
    own |= {each.call_id for each in facts if each.request_id in requests and each.call_id}
    for each, record in zip(facts, records, strict=True):
        if each.call_id not in own and each.request_id not in requests:
            checked.wrong.append(f"record {record['seq']} of {record['origin']!a} is about another call")
    intents = {(each["origin"], each["seq"]): each for each in proved if each.get("kind") == "call.intent"}
    for asked in (each for each in records if each.get("kind") == "approval.requested"):
        for ran in intents.values():
            if facts_of(asked).request_id == facts_of(ran).request_id and _bound(asked) != _bound(ran):
                checked.wrong.append("what was asked for is not what ran: their digests differ")
    ended = set()
    for record in proved:
        if record.get("kind") == "call.outcome":
            place = (record["origin"], record.get("intent_seq"))
            ended.add(place)
            if place not in intents:
                checked.notes.append("the intent that an outcome answers is not in the receipt")
    if not any(facts_of(each).call_id in own and each.get("kind", "").startswith("call.") for each in proved):
        checked.wrong.append("no record of the call itself is proved by a key you hold")
    if set(intents) - ended:
        checked.notes.append("an intent has no outcome here: the call had not ended, or its outcome was left out")


def _bound(record: dict[str, Any]) -> tuple[object, object]:
    return record.get("contract_digest"), record.get("effective_digest")


def _votes(
    records: list[dict[str, Any]],
    named: list[Any],
    keys: Mapping[str, Verifier],
    held: Mapping[str, bytes],
    checked: Checked,
) -> None:
    """The signatures that proved intents rest on, against the keys held or else the ones their ids name."""
    offered = _offered(named)
    cast = {
        each.get("proof"): each
        for each in records
        if each.get("kind") == "approval.voted" and _is_text(each.get("proof"))
    }
    for _, _, record in checked.proved:
        proofs = record.get("proofs") if record.get("kind") == "call.intent" else None
        for proof in proofs if isinstance(proofs, list) else ():
            if not isinstance(proof, dict):
                continue
            voter, verdict, key_id = (str(proof.get(name)) for name in ("voter", "verdict", "key_id"))
            vote = Vote(voter, verdict, key_id, dev=proof.get("dev_key") is True)
            checked.votes.append(vote)
            ballot = cast.get(proof.get("signature")) if _is_text(proof.get("signature")) else None
            key = held.get(vote.voter) or offered.get(vote.key_id)
            vote.known = vote.voter in held
            if vote.verdict == CONFIRM:
                host = next((each for each in keys.values() if each.key_id.hex() == vote.key_id), None)
                key, vote.known = (host.public, True) if host is not None else (None, False)
            if ballot is None or key is None:
                continue
            if _signed(key, ballot, vote):
                vote.verified = True
            else:
                checked.wrong.append(
                    f"the vote of {vote.voter!a} is not signed by {'her' if vote.known else 'that'} key"
                )


def _offered(named: list[Any]) -> dict[str, bytes]:
    """Keys in the receipt, by the id that follows from them: what the receipt says of them is not believed."""
    found: dict[str, bytes] = {}
    for each in named:
        try:
            key = base64.b64decode(each["key"], validate=True)
        except (binascii.Error, ValueError, TypeError, KeyError) as error:
            raise _Misshapen("an approver without a key") from error
        found[key_id_of(key)] = key
    return found


def _signed(key: bytes, ballot: dict[str, Any], vote: Vote) -> bool:
    fields = [ballot.get(name) for name in ("request_digest", "verdict", "voter", "comment")]
    if not all(isinstance(each, str) for each in fields) or fields[1:3] != [vote.verdict, vote.voter]:
        return False
    try:
        signature = base64.b64decode(str(ballot["proof"]), validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed_bytes(*(str(each) for each in fields)))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _is_text(value: object) -> bool:
    return isinstance(value, str)
