"""Personal data in the log, readable until its subject is erased: one key a subject, destroyed on request.

The subject of a call is the one it is made for: `on_behalf_of` if the host named somebody, else the principal.
Guarantee: what is sealed here stands in the log as AES-256-GCM ciphertext only (NIST SP 800-38D, random 96-bit nonces:
far below 2^32 a key); the tree is over the ciphertext, so erasing breaks no proof. Once `erase` has returned, the key
is gone from this folder and its going is durable; a running gateway notices at its next call and makes a new key for
what comes after. Keys lie wrapped under the deployment's sealing key. A backup that holds both still
reads what it was made to hold: keep backups of this folder shorter than your promise to people.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.encode import written
from gateway.audit.files import sync_folder
from gateway.domain.errors import AuditUnavailable, ToolgateError
from gateway.keys import read_private, write_private

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
REMEMBERED: Final = 1024  # subjects whose key stays unwrapped in memory
_MOST: Final = 256  # bytes of a wrapped key


class Wrapper(Protocol):
    """The deployment's sealing key (`gateway.keys.Keys`)."""

    def seal(self, plain: bytes, aad: bytes) -> bytes: ...

    def unseal(self, sealed: bytes, aad: bytes) -> bytes: ...


class Subjects(Protocol):
    """What step 6 needs of `SubjectKeys`."""

    def seal(self, subject: str, place: bytes, fields: Mapping[str, object]) -> dict[str, object]: ...


class PersonalUnavailable(AuditUnavailable):
    """Personal data could not be sealed, so the record that needs it is not written."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"personal data cannot be sealed: {why}. Look at the folder of subject keys.")


@final
@dataclass(frozen=True, slots=True)
class Erased:
    """What `erase` found. `keys` are the ids of the keys it destroyed, this time or before."""

    subject: str
    keys: tuple[str, ...]


def subject_id(subject: str) -> str:
    """What stands for a subject in records and file names."""
    return sha256(b"toolgate subject\0" + subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def personal_place(kind: str, call_id: str) -> bytes:
    """Where a sealed part belongs: it cannot be read as part of another record."""
    return f"{kind}\0{call_id}".encode("utf-8", "surrogatepass")


@final
class SubjectKeys:
    """One folder of wrapped keys, shared by every process of a deployment. Thread-safe."""

    def __init__(self, folder: Path, wrapper: Wrapper) -> None:
        self._folder = folder
        self._wrapper = wrapper
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, int], str, AESGCM]] = {}

    def seal(self, subject: str, place: bytes, fields: Mapping[str, object]) -> dict[str, object]:
        """`fields` encrypted for `subject`, to stand in a record. `place` must be given again to read them.

        Raises PersonalUnavailable.
        """
        name = subject_id(subject)
        try:
            key_id, cipher = self._current(name)
        except (OSError, ToolgateError) as error:
            raise PersonalUnavailable(str(error)) from error
        nonce = secrets.token_bytes(NONCE_BYTES)
        box = nonce + cipher.encrypt(nonce, written(dict(fields)), place)
        return {"subject": name, "key": key_id, "sealed": base64.b64encode(box).decode()}

    def read(self, sealed: Mapping[str, Any], place: bytes) -> dict[str, Any] | None:
        """What was sealed; None once its key is destroyed. Raises PersonalUnavailable if it was changed."""
        try:
            key_id, cipher = self._load(str(sealed["subject"]))
            if key_id != sealed["key"]:
                return None
            box = base64.b64decode(sealed["sealed"], validate=True)
            fields: dict[str, Any] = orjson.loads(cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], place))
        except FileNotFoundError:
            return None
        except (OSError, ToolgateError, InvalidTag, binascii.Error, ValueError, KeyError, TypeError) as error:
            raise PersonalUnavailable(f"it was changed, moved or damaged ({type(error).__name__})") from error
        return fields

    def erase(self, subject: str) -> Erased:
        """Destroy the key of `subject`, durably. Can be repeated. Raises OSError; then try again."""
        name = subject_id(subject)
        path, stone = self._path(name), self._folder / f"{name}.erased"
        with self._lock:
            self._known.pop(name, None)
        try:
            key_id = self._load(name)[0]
        except FileNotFoundError:
            key_id = None
        except ToolgateError:
            key_id = "unreadable"  # it goes all the same
        if key_id is not None:
            with stone.open("a", encoding="ascii") as file:  # so that a run cut short still names what it destroyed
                file.write(f"{key_id}\n")
                file.flush()
                os.fsync(file.fileno())
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:  # the best a file system lets us do; unlinking is what counts
                os.write(descriptor, bytes(os.fstat(descriptor).st_size))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            path.unlink()
            sync_folder(self._folder)
        destroyed = stone.read_text(encoding="ascii").split() if stone.exists() else []
        return Erased(name, tuple(dict.fromkeys(destroyed)))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def _current(self, name: str) -> tuple[str, AESGCM]:
        """The key to seal with now: the file is looked at each time, so an erasure elsewhere counts at once."""
        known = self._known.get(name)
        try:
            status = os.stat(self._path(name), follow_symlinks=False)
            if known is not None and known[0] == (status.st_ino, status.st_mtime_ns):
                return known[1], known[2]
            loaded = self._load(name)
        except FileNotFoundError:
            self._make(name)
            status = os.stat(self._path(name), follow_symlinks=False)
            loaded = self._load(name)
        with self._lock:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[name] = ((status.st_ino, status.st_mtime_ns), *loaded)
        return loaded

    def _make(self, name: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        wrapped = self._wrapper.seal(secrets.token_bytes(KEY_BYTES), _aad(name))
        try:
            write_private(self._path(name), wrapped)
        except ToolgateError:
            if not self._path(name).exists():  # else another process was first, and its key will do
                raise

    def _load(self, name: str) -> tuple[str, AESGCM]:
        path = self._path(name)
        if not path.exists():
            raise FileNotFoundError(path)
        key = self._wrapper.unseal(read_private(path, _MOST), _aad(name))
        return sha256(b"toolgate subject key id\0" + key).hexdigest()[:16], AESGCM(key)


def _aad(name: str) -> bytes:
    return b"toolgate subject key\0" + name.encode()
