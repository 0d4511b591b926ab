"""Where a start may begin to read, so that opening a long log takes no longer than reading its last stretch.

Guarantee: the place and the ledger of the calls before it are believed only under a signature of the key in force, if
what is read from there on leads to the signed root, and if every earlier segment is there with its length; otherwise
the whole log is read, and that decides. An older signed one is no lie either: it is about fewer records, and the rest
is read. Losing the file costs time, never safety.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, final

import orjson

from gateway.audit.errors import NoteInvalid
from gateway.audit.files import Files
from gateway.audit.keyring import Keyring
from gateway.audit.ledger import Ledger
from gateway.audit.note import Signer, open_note
from gateway.audit.retention import Retired
from gateway.audit.segment import FIRST_SEGMENT, Place, leaves_path
from gateway.audit.tree import HASH_BYTES, Frontier

TITLE: Final = "toolgate frontier v2"  # holds spaces, so no origin's checkpoint can begin like it
EVERY_BYTES: Final = 8 << 20  # a start reads at most about this much: some 50 ms


@final
@dataclass(frozen=True, slots=True)
class Closed:
    """A segment nobody writes any more: `start` is its first record."""

    name: str
    start: int
    records: int
    length: int


@final
@dataclass(frozen=True, slots=True)
class Resume:
    """The tree and the ledger over the records before `offset` of `segment`, and the segments before that one."""

    segment: str
    segment_start: int
    offset: int
    frontier: Frontier
    closed: tuple[Closed, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)

    def save(self, place: Place, files: Files, signer: Signer) -> None:
        """Durable on return. Raises OSError."""
        stored = {
            "v": 2,
            "origin": place.origin,
            "size": self.frontier.size,
            "peaks": [base64.b64encode(peak).decode() for peak in self.frontier.peaks],
            "segment": self.segment,
            "segment_start": self.segment_start,
            "offset": self.offset,
            "closed": [[each.name, each.start, each.records, each.length] for each in self.closed],
            "ledger": self.ledger.stored(),
        }
        line = orjson.dumps(stored)
        files.replace(place.frontier, line + b"\n" + signer.sign(_text(place.origin, line)))


def _text(origin: str, line: bytes) -> str:
    return f"{TITLE}\n{origin}\n{sha256(line).hexdigest()}\n"


def beginning(place: Place, retired: Retired) -> Resume:
    """The first record that is left."""
    segments = place.segments(retired.first)
    name = segments[0].name if segments else max(retired.first, FIRST_SEGMENT)
    return Resume(name, retired.size, 0, retired.frontier())


def load_resume(place: Place, retired: Retired, covered: int, keys: Keyring) -> Resume | None:
    """The stored place, if it is signed, the files beside it fit and the checkpoint reaches that far; else None."""
    try:
        line, _, note = place.frontier.read_bytes().partition(b"\n")
        if open_note(note, [keys.current]) != _text(place.origin, line):
            return None
        stored = orjson.loads(line)
        peaks = [base64.b64decode(peak, validate=True) for peak in stored["peaks"]]
        closed = tuple(Closed(*each) for each in stored["closed"])
        found = Resume(
            stored["segment"],
            stored["segment_start"],
            stored["offset"],
            Frontier(stored["size"], peaks),
            tuple(each for each in closed if each.start >= retired.size),
            Ledger.load(stored["ledger"]),
        )
        fits = _fits(place, found, retired, covered)
    except (OSError, ValueError, KeyError, TypeError, NoteInvalid):
        return None  # a start after a crash, or somebody's hand: the whole log is read, and that decides
    return found if fits else None


def _fits(place: Place, found: Resume, retired: Retired, covered: int) -> bool:
    at, names = retired.size, []
    for each in found.closed:
        segment = place.folder / each.name
        if each.start != at or segment.stat().st_size != each.length:
            return False
        if leaves_path(segment).stat().st_size != each.records * HASH_BYTES:
            return False
        at += each.records
        names.append(each.name)
    current = place.folder / found.segment
    there = [path.name for path in place.segments(retired.first) if path.name < found.segment]
    return (
        there == names
        and at == found.segment_start <= found.frontier.size <= covered
        and 0 <= found.offset <= current.stat().st_size
    )
