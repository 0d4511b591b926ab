"""Old segments removed on purpose, and their place in the tree kept provable.

Guarantee: before a segment goes, the origin's key signs what goes: how many records from the start, when, and the roots
of the perfect subtrees over them. With these the signed root is still reached from the records that are left, so
removal without the key reads as damage, and nothing that is left loses its proof. The `.leaves` files stay (32 bytes a
record): whoever kept a copy of a removed record can still prove it.
"""

from __future__ import annotations

import base64
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from gateway.audit.errors import LogDamaged, NoteInvalid, OriginBusy
from gateway.audit.files import Files, sync_folder
from gateway.audit.keyring import Keyring
from gateway.audit.note import Signer, open_note, tree_hash, tree_size
from gateway.audit.proofs import Leaves
from gateway.audit.segment import FIRST_SEGMENT, Place, is_segment, says_it_starts_at
from gateway.audit.tree import Frontier

TITLE: Final = "toolgate retired v1"


@final
@dataclass(frozen=True, slots=True)
class Retired:
    """The first `size` records are gone; the log goes on with the segment `first`. `time` is RFC 3339."""

    origin: str
    size: int = 0
    first: str = FIRST_SEGMENT
    time: str = ""
    peaks: tuple[bytes, ...] = ()

    def frontier(self) -> Frontier:
        return Frontier(self.size, self.peaks)

    def text(self) -> str:
        peaks = "".join(base64.b64encode(peak).decode() + "\n" for peak in self.peaks)
        return f"{TITLE}\n{self.origin}\n{self.size}\n{self.first}\n{self.time}\n{peaks}"

    @classmethod
    def parse(cls, text: str) -> Retired:
        """Read a statement. Raises NoteInvalid."""
        lines = text.split("\n")
        if len(lines) < 6 or lines[0] != TITLE or lines[-1]:
            raise NoteInvalid("not a statement of retired records")
        found = cls(lines[1], tree_size(lines[2]), lines[3], lines[4], tuple(map(tree_hash, lines[5:-1])))
        if len(found.peaks) != found.size.bit_count() or not is_segment(found.first):
            raise NoteInvalid("a statement of retired records that does not fit together")
        return found


def read_retired(place: Place, keys: Keyring) -> Retired:
    """What was retired, by a signature of the origin; the empty statement if nothing was. Raises NoteInvalid."""
    try:
        raw = place.retired.read_bytes()
    except FileNotFoundError:
        return Retired(place.origin)
    found = Retired.parse(open_note(raw, keys.keys))
    if found.origin != place.origin:
        raise NoteInvalid(f"retired records of origin {found.origin!r}")
    return found


def stored_leaves(place: Place, retired: Retired, known: Frontier | None = None) -> Leaves:
    """The side files, whether or not those of removed segments are still there."""
    files = place.leaf_files()
    if files and files[0].stem >= retired.first.partition(".")[0]:
        return Leaves(files, known, base=retired.size)
    return Leaves(files, known)


def retire(place: Place, keys: Keyring, signer: Signer, files: Files, first: str, time: str) -> Retired:
    """Remove every segment before the one named `first`: sign, then remove. A live writer may go on meanwhile.

    Raises LogDamaged where the segments are not what was signed, OriginBusy while somebody else retires, OSError.
    """
    descriptor = os.open(place.folder / "retire.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OriginBusy(place.origin, None) from error
        return _retire(place, keys, signer, files, first, time)
    finally:
        os.close(descriptor)


def _retire(place: Place, keys: Keyring, signer: Signer, files: Files, first: str, time: str) -> Retired:
    try:
        before = read_retired(place, keys)
        signed = keys.checkpoint(place.checkpoint.read_bytes())
    except (NoteInvalid, FileNotFoundError) as error:
        raise LogDamaged(place.origin, f"nothing is retired: {error}") from error
    kept = place.segments(first)
    size = says_it_starts_at(kept[0]) if kept and kept[0].name == first else None
    if size is None or size > signed.size:
        raise LogDamaged(place.origin, f"nothing is retired: no signed record begins {first}")
    if size <= before.size:
        _remove(place, before.first)
        return before
    frontier, peaks = before.frontier(), None
    for leaf in stored_leaves(place, before).between(before.size, signed.size):
        if frontier.size == size:
            peaks = frontier.peaks
        frontier.append(leaf)
    if frontier.size == size:
        peaks = frontier.peaks
    if peaks is None or frontier.root() != signed.root:
        raise LogDamaged(place.origin, "nothing is retired: the side files do not lead to the signed root")
    retired = Retired(place.origin, size, first, time, peaks)
    files.replace(place.retired, signer.sign(retired.text()))
    _remove(place, first)
    return retired


def _remove(place: Place, first: str) -> None:
    gone: list[Path] = [path for path in place.segments() if path.name < first]
    for path in gone:
        path.unlink()
    if gone:
        sync_folder(place.folder)
