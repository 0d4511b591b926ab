"""Reading a log back before writing to it: the state that its bytes prove, or the reason to refuse them.

Guarantee: one pass, one line in memory. Only bytes that were never acknowledged can be set aside: a last line
without a newline, the zeros a file system leaves after a power cut, and the lines of a batch whose write
failed. Anything else that does not fit is damage, and the log stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from gateway.audit.errors import LogDamaged
from gateway.audit.files import Files
from gateway.audit.framing import line_prefix
from gateway.audit.segment import FIRST_SEGMENT, Line, Place, leaves_path, read_leaves, read_lines
from gateway.audit.tree import EMPTY_ROOT, HASH_BYTES, Frontier, leaf_hash

_REBUILD_CHUNK = 65_536 * HASH_BYTES


@final
@dataclass(slots=True)
class Scan:
    """What a log's bytes say. `tail` holds the leaves after the checkpoint, `rest` the bytes after the last record."""

    segment: Path
    segment_start: int = 0
    length: int = 0
    rest: int = 0
    frontier: Frontier = field(default_factory=Frontier)
    checkpoint_root: bytes | None = None
    leaves_whole: bool = True
    tail: list[bytes] = field(default_factory=list)


def scan(place: Place, checkpoint_size: int, limit: int | None) -> Scan:
    """Read the whole log; with a `limit`, what follows that many records is `rest`. Raises LogDamaged, OSError."""
    segments = place.segments() or [place.folder / FIRST_SEGMENT]
    found = Scan(segments[0], checkpoint_root=EMPTY_ROOT if checkpoint_size == 0 else None)
    stored = read_leaves(segments, checkpoint_size)
    for line in read_lines([path for path in segments if path.exists()]):
        seq = found.frontier.size
        if line.segment != found.segment:
            found.segment, found.segment_start, found.length = line.segment, seq, 0
        if seq == limit or _never_acknowledged(place.origin, line, seq, checkpoint_size):
            break
        if not line.data.startswith(line_prefix(place.origin, seq)):
            raise LogDamaged(place.origin, "a line that is not this record", seq)
        leaf = leaf_hash(line.data)
        found.frontier.append(leaf)
        found.length = line.offset + len(line.data) + 1
        if seq >= checkpoint_size:
            found.tail.append(leaf)
        elif next(stored, None) != leaf:
            found.leaves_whole = False
        if seq + 1 == checkpoint_size:
            found.checkpoint_root = found.frontier.root()
    return _with_rest(place, segments[-1], found)


def _never_acknowledged(origin: str, line: Line, seq: int, checkpoint_size: int) -> bool:
    if line.whole and b"\x00" not in line.data:
        return False
    if seq < checkpoint_size:
        raise LogDamaged(origin, f"a broken line among the {checkpoint_size} records the checkpoint covers", seq)
    return True


def _with_rest(place: Place, last: Path, found: Scan) -> Scan:
    if found.segment != last:
        if found.segment.stat().st_size != found.length:
            raise LogDamaged(place.origin, f"{found.segment.name} is broken but not the last", found.frontier.size)
        found.segment, found.segment_start, found.length = last, found.frontier.size, 0
    if last.exists():
        found.rest = last.stat().st_size - found.length
    return found


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


def rebuild_leaves(place: Place, files: Files, size: int) -> None:
    """Write every `.leaves` file anew from the first `size` records, which the caller has checked."""
    for segment in place.segments():
        buffer, offset = bytearray(), 0
        for line in read_lines([segment]):
            if size == 0:
                break
            size -= 1
            buffer += leaf_hash(line.data)
            if len(buffer) >= _REBUILD_CHUNK:
                files.patch(leaves_path(segment), offset, bytes(buffer))
                offset += len(buffer)
                buffer.clear()
        files.patch(leaves_path(segment), offset, bytes(buffer))
