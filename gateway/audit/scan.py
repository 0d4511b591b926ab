"""Reading a log back before writing to it: the state that its bytes prove, or the reason to refuse them.

Guarantee: one pass, one line in memory. Only bytes that were never acknowledged can be set aside: a last line
without a newline, the zeros a file system leaves after a power cut, and the lines of a batch whose write
failed. Anything else that does not fit is damage, and the log stays as it is. Reading begins where `resume` says if
what follows leads to the signed root, else at the first record that is left.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from gateway.audit.errors import LogDamaged, NoteInvalid
from gateway.audit.files import Files
from gateway.audit.framing import line_prefix
from gateway.audit.keyring import Keyring
from gateway.audit.ledger import Ledger
from gateway.audit.note import Checkpoint
from gateway.audit.resume import Closed, Resume, beginning, load_resume
from gateway.audit.retention import Retired, read_retired, stored_leaves
from gateway.audit.segment import Line, Place, leaves_path, read_lines
from gateway.audit.tree import HASH_BYTES, Frontier, leaf_hash

_REBUILD_CHUNK = 65_536 * HASH_BYTES


@final
@dataclass(slots=True)
class Scan:
    """What a log's bytes say. `tail` holds the leaves after the checkpoint, `rest` the bytes after the last record.

    `resumed` is the offset in the segment where the last stored place lies, or where there is none, 0.
    """

    segment: Path
    segment_start: int = 0
    length: int = 0
    rest: int = 0
    frontier: Frontier = field(default_factory=Frontier)
    checkpoint_root: bytes | None = None
    checkpoint_peaks: tuple[bytes, ...] = ()
    leaves_whole: bool = True
    tail: list[bytes] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)
    resumed: int = 0
    ledger: Ledger = field(default_factory=Ledger)

    def close_segment(self, following: Path) -> None:
        """The records after this belong to `following`."""
        records = self.frontier.size - self.segment_start
        self.closed.append(Closed(self.segment.name, self.segment_start, records, self.length))
        self.segment, self.segment_start, self.length = following, self.frontier.size, 0

    def resume(self) -> Resume:
        """This very place, for the next start."""
        frontier = Frontier(self.frontier.size, self.frontier.peaks)
        return Resume(self.segment.name, self.segment_start, self.length, frontier, tuple(self.closed), self.ledger)


def read_checkpoint(place: Place, keys: Keyring) -> tuple[bytes, Checkpoint | None]:
    """The signed checkpoint as it lies there, and what it says; nothing where there is none. Raises LogDamaged."""
    try:
        raw = place.checkpoint.read_bytes()
        return raw, keys.checkpoint(raw)
    except FileNotFoundError:
        return b"", None
    except NoteInvalid as error:
        raise LogDamaged(place.origin, f"{place.checkpoint.name}: {error.why}") from error


def retired_from(place: Place, keys: Keyring) -> Retired:
    """What was removed on purpose. Raises LogDamaged."""
    try:
        return read_retired(place, keys)
    except NoteInvalid as error:
        raise LogDamaged(place.origin, f"{place.retired.name}: {error.why}") from error


def scan(place: Place, signed: Checkpoint | None, retired: Retired, keys: Keyring, limit: int | None = None) -> Scan:
    """Read the log; with a `limit`, what follows that many records is `rest`. Raises LogDamaged, OSError."""
    found = _from_signed_place(place, signed, retired, keys, limit)
    return found or _scan(place, signed.size if signed else 0, retired, limit, beginning(place, retired))


def ledger_of(place: Place, keys: Keyring) -> Ledger | None:
    """The calls of a log that somebody else wrote, as far as it is finished; nothing is changed.

    None where nothing signed says from where on to read, or what follows is not what was signed. Raises OSError.
    """
    try:
        _, signed = read_checkpoint(place, keys)
        found = _from_signed_place(place, signed, retired_from(place, keys), keys, None)
    except LogDamaged:
        return None
    return found.ledger if found is not None else None


def _from_signed_place(
    place: Place, signed: Checkpoint | None, retired: Retired, keys: Keyring, limit: int | None
) -> Scan | None:
    resume = load_resume(place, retired, signed.size, keys) if signed is not None else None
    if signed is None or resume is None:
        return None
    try:
        found = _scan(place, signed.size, retired, limit, resume)
    except LogDamaged:  # read again from the start: the place may be wrong, and if not, this names the damage
        return None
    return found if found.checkpoint_root == signed.root else None


def _scan(place: Place, covered: int, retired: Retired, limit: int | None, start: Resume) -> Scan:
    found = Scan(
        place.folder / start.segment,
        start.segment_start,
        start.offset,
        frontier=Frontier(start.frontier.size, start.frontier.peaks),
        closed=list(start.closed),
        resumed=start.offset,
        ledger=start.ledger,
    )
    if found.frontier.size == covered:
        found.checkpoint_root, found.checkpoint_peaks = found.frontier.root(), found.frontier.peaks
    segments = place.segments(start.segment)
    stored = stored_leaves(place, retired).between(found.frontier.size, covered)
    for line in read_lines(segments, start.offset):
        seq = found.frontier.size
        if line.segment != found.segment:
            found.close_segment(line.segment)
        if seq == limit or _never_acknowledged(place.origin, line, seq, covered):
            break
        if not line.data.startswith(line_prefix(place.origin, seq)):
            raise LogDamaged(place.origin, "a line that is not this record", seq)
        leaf = leaf_hash(line.data)
        found.frontier.append(leaf)
        found.ledger.take(seq, line.data)
        found.length = line.offset + len(line.data) + 1
        if seq >= covered:
            found.tail.append(leaf)
        elif next(stored, None) != leaf:
            found.leaves_whole = False
        if seq + 1 == covered:
            found.checkpoint_root, found.checkpoint_peaks = found.frontier.root(), found.frontier.peaks
    return _with_rest(place, segments, found)


def _never_acknowledged(origin: str, line: Line, seq: int, checkpoint_size: int) -> bool:
    if line.whole and b"\x00" not in line.data:
        return False
    if seq < checkpoint_size:
        raise LogDamaged(origin, f"a broken line among the {checkpoint_size} records the checkpoint covers", seq)
    return True


def _with_rest(place: Place, segments: list[Path], found: Scan) -> Scan:
    """A segment made ahead by a rotation that was cut short is empty, and is where the next rotation goes."""
    later = [path for path in segments if path > found.segment and path.stat().st_size]
    if later:
        raise LogDamaged(place.origin, f"{found.segment.name} is broken but not the last", found.frontier.size)
    if found.segment.exists():
        found.rest = found.segment.stat().st_size - found.length
    return found


def check(place: Place, found: Scan, signed: Checkpoint | None, known: Scan | None) -> None:
    """Hold what was found to the signature and to what this process acknowledged. Raises LogDamaged."""
    origin, size = place.origin, found.frontier.size
    if signed is None and (size or found.rest or known):
        raise LogDamaged(origin, f"{place.checkpoint.name} is missing, but the log is not new")
    if signed is not None and size < signed.size:
        raise LogDamaged(origin, f"{size} records are left of the {signed.size} that were signed", size)
    if signed is not None and found.checkpoint_root != signed.root:
        raise LogDamaged(origin, f"the first {signed.size} records are not the ones that were signed")
    if known and (size != known.frontier.size or found.frontier.root() != known.frontier.root()):
        raise LogDamaged(origin, "records that were acknowledged are gone or changed")


def check_file(place: Place, state: Scan, descriptor: int) -> None:
    """Refuse to sign over a segment that was cut, extended, unlinked or replaced. Raises LogDamaged, OSError."""
    status = os.fstat(descriptor)
    try:
        there = os.stat(state.segment, follow_symlinks=False)
    except FileNotFoundError:
        there = None
    if there is None or not os.path.samestat(status, there) or status.st_size != state.length:
        raise LogDamaged(place.origin, f"{state.segment.name} was changed by somebody else while open")


def set_aside(place: Place, files: Files, found: Scan) -> Path:
    """Copy `rest` to a file of its own, durably. The segment is not touched."""
    target = place.free_torn_name(found.segment)
    with found.segment.open("rb") as file:
        file.seek(found.length)
        offset = 0
        while chunk := file.read(_REBUILD_CHUNK):
            files.patch(target, offset, chunk)
            offset += len(chunk)
    return target


def save_leaves(place: Place, files: Files, retired: Retired, state: Scan, covered: int) -> None:
    """Bring the side file up to the last record, from `covered` on; all of them where one is not whole."""
    if not state.leaves_whole or covered < state.segment_start:
        rebuild_leaves(place, files, retired, state.frontier.size)
        state.leaves_whole = True
    else:
        offset = (covered - state.segment_start) * HASH_BYTES
        files.patch(leaves_path(state.segment), offset, b"".join(state.tail), durable=False)


def rebuild_leaves(place: Place, files: Files, retired: Retired, size: int) -> None:
    """Write the `.leaves` files anew from the records up to `size` that are left, which the caller has checked."""
    left = size - retired.size
    for segment in place.segments(retired.first):
        buffer, offset = bytearray(), 0
        for line in read_lines([segment]):
            if left == 0:
                break
            left -= 1
            buffer += leaf_hash(line.data)
            if len(buffer) >= _REBUILD_CHUNK:
                files.patch(leaves_path(segment), offset, bytes(buffer))
                offset += len(buffer)
                buffer.clear()
        files.patch(leaves_path(segment), offset, bytes(buffer))
