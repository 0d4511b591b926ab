"""A witness's signature on somebody else's checkpoint (C2SP tlog-cosignature, `cosignature/v1`, Ed25519).

It says: at this time (seconds since 1970) I saw this checkpoint, and it continued every one I saw before.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.audit.errors import NoteInvalid

_ALG: Final = b"\x04"
_DASH: Final = "\u2014 "
_NAME: Final = re.compile(r"[^\s+]+")


def _key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ALG + public).digest()[:4]


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


@final
@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness's public key and name."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, vkey: str) -> WitnessKey:
        """Read `<name>+<key id, 8 hex>+<base64 of 0x04 and 32 key bytes>`. Raises NoteInvalid."""
        name, _, rest = vkey.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise NoteInvalid("bad base64") from error
        if not _NAME.fullmatch(name) or raw[:1] != _ALG or len(raw) != 33 or _key_id(name, raw[1:]).hex() != key_id:
            raise NoteInvalid("not a witness's verifier key (name+id+key, type 0x04)")
        return cls(name, raw[1:])

    def __str__(self) -> str:
        encoded = base64.b64encode(_ALG + self.public).decode()
        return f"{self.name}+{_key_id(self.name, self.public).hex()}+{encoded}"

    def time(self, note: bytes) -> int:
        """When it saw the checkpoint in `note`, in seconds since 1970. Raises NoteInvalid if it did not sign it."""
        text, gap, tail = note.decode("utf-8", "replace").rpartition("\n\n")
        for line in tail.split("\n"):
            name, _, encoded = line.removeprefix(_DASH).partition(" ")
            try:
                blob = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                continue  # another signer's line is not ours to judge
            if not gap or name != self.name or blob[:4] != _key_id(self.name, self.public) or len(blob) != 76:
                continue
            (seen,) = struct.unpack(">Q", blob[4:12])
            try:
                Ed25519PublicKey.from_public_bytes(self.public).verify(blob[12:], _message(text + "\n", seen))
            except InvalidSignature as error:
                raise NoteInvalid(f"the cosignature of {self.name!r} does not verify") from error
            return int(seen)
        raise NoteInvalid(f"not cosigned by {self.name!r}")


@final
class Cosigner:
    """A witness's private key."""

    __slots__ = ("_private", "key")

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = WitnessKey(name, self._private.public_key().public_bytes_raw())

    def line(self, text: str, time: int) -> bytes:
        """The signature line for a note of this text, seen at `time` seconds since 1970."""
        blob = _key_id(self.key.name, self.key.public) + struct.pack(">Q", time)
        blob += self._private.sign(_message(text, time))
        return f"{_DASH}{self.key.name} {base64.b64encode(blob).decode()}\n".encode()
