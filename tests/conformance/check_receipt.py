"""A second checker of receipts, written from docs/audit-format.md alone. Shares no code with the one that makes them.

    python -m tests.conformance.check_receipt RECEIPT ORIGIN_KEY_FILE...

Needs Python 3.11, `cryptography`, and the note and key reading of the second log verifier beside it.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.conformance.verify_log import Key, Keys, read_key

Records = dict[tuple[str, int], dict[str, Any]]
REFUSALS = (ValueError, InvalidSignature, RecursionError)
MEMBERS: dict[str, dict[str, type]] = {
    "receipt": {"receipt": str, "call_id": str, "origins": dict, "records": list, "approvers": list},
    "origin": {"checkpoint": str, "rotations": list},
    "record": {"origin": str, "seq": int, "line": str, "proof": list},
    "approver": {"id": str, "key_id": str, "key": str},
}


class Refused(ValueError):
    """The receipt proves nothing."""


class Proved(NamedTuple):
    """Places proved and not proved, and the votes that the proved intents rest on."""

    proved: set[tuple[str, int]]
    unproved: set[tuple[str, int]]
    votes: list[tuple[str, str, bool, bool]]  # voter, verdict, signature good, by a key that was given


def require(holds: object, why: str) -> None:
    if not holds:
        raise Refused(why)


def members(given: Any, what: str) -> Any:
    kinds = MEMBERS[what]
    require(isinstance(given, dict) and given.keys() == kinds.keys(), f"{what}: other members")
    require(all(type(given[name]) is kind for name, kind in kinds.items()), f"{what}: of another kind")
    return given


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    require(len(dict(pairs)) == len(pairs), "a name twice")
    return dict(pairs)


def inclusion(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes | None:
    """The root that `proof` leads to (RFC 9162, section 2.1.3.2), None if it is too short or too long."""
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        right = node & 1 or node == last
        value = sha256(b"\x01" + (sibling + value if right else value + sibling)).digest()
        while right and node and not node & 1:
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return value if last == 0 else None


def ids(record: dict[str, Any]) -> tuple[str, str]:
    """The call and the request a record is about, empty where it does not say."""
    call = record["call"] if isinstance(record.get("call"), dict) else record
    found = call.get("call_id"), record.get("request_id") or call.get("request_id")
    return tuple(each if isinstance(each, str) else "" for each in found)  # type: ignore[return-value]


def check(raw: bytes, keys: dict[str, Key], approvers: dict[str, bytes]) -> Proved:
    """Raises one of REFUSALS where the receipt proves nothing."""
    require(len(raw) <= 64 << 20, "too long")
    receipt = members(json.loads(raw.decode(), object_pairs_hook=unique, parse_constant=int), "receipt")
    require(receipt["receipt"] == "toolgate receipt v1" and receipt["call_id"], "not a receipt")
    require(1 <= len(receipt["records"]) <= 10_000 >= len(receipt["approvers"]), "too many or none")
    trees = {}
    for name, origin in receipt["origins"].items():
        members(origin, "origin")
        require(all(isinstance(note, str) for note in origin["rotations"]), "a rotation that is no text")
        notes = [note.encode() for note in origin["rotations"]]
        checkpoint = origin["checkpoint"].encode()
        if name in keys:
            ring = Keys(keys[name])
            for note in notes:
                with suppress(ValueError, InvalidSignature):  # what does not follow on the key in hand is passed over
                    ring.rotate(note)
            trees[name] = ring.checkpoint(checkpoint)
    everything, proved = Records(), Records()
    for each in receipt["records"]:
        place = members(each, "record")["origin"], each["seq"]
        line, proof = each["line"].encode(), [b64decode(text, validate=True) for text in each["proof"]]
        record = json.loads(line, parse_constant=int)
        require(isinstance(record, dict) and type(record.get("seq")) is int, "not a record")
        require((record.get("origin"), record["seq"]) == place and place not in everything, "another record, or twice")
        require(len(proof) <= 64 and all(len(node) == 32 for node in proof), "not a proof")
        everything[place] = record
        if place[0] in trees:
            size, root = trees[place[0]]
            require(0 <= place[1] < size, "beyond the checkpoint")
            require(inclusion(place[1], size, sha256(b"\x00" + line).digest(), proof) == root, "not the line signed")
            proved[place] = record
    require({origin for origin, _ in everything} == set(receipt["origins"]), "other origins")
    belongs(receipt["call_id"], everything, proved)
    offered = {}
    for given in receipt["approvers"]:
        key = b64decode(members(given, "approver")["key"], validate=True)
        require(len(key) == 32, "not a key")
        offered[sha256(b"toolgate approver key id\0" + key).hexdigest()[:16]] = key
    hosts = {key_id.hex(): key for _, key_id, key in keys.values()}
    return Proved(set(proved), set(everything) - set(proved), votes(everything, proved, approvers, offered, hosts))


def belongs(asked: str, everything: Records, proved: Records) -> None:
    requests = {request for call, request in map(ids, proved.values()) if asked in (call, request)} - {""}
    own = {asked} | {call for call, request in map(ids, proved.values()) if call and request in requests}
    for record in everything.values():
        call, request = ids(record)
        require(call in own or request in requests, "a record of another call")
        for ran in proved.values():
            if (record.get("kind"), ran.get("kind")) == ("approval.requested", "call.intent"):
                same = all(record.get(name) == ran.get(name) for name in ("contract_digest", "effective_digest"))
                require(same or not request or request != ids(ran)[1], "what ran is not what was asked for")
    require(
        any(ids(each)[0] in own and str(each.get("kind")).startswith("call.") for each in proved.values()),
        "nothing of the call itself is proved",
    )


def votes(
    everything: Records, proved: Records, held: dict[str, bytes], offered: dict[str, bytes], hosts: dict[str, bytes]
) -> list[tuple[str, str, bool, bool]]:
    found = []
    records = list(everything.values())
    asked = [(r.get("request_id"), r.get("request_digest")) for r in records if r.get("kind") == "approval.requested"]
    cast = {r["proof"]: r for r in records if r.get("kind") == "approval.voted" and isinstance(r.get("proof"), str)}
    for intent in (record for record in proved.values() if record.get("kind") == "call.intent"):
        for proof in intent.get("proofs") or ():
            voter, verdict, key_id = (proof.get(name) for name in ("voter", "verdict", "key_id"))
            ballot, given = cast.get(proof.get("signature")), voter in held
            key = held[voter] if given else offered.get(key_id)
            if verdict == "confirm":
                key, given = hosts.get(key_id), key_id in hosts
            if ballot is not None and key is not None:
                request = ballot.get("request_id"), ballot.get("request_digest")
                require(request[0] == ids(intent)[1] and request in asked, "a vote on another request")
                require((ballot.get("verdict"), ballot.get("voter")) == (verdict, voter), "another vote")
                require(isinstance(ballot.get("comment"), str), "a vote without its comment")
                said = {"comment": sha256(ballot["comment"].encode()).hexdigest(), "request": request[1]}
                said |= {"verdict": verdict, "voter": voter}
                text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
                signature = b64decode(ballot["proof"], validate=True)
                message = b"toolgate approval v1\n" + text.encode()
                Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
            found.append((voter, verdict, ballot is not None and key is not None, given))
    return found


def main(receipt: str, *keys: str) -> int:
    held = {key[0]: key for key in (read_key(Path(each).read_text(encoding="utf-8")) for each in keys)}
    try:
        found = check(Path(receipt).read_bytes(), held, {})
    except REFUSALS as error:
        print("REFUSED", ascii(str(error) or "wrong signature"))
        return 1
    for origin, seq in sorted(found.proved):
        print("proved", ascii(origin), seq)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
