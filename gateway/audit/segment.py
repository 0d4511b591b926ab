"""Where an origin's files lie, and how they are read: streaming, one line in memory at a time.

<audit root>/<origin>/00000000.jsonl       records, one a line; further segments count on
<audit root>/<origin>/00000000.leaves      32 bytes a record: its leaf hash, up to the last checkpoint
<audit root>/<origin>/00000000.jsonl.torn-1  bytes that were set aside, never part of the log again
<audit root>/<origin>/lock                 held by the live writer, names its process
<checkpoints root>/<origin>.ckpt           the signed checkpoint; belongs on another volume
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, final

from gateway.audit.framing import MAX_LINE_BYTES
from gateway.audit.origin import valid_origin
from gateway.audit.tree import HASH_BYTES

FIRST_SEGMENT: Final = "00000000.jsonl"
_SEGMENT: Final = re.compile(r"[0-9]{8}\.jsonl")
_LEAVES_CHUNK: Final = 2048 * HASH_BYTES


@final
@dataclass(frozen=True, slots=True)
class Place:
    """The paths of one origin."""

    origin: str
    audit_root: Path
    checkpoints_root: Path

    @property
    def folder(self) -> Path:
        return self.audit_root / self.origin

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def checkpoint(self) -> Path:
        return self.checkpoints_root / f"{self.origin}.ckpt"

    def segments(self) -> list[Path]:
        """Existing segments, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _SEGMENT.fullmatch(path.name))

    def torn(self) -> list[Path]:
        """Quarantined bytes."""
        return sorted(self.folder.glob("*.jsonl.torn-*"))

    def free_torn_name(self, segment: Path) -> Path:
        """A name no quarantined bytes have yet."""
        number = 1
        while (path := segment.with_name(f"{segment.name}.torn-{number}")).exists():
            number += 1
        return path


def leaves_path(segment: Path) -> Path:
    return segment.with_suffix(".leaves")


def list_origins(audit_root: Path, checkpoints_root: Path) -> list[str]:
    """Every origin that left a folder or a checkpoint, enrolled or not, sorted. Names are untrusted text."""
    names = set()
    if audit_root.is_dir():
        for path in audit_root.iterdir():  # a volume's own `lost+found` is no origin
            if path.is_dir() and (valid_origin(path.name) or any(path.glob("*.jsonl"))):
                names.add(path.name)
    if checkpoints_root.is_dir():
        names |= {path.name.removesuffix(".ckpt") for path in checkpoints_root.glob("[!.]*.ckpt")}
    return sorted(names)


class Line(NamedTuple):
    """One stored line. `data` is without its newline; `whole` is false for a last line that has none."""

    segment: Path
    offset: int
    data: bytes
    whole: bool


def read_lines(segments: list[Path]) -> Iterator[Line]:
    """Every line of the segments in order. A line longer than any record comes cut, so memory stays bounded."""
    for segment in segments:
        offset = 0
        with segment.open("rb") as file:
            while data := file.readline(MAX_LINE_BYTES + 1):
                whole = data.endswith(b"\n")
                yield Line(segment, offset, data[:-1] if whole else data, whole)
                offset += len(data)


def read_leaves(segments: list[Path], limit: int) -> Iterator[bytes]:
    """Stored leaf hashes, at most `limit`; stops at the first missing or cut file."""
    for segment in segments:
        try:
            file = leaves_path(segment).open("rb")
        except FileNotFoundError:
            return
        with file:
            while limit > 0 and (chunk := file.read(_LEAVES_CHUNK)):
                for start in range(0, len(chunk) - HASH_BYTES + 1, HASH_BYTES):
                    if limit == 0:
                        return
                    limit -= 1
                    yield chunk[start : start + HASH_BYTES]
                if len(chunk) % HASH_BYTES:
                    return
