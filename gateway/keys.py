"""The keys of a deployment: what digests are made with and what parked bytes are sealed with (I10).

Guarantees: key files are readable by their owner alone or nothing starts; the first keys appear all at once or not
at all; an old key stays good for what it made, because every digest and every seal names its key. Seals are
AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce: far below 2^32 messages a key, as section 8.3 asks.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.domain.errors import SettingsError, StateUnavailable
from gateway.domain.keyed import KEY_BYTES, DigestKey

MAGIC: Final = b"TGS1"
KEY_ID_BYTES: Final = 8
NONCE_BYTES: Final = 12  # SP 800-38D section 8.2: 96 bits
_HEADER_BYTES: Final = len(MAGIC) + KEY_ID_BYTES + NONCE_BYTES
_NAME: Final = re.compile(r"(digest|sealing)-([0-9]{4})\.key")
_PERSON: Final = b"toolgate approver key v1\n"


class SealBroken(StateUnavailable):
    """Sealed bytes were changed, moved to another place, or made with a key this deployment does not hold."""


@final
class Keys:
    """Every key of one deployment. The highest numbered file of a kind is current; older ones only open and compare."""

    __slots__ = ("_digests", "_seals", "current_seal", "digest", "folder")

    def __init__(self, folder: Path, digests: list[bytes], seals: list[bytes]) -> None:
        """Prefer `open` or `create`. Keys are 32 bytes each, oldest first."""
        if not digests or not seals:
            raise SettingsError(f"{folder} lacks a digest or a sealing key. Restore it from a backup of the keys.")
        self.folder = folder
        made = [DigestKey(key) for key in digests]
        self.digest = made[-1]
        self._digests = {key.id: key for key in made}
        self._seals = {_seal_id(key): AESGCM(key) for key in seals}
        self.current_seal = _seal_id(seals[-1])

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the keys in `folder`. Raises SettingsError where anybody else could have read or changed them."""
        check_private(folder, directory=True)
        found: dict[str, list[bytes]] = {"digest": [], "sealing": []}
        for name in sorted(os.listdir(folder)):
            matched = _NAME.fullmatch(name)
            if name.startswith("."):  # a write that was cut short
                continue
            if matched is None:
                raise SettingsError(f"{folder / name} is not a key of Toolgate. Keep nothing else in this folder.")
            key = read_private(folder / name, KEY_BYTES)
            if len(key) != KEY_BYTES:
                raise SettingsError(f"{folder / name} has {len(key)} bytes instead of {KEY_BYTES}. Restore it.")
            found[matched[1]].append(key)
        return cls(folder, found["digest"], found["sealing"])

    @classmethod
    def create(cls, folder: Path) -> Self:
        """The keys in `folder`, made now if the folder is absent or empty. Several may try at once: one wins."""
        if not folder.is_dir() or not os.listdir(folder):
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                for kind in ("digest", "sealing"):
                    write_private(aside / f"{kind}-0001.key", secrets.token_bytes(KEY_BYTES))
                try:
                    aside.rename(folder)  # atomic, and refused where somebody else was first (rename(2), ENOTEMPTY)
                except OSError:
                    if not folder.is_dir() or not os.listdir(folder):
                        raise
                _sync(folder.parent)
            except OSError as error:
                raise SettingsError(f"no keys could be made in {folder}: {error}") from error
            finally:
                shutil.rmtree(aside, ignore_errors=True)  # gone already where the rename succeeded
        return cls.open(folder)

    def rotate(self) -> Keys:
        """Add a new digest and a new sealing key and use them from now on. Old files stay while they cover anything."""
        newest = max(int(m[2]) for name in os.listdir(self.folder) if (m := _NAME.fullmatch(name)))
        for kind in ("digest", "sealing"):
            write_private(self.folder / f"{kind}-{newest + 1:04d}.key", secrets.token_bytes(KEY_BYTES))
        return Keys.open(self.folder)

    def matches(self, data: bytes, digest: str, *, domain: bytes = b"") -> bool:
        """True if `digest` was made of `data` with any key held here."""
        key = self._digests.get(_key_id(digest))
        return key is not None and key.matches(data, digest, domain=domain)

    def made(self, digest: str) -> bool:
        """Whether `digest` names a key held here."""
        return _key_id(digest) in self._digests

    def spellings(self, data: bytes, *, domain: bytes) -> tuple[str, ...]:
        """`data`'s digest under every key held here, the current one first: what a rotation must not forget."""
        older = (key for key in reversed(self._digests.values()) if key is not self.digest)
        return tuple(key.digest(data, domain=domain) for key in (self.digest, *older))

    def seal(self, plain: bytes, aad: bytes) -> bytes:
        """`plain` encrypted for the place that `aad` names. 40 bytes longer."""
        header = MAGIC + bytes.fromhex(self.current_seal) + secrets.token_bytes(NONCE_BYTES)
        return header + self._seals[self.current_seal].encrypt(header[-NONCE_BYTES:], plain, header + aad)

    def unseal(self, sealed: bytes, aad: bytes) -> bytes:
        """The plain bytes. Raises SealBroken, which denies."""
        header, rest = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES:]
        if len(header) != _HEADER_BYTES or not header.startswith(MAGIC):
            raise SealBroken("these bytes were never sealed by Toolgate. Look into who can write the state database.")
        key_id = header[len(MAGIC) : -NONCE_BYTES].hex()
        cipher = self._seals.get(key_id)
        if cipher is None:
            raise SealBroken(f"sealing key {key_id} is not in {self.folder}. Restore it, or let what it sealed expire.")
        try:
            return cipher.decrypt(header[-NONCE_BYTES:], rest, header + aad)
        except InvalidTag as error:
            raise SealBroken(
                "sealed bytes were changed or moved. Look into who can write the state database."
            ) from error

    def __repr__(self) -> str:
        return f"Keys({str(self.folder)!r}, digest={self.digest.id}, sealing={self.current_seal})"


