"""C2SP signed notes (signed-note@v1.0.0, Ed25519) and log checkpoints (tlog-checkpoint@v1.0.0).

Guarantee: `open_note` returns text only if at least one of the given keys signed exactly that text, and
refuses it if any signature that claims one of those keys is wrong. A checkpoint is three lines: origin,
tree size in decimal, root hash in base64.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.audit.errors import NoteInvalid
from gateway.audit.tree import HASH_BYTES

MAX_NOTE_BYTES: Final = 65_536  # a checkpoint with one signature is under 300 bytes
MAX_SIGNATURES: Final = 100  # as golang.org/x/mod/sumdb/note
_ALG_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_DASH: Final = "\u2014 "


def _key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ALG_ED25519 + public).digest()[:_KEY_ID_BYTES]


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteInvalid("bad base64") from error


def _valid_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)


@final
@dataclass(frozen=True, slots=True)
class Verifier:
    """A trusted public key and the name it signs under."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Read `<name>+<key id, 8 hex>+<base64 of 0x01 and 32 key bytes>`; raises NoteInvalid."""
        parts = vkey.strip().split("+", 2)
        if len(parts) != 3 or not _valid_name(parts[0]):
            raise NoteInvalid("a verifier key reads name+id+key")
        raw = _unbase64(parts[2])
        if raw[:1] != _ALG_ED25519 or len(raw) != 33:
            raise NoteInvalid("a verifier key holds 0x01 and 32 bytes (Ed25519)")
        if _key_id(parts[0], raw[1:]).hex() != parts[1]:
            raise NoteInvalid("the key id does not belong to this name and key")
        return cls(parts[0], raw[1:])

    @property
    def key_id(self) -> bytes:
        return _key_id(self.name, self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ALG_ED25519 + self.public).decode()}"

    def accepts(self, text: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@final
class Signer:
    """A private key and its name. The seed is never shown by `repr`."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        if not _valid_name(name):
            raise NoteInvalid(f"{name!r} cannot name a key")
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._private.public_key().public_bytes_raw())

    def sign(self, text: str) -> bytes:
        """The note: text, a blank line, one signature line. `text` ends with a newline."""
        return text.encode() + b"\n" + self.signature_line(text)

    def signature_line(self, text: str) -> bytes:
        """What to append to a note of this very text, to sign it beside others."""
        signature = base64.b64encode(self.verifier.key_id + self._private.sign(text.encode())).decode()
        return f"{_DASH}{self.verifier.name} {signature}\n".encode()

    def sign_bytes(self, data: bytes) -> bytes:
        """64 bytes over `data` as it is; the caller keeps it apart from notes by a first line no origin can have."""
        return self._private.sign(data)


def open_note(raw: bytes, trusted: Iterable[Verifier]) -> str:
    """The signed text of a note. Raises NoteInvalid."""
    return read_note(raw, trusted)[0]


def read_note(raw: bytes, trusted: Iterable[Verifier]) -> tuple[str, tuple[Verifier, ...]]:
    """The signed text, and the trusted keys that signed it (one at least). Raises NoteInvalid."""
    if len(raw) > MAX_NOTE_BYTES:
        raise NoteInvalid(f"longer than {MAX_NOTE_BYTES} bytes")
    try:
        whole = raw.decode()
    except UnicodeDecodeError as error:
        raise NoteInvalid("not UTF-8") from error
    if any(c < " " and c != "\n" for c in whole):
        raise NoteInvalid("control characters")
    head, gap, tail = whole.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise NoteInvalid("no signature block")
    text = head + "\n"
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteInvalid("too many signatures")
    keys = {(key.name, key.key_id): key for key in trusted}
    good: list[Verifier] = []
    for line in lines:
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        signature = _unbase64(encoded)
        if not line.startswith(_DASH) or not space or len(signature) <= _KEY_ID_BYTES or not _valid_name(name):
            raise NoteInvalid("malformed signature line")
        key = keys.get((name, signature[:_KEY_ID_BYTES]))
        if key is None:
            continue
        if not key.accepts(text.encode(), signature[_KEY_ID_BYTES:]):
            raise NoteInvalid(f"the signature of {name!r} does not verify")
        good.append(key)
    if not good:
        raise NoteInvalid("not signed by an enrolled key")
    return text, tuple(good)


@final
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a signed checkpoint says: the first `size` records of `origin` hash to `root`."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the three lines. Raises NoteInvalid."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise NoteInvalid("a checkpoint has three lines")
        return cls(lines[0], tree_size(lines[1]), tree_hash(lines[2]))


def tree_size(text: str) -> int:
    """A number of records as notes write it. Raises NoteInvalid."""
    if not (text.isascii() and text.isdecimal()) or (text[0] == "0" and text != "0") or len(text) > 18:
        raise NoteInvalid("a tree size is a plain decimal number")
    return int(text)


def tree_hash(text: str) -> bytes:
    """A base64 hash as notes write it. Raises NoteInvalid."""
    found = _unbase64(text)
    if len(found) != HASH_BYTES:
        raise NoteInvalid("a hash has 32 bytes")
    return found


def open_checkpoint(raw: bytes, key: Verifier) -> Checkpoint:
    """The checkpoint in a note signed by `key`, of the origin the key is named after. Raises NoteInvalid."""
    checkpoint = Checkpoint.parse(open_note(raw, [key]))
    if checkpoint.origin != key.name:
        raise NoteInvalid(f"signed for origin {checkpoint.origin!r}, expected {key.name!r}")
    return checkpoint
