"""The keys of one origin over time (C119): the first one, which people trust, and what it handed on to.

Guarantee: a rotation is believed only if the key before it and the new key signed the same statement, which also pins
the log at that moment. A key that was rotated out is good for nothing past that record: whoever steals it later can
neither go on with the log nor rewrite what the rotation pinned.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from gateway.audit.errors import KeyProblem, NoteInvalid
from gateway.audit.note import Checkpoint, Signer, Verifier, read_note, tree_hash, tree_size

TITLE: Final = "toolgate key rotation v1"  # holds spaces, so no origin's checkpoint can begin like it


@final
@dataclass(frozen=True, slots=True)
class Rotation:
    """From record `size` on, `new` signs. `root` is the root over the records before."""

    origin: str
    size: int
    root: bytes
    new: Verifier

    def text(self) -> str:
        return f"{TITLE}\n{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n{self.new}\n"

    def note(self, old: Signer, new: Signer) -> bytes:
        """The statement, signed by both."""
        return old.sign(self.text()) + new.signature_line(self.text())

    @classmethod
    def open(cls, raw: bytes, old: Verifier) -> Rotation:
        """Read a statement and check both signatures. Raises NoteInvalid."""
        lines = read_note(raw, [old])[0].split("\n")
        if len(lines) != 6 or lines[0] != TITLE or lines[1] != old.name or lines[5]:
            raise NoteInvalid("not a key rotation of this origin")
        found = cls(lines[1], tree_size(lines[2]), tree_hash(lines[3]), Verifier.parse(lines[4]))
        if found.new.name != old.name or found.new == old:
            raise NoteInvalid("the new key must be another one of the same origin")
        read_note(raw, [found.new])  # whoever rotated held the new key
        return found


@final
@dataclass(frozen=True, slots=True)
class Keyring:
    """Whose signatures count for one origin, and up to where."""

    first: Verifier
    rotations: tuple[Rotation, ...] = ()

    @property
    def origin(self) -> str:
        return self.first.name

    @property
    def keys(self) -> tuple[Verifier, ...]:
        """Oldest first."""
        return (self.first, *(rotation.new for rotation in self.rotations))

    @property
    def current(self) -> Verifier:
        return self.keys[-1]

    def may_follow(self, rotation: Rotation) -> bool:
        """Whether a statement that the current key signed goes on from here: no earlier record, no key that was."""
        earlier = bool(self.rotations) and rotation.size < self.rotations[-1].size
        return not earlier and rotation.new not in self.keys

    def checkpoint(self, raw: bytes) -> Checkpoint:
        """The checkpoint in a note that one of the keys signed while it was the one to sign. Raises NoteInvalid."""
        text, signed_by = read_note(raw, self.keys)
        checkpoint = Checkpoint.parse(text)
        if checkpoint.origin != self.origin:
            raise NoteInvalid(f"signed for origin {checkpoint.origin!r}, expected {self.origin!r}")
        newest = max(self.keys.index(key) for key in signed_by)
        if newest < len(self.rotations) and checkpoint.size > self.rotations[newest].size:
            raise NoteInvalid(f"signed by a key that was rotated out at record {self.rotations[newest].size}")
        return checkpoint


def load_keyring(public: Path, first: Verifier) -> Keyring:
    """`first` and the rotations kept beside its file `public`. Raises KeyProblem."""
    ring = Keyring(first)
    while (path := rotation_path(public, len(ring.rotations) + 1)).exists():
        try:
            rotation = Rotation.open(path.read_bytes(), ring.current)
        except (OSError, NoteInvalid) as error:
            raise KeyProblem(path, f"no valid rotation ({error})") from error
        if not ring.may_follow(rotation):
            raise KeyProblem(path, "goes back: to a key that was rotated out, or before the rotation before it")
        ring = Keyring(first, (*ring.rotations, rotation))
    return ring


def rotation_path(public: Path, number: int) -> Path:
    return public.with_name(f"{public.stem}.rotation-{number}")