def check_apart(keys: Path, others: Iterable[Path]) -> None:
    """Refuse keys kept beneath a folder whose copy would then carry its own keys, such as state or audit."""
    for other in others:
        if keys.resolve().is_relative_to(other.resolve()):
            raise SettingsError(f"the keys in {keys} lie beneath {other}. Keep them apart: move them elsewhere.")


def create_approver_key(path: Path) -> str:
    """Make a person's private key at `path`, readable by her alone. Returns her `ed25519:<base64>` public key."""
    private = Ed25519PrivateKey.generate()
    write_private(path, _PERSON + base64.b64encode(private.private_bytes_raw()) + b"\n")
    return public_text(private)


def load_approver_key(path: Path) -> Ed25519PrivateKey:
    """Raises SettingsError if others could have read the file or if it is not such a key."""
    text = read_private(path, 256)
    try:
        if not text.startswith(_PERSON):
            raise ValueError("no such header")
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text[len(_PERSON) :].strip(), validate=True))
    except ValueError as error:
        raise SettingsError(f"{path} is not an approver's key. Make one with `toolgate approvers add`.") from error


def public_text(private: Ed25519PrivateKey) -> str:
    """The form that stands in approvers.yaml."""
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return "ed25519:" + base64.b64encode(raw).decode()


def check_private(path: Path, *, directory: bool = False) -> None:
    """Raise SettingsError unless `path` is ours alone and no symlink."""
    try:
        _check(os.lstat(path), path, directory=directory)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def read_private(path: Path, most: int) -> bytes:
    """At most `most` + 1 bytes of a private file; checked on the open descriptor, so nothing can be swapped in."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _check(os.fstat(descriptor), path, directory=False)
            return os.read(descriptor, most + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def write_private(path: Path, data: bytes) -> None:
    """Create `path` with mode 0600, whole or not at all, never over an existing file. Durable on return."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError("short write")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(aside, path)
        finally:
            os.unlink(aside)
        _sync(path.parent)
    except FileExistsError as error:
        raise SettingsError(f"{path} exists already and is not overwritten. Choose another place.") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error}") from error


def _check(found: os.stat_result, path: Path, *, directory: bool) -> None:
    kind = stat.S_ISDIR if directory else stat.S_ISREG
    if not kind(found.st_mode):
        raise SettingsError(f"{path} is not a plain {'folder' if directory else 'file'}.")
    if found.st_uid != os.geteuid():
        raise SettingsError(f"{path} belongs to user {found.st_uid}, not to the user who runs this ({os.geteuid()}).")
    if stat.S_IMODE(found.st_mode) & 0o077:
        allowed = "700" if directory else "600"
        raise SettingsError(
            f"{path} has mode {stat.S_IMODE(found.st_mode):o}, so others can reach it. Run `chmod {allowed} {path}`, "
            "and make new keys if anybody may have read it."
        )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _key_id(digest: str) -> str:
    return digest.split(":")[1] if digest.count(":") == 2 else ""


def _seal_id(key: bytes) -> str:
    return hashlib.sha256(b"toolgate sealing key id\0" + key).hexdigest()[: 2 * KEY_ID_BYTES]
