"""Where an origin's files lie, and how they are read: streaming, one line in memory at a time.

<audit root>/<origin>/00000000.jsonl       records, one a line; further segments count on
<audit root>/<origin>/00000000.leaves      32 bytes a record: its leaf hash, up to the last checkpoint
<audit root>/<origin>/00000000.jsonl.torn-1  bytes that were set aside, never part of the log again
<audit root>/<origin>/frontier             signed: where a start may begin to read, and what calls before it left open
<audit root>/<origin>/lock                 held by the live writer, names its process
<checkpoints root>/<origin>.ckpt           the signed checkpoint; belongs on another volume
<checkpoints root>/<origin>.retired        signed: which records were removed on purpose
<checkpoints root>/<origin>.witnessed      the newest checkpoint with the witness's signature on it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, final

from gateway.audit.framing import MAX_LINE_BYTES
from gateway.audit.origin import valid_origin

FIRST_SEGMENT: Final = "00000000.jsonl"
_SEGMENT: Final = re.compile(r"[0-9]{8}\.jsonl")
_LEAVES: Final = re.compile(r"[0-9]{8}\.leaves")
_STARTS: Final = re.compile(rb'\{"seq":([0-9]{1,18}),')


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
    def frontier(self) -> Path:
        return self.folder / "frontier"

    @property
    def checkpoint(self) -> Path:
        return self.checkpoints_root / f"{self.origin}.ckpt"

    @property
    def retired(self) -> Path:
        return self.checkpoints_root / f"{self.origin}.retired"

    @property
    def witnessed(self) -> Path:
        return self.checkpoints_root / f"{self.origin}.witnessed"

    def segments(self, first: str = FIRST_SEGMENT) -> list[Path]:
        """Existing segments from the one named `first` on, oldest first."""
        return [path for path in self._numbered(_SEGMENT) if path.name >= first]

    def leaf_files(self) -> list[Path]:
        """Existing side files, those of removed segments too, oldest first."""
        return self._numbered(_LEAVES)

    def _numbered(self, name: re.Pattern[str]) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if name.fullmatch(path.name))

    def torn(self) -> list[Path]:
        """Quarantined bytes."""
        return sorted(self.folder.glob("*.jsonl.torn-*"))

    def free_torn_name(self, segment: Path) -> Path:
        """A name no quarantined bytes have yet."""
        number = 1
        while (path := segment.with_name(f"{segment.name}.torn-{number}")).exists():
            number += 1
        return path


def is_segment(name: str) -> bool:
    return _SEGMENT.fullmatch(name) is not None


def leaves_path(segment: Path) -> Path:
    return segment.with_suffix(".leaves")


def next_segment(segment: Path) -> Path:
    return segment.with_name(f"{int(segment.stem) + 1:08d}.jsonl")


def says_it_starts_at(segment: Path) -> int | None:
    """The number its first line claims, to be checked by whoever relies on it; None for an empty or foreign file."""
    with segment.open("rb") as file:
        found = _STARTS.match(file.read(32))
    return int(found[1]) if found else None


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


def read_lines(segments: list[Path], offset: int = 0) -> Iterator[Line]:
    """Every line of the segments in order, from `offset` of the first one on.

    A line longer than any record comes cut, so memory stays bounded.
    """
    for segment in segments:
        with segment.open("rb") as file:
            file.seek(offset)
            while data := file.readline(MAX_LINE_BYTES + 1):
                whole = data.endswith(b"\n")
                yield Line(segment, offset, data[:-1] if whole else data, whole)
                offset += len(data)
        offset = 0
