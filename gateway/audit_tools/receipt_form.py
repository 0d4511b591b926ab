"""The form of a receipt, before anything in it is believed: docs/audit-format.md, *Receipts*.

Guarantee: `read` returns only what has exactly the members a receipt has, at every level, each of its kind and none of
them twice, so that nothing which nobody vouched for travels under the name of a proof.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn, final

from gateway.audit.shape import decode
from gateway.audit.tree import HASH_BYTES

TITLE: Final = "toolgate receipt v1"
MAX_RECEIPT_BYTES: Final = 64 << 20
MAX_RECORDS: Final = 10_000  # and as many approvers
MAX_PROOF: Final = 64  # a tree of 2**64 records is no deeper
_KEY_BYTES: Final = 32


class Misshapen(Exception):
    """The file is not in a receipt's form. Never leaves this package."""


@final
@dataclass(frozen=True, slots=True)
class Claim:
    """One record: the stored line, the place it is said to stand at, and the hashes that are to show it."""

    origin: str
    seq: int
    line: bytes
    record: dict[str, Any]
    proof: tuple[bytes, ...]

    @property
    def place(self) -> str:
        return f"record {self.seq} of {self.origin!a}"


@final
@dataclass(frozen=True, slots=True)
class Form:
    """What a receipt holds. `origins`: checkpoint and rotations by name; `keys`: of approvers, 32 bytes each."""

    call_id: str
    origins: dict[str, tuple[bytes, tuple[bytes, ...]]]
    claims: tuple[Claim, ...]
    keys: tuple[bytes, ...]


def read(raw: bytes) -> Form:
    """A receipt's bytes. Raises Misshapen."""
    if len(raw) > MAX_RECEIPT_BYTES:
        raise Misshapen(f"longer than {MAX_RECEIPT_BYTES} bytes")
    try:
        whole = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Misshapen(f"no JSON object ({error})") from error
    if not isinstance(whole, dict) or whole.get("receipt") != TITLE:
        raise Misshapen(f"it does not say that it is a {TITLE!r}")
    _members(whole, "it", receipt=str, call_id=str, origins=dict, records=list, approvers=list)
    if not whole["call_id"]:
        raise Misshapen("it is about no call")
    if not 0 < len(whole["records"]) <= MAX_RECORDS or len(whole["approvers"]) > MAX_RECORDS:
        raise Misshapen("it has no records, or too many")
    origins = {name: _origin(given) for name, given in whole["origins"].items()}
    claims = tuple(map(_claim, whole["records"]))
    if {claim.origin for claim in claims} != set(origins):
        raise Misshapen("its origins are not those of its records")
    if len({(claim.origin, claim.seq) for claim in claims}) != len(claims):
        raise Misshapen("a record stands in it twice")
    return Form(whole["call_id"], origins, claims, tuple(map(_approver, whole["approvers"])))


def _origin(given: Any) -> tuple[bytes, tuple[bytes, ...]]:
    _members(given, "an origin", checkpoint=str, rotations=list)
    if not all(isinstance(note, str) for note in given["rotations"]):
        raise Misshapen("a rotation that is no text")
    return _bytes(given["checkpoint"]), tuple(map(_bytes, given["rotations"]))


def _claim(given: Any) -> Claim:
    _members(given, "a record", origin=str, seq=int, line=str, proof=list)
    line = _bytes(given["line"])
    try:
        record = decode(line)
    except ValueError as error:
        raise Misshapen(f"record {given['seq']} of {given['origin']!a} is no record ({error})") from error
    if len(given["proof"]) > MAX_PROOF:
        raise Misshapen("a proof longer than any tree is deep")
    proof = tuple(_base64(each, HASH_BYTES) for each in given["proof"])
    claim = Claim(given["origin"], given["seq"], line, record, proof)
    if type(record.get("seq")) is not int or (record["seq"], record.get("origin")) != (claim.seq, claim.origin):
        raise Misshapen(f"{claim.place} says of itself that it is another record")
    return claim


def _approver(given: Any) -> bytes:
    _members(given, "an approver", id=str, key_id=str, key=str)
    return _base64(given["key"], _KEY_BYTES)


def _members(given: Any, what: str, **kinds: type) -> None:
    if not isinstance(given, dict) or set(given) != set(kinds):
        raise Misshapen(f"{what} must have just the members {', '.join(kinds)}")
    for name, kind in kinds.items():
        if type(given[name]) is not kind:
            raise Misshapen(f"{name} of {what} is of another kind")


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Misshapen("half a character") from error


def _base64(text: Any, length: int) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Misshapen("a proof or key that is not base64") from error
    if len(found) != length:
        raise Misshapen(f"a hash or key that has not {length} bytes")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
