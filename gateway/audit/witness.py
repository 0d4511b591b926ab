"""A second place that remembers the last checkpoint and takes only one that continues it (C115, C116).

Guarantee of `Book`: for each origin it never goes back and never forks. A checkpoint is kept only with a valid
signature of the origin and a proof that its tree begins with the one kept before; it is durable before anybody is told.
A folder on another volume is a book this process writes itself; an HTTP witness (C2SP tlog-witness) is one that
somebody else writes, and the only kind that helps against whoever owns this machine.
"""

from __future__ import annotations

import base64
import fcntl
import http.client
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, final
from urllib.parse import quote, urlsplit

from gateway.audit.errors import NoteInvalid, WitnessConflict, WitnessRefused, WitnessUnavailable
from gateway.audit.files import OsFiles
from gateway.audit.keyring import Keyring
from gateway.audit.note import MAX_NOTE_BYTES, Checkpoint, tree_hash, tree_size
from gateway.audit.origin import valid_origin
from gateway.audit.tree import EMPTY_ROOT, verify_consistency

MAX_PROOF: Final = 63  # tlog-witness
MAX_REQUEST: Final = MAX_NOTE_BYTES + MAX_PROOF * 45 + 32


class Witness(Protocol):
    """Every method raises WitnessUnavailable where it cannot be reached."""

    @property
    def name(self) -> str: ...

    def add(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        """Hand in a checkpoint with the proof that it continues the one of `old_size`; signature lines come back.

        Raises WitnessConflict with the size it knows, WitnessRefused.
        """
        ...

    def latest(self, origin: str) -> bytes | None:
        """The note it keeps for `origin`."""
        ...

    def origins(self) -> list[str]:
        """Every origin it keeps a note of."""
        ...


@final
class Book:
    """Kept notes, one file an origin. Several processes may write; each origin has its lock."""

    def __init__(self, folder: Path, keyrings: Callable[[], dict[str, Keyring]]) -> None:
        """`keyrings` says whose checkpoints are taken; asked at each one."""
        self._folder = folder
        self._keyrings = keyrings

    @property
    def name(self) -> str:
        return str(self._folder)

    def add(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        try:
            self.take(old_size, proof, note)
        except OSError as error:
            raise WitnessUnavailable(self.name, str(error)) from error
        return b""

    def take(
        self, old_size: int, proof: Sequence[bytes], note: bytes, sign: Callable[[str], bytes] = lambda _: b""
    ) -> bytes:
        """Keep `note` with what `sign` adds to it, and give that. Raises OSError, WitnessConflict, WitnessRefused."""
        origin = note.partition(b"\n")[0].decode("utf-8", "replace")
        keys = self._keyrings().get(origin) if valid_origin(origin) else None
        if keys is None:
            raise WitnessRefused(self.name, "unknown origin", 404)
        try:
            new = keys.checkpoint(note)
        except NoteInvalid as error:
            raise WitnessRefused(self.name, error.why, 403) from error
        if old_size > new.size or (old_size == 0 and proof):
            raise WitnessRefused(self.name, "the old size and the proof do not fit the checkpoint", 400)
        lock = os.open(self._folder / f".{origin}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._known(origin, keys)
            if old_size != known.size or (new.size == known.size and new.root != known.root):
                raise WitnessConflict(self.name, known.size)
            if not verify_consistency(known.size, known.root, new.size, new.root, proof):
                raise WitnessRefused(self.name, "the proof does not show that this continues what was kept", 422)
            lines = sign(new.text())
            OsFiles().replace(self._folder / f"{origin}.ckpt", note + lines)
        finally:
            os.close(lock)
        return lines

    def _known(self, origin: str, keys: Keyring) -> Checkpoint:
        kept = self.latest(origin)
        if kept is None:
            return Checkpoint(origin, 0, EMPTY_ROOT)
        try:
            return keys.checkpoint(kept)
        except NoteInvalid as error:
            raise WitnessRefused(self.name, f"what it keeps is damaged: {error.why}", 500) from error

    def latest(self, origin: str) -> bytes | None:
        try:
            return (self._folder / f"{origin}.ckpt").read_bytes()
        except FileNotFoundError:
            if not self._folder.is_dir():  # an unmounted volume must not look like a witness that saw nothing
                raise WitnessUnavailable(self.name, "no such folder") from None
            return None
        except OSError as error:
            raise WitnessUnavailable(self.name, str(error)) from error

    def origins(self) -> list[str]:
        try:
            return sorted(name.removesuffix(".ckpt") for name in os.listdir(self._folder) if name.endswith(".ckpt"))
        except OSError as error:
            raise WitnessUnavailable(self.name, str(error)) from error


@final
class HttpWitness:
    """A witness that speaks tlog-witness, and `GET /checkpoint/<origin>` and `GET /checkpoints` to be asked by."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """`timeout_s` bounds each wait for the network."""
        self.name = url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise WitnessRefused(url, "a witness is named by an http or https address", 400)
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path.rstrip("/")
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._timeout_s = timeout_s

    def add(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        status, body = self._ask("POST", "/add-checkpoint", request_body(old_size, proof, note))
        if status == 409:
            raise WitnessConflict(self.name, _size(body))
        if status != 200:
            raise WitnessRefused(self.name, body[:200].decode("utf-8", "replace").strip(), status)
        return body

    def latest(self, origin: str) -> bytes | None:
        status, body = self._ask("GET", f"/checkpoint/{quote(origin, safe='')}")
        if status == 404:
            return None
        return self._good(status, body)

    def origins(self) -> list[str]:
        return self._good(*self._ask("GET", "/checkpoints")).decode("utf-8", "replace").split()

    def _good(self, status: int, body: bytes) -> bytes:
        if status != 200:
            raise WitnessUnavailable(self.name, f"it answered {status}")
        return body

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = self._connection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, self._base + path, body)
            response = connection.getresponse()
            return response.status, response.read(MAX_REQUEST)
        except (OSError, http.client.HTTPException) as error:
            raise WitnessUnavailable(self.name, str(error) or type(error).__name__) from error
        finally:
            connection.close()


def request_body(old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """`add-checkpoint`, as tlog-witness has it."""
    lines = "".join(base64.b64encode(each).decode() + "\n" for each in proof)
    return f"old {old_size}\n{lines}\n".encode() + note


def read_request(body: bytes) -> tuple[int, list[bytes], bytes]:
    """(old size, proof, note) of an `add-checkpoint` request. Raises NoteInvalid."""
    head, gap, note = body.partition(b"\n\n")
    first, *rest = head.decode("utf-8", "replace").split("\n")
    if not gap or not first.startswith("old ") or len(rest) > MAX_PROOF:
        raise NoteInvalid("not an add-checkpoint request")
    return tree_size(first.removeprefix("old ")), [tree_hash(line) for line in rest], note


def _size(body: bytes) -> int:
    try:
        return tree_size(body.decode("ascii", "replace").strip())
    except NoteInvalid:
        return -1  # it disagrees without saying what it knows
