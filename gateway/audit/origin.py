"""Enrolled origins: who may write which log.

Guarantee: an origin is trusted only through a public key in the trust folder; its private key is readable
by its owner alone, belongs to that public key, and is never overwritten. Layout: `<keys>/origins/<origin>.key`
(mode 0600) and `<trust>/origins/<origin>.pub` (C2SP verifier key).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, final

from gateway.audit.errors import KeyProblem, NoteInvalid
from gateway.audit.files import sync_folder
from gateway.audit.keyring import Keyring, Rotation, load_keyring, rotation_path
from gateway.audit.note import Checkpoint, Signer, Verifier

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SECRET_PREFIX: Final = "PRIVATE+KEY+"  # noqa: S105 -- the marker of golang.org/x/mod/sumdb/note, no secret


def valid_origin(origin: str) -> bool:
    """Lower-case letters, digits, `.`, `_`, `-`; starts with a letter or digit; at most 63 characters."""
    return _NAME.fullmatch(origin) is not None


def _paths(origin: str, keys_dir: Path, trust_dir: Path) -> tuple[Path, Path]:
    if not valid_origin(origin):
        raise KeyProblem(Path(repr(origin)), "not an origin name: use a-z, 0-9, '.', '_', '-', at most 63 characters")
    return keys_dir / "origins" / f"{origin}.key", trust_dir / "origins" / f"{origin}.pub"


def enroll(origin: str, keys_dir: Path, trust_dir: Path) -> Verifier:
    """Create the key pair of a new origin, or finish an enrolment that was interrupted after the private key.

    Raises KeyProblem when the origin is already enrolled.
    """
    secret, public = _paths(origin, keys_dir, trust_dir)
    secret.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    public.parent.mkdir(parents=True, exist_ok=True)
    if public.exists():
        raise KeyProblem(public, f"origin {origin!r} is already enrolled; a key is never overwritten")
    signer = _read_secret(origin, secret) if secret.exists() else _new_secret(origin, secret)
    _create(public, f"{signer.verifier}\n", 0o644)
    return signer.verifier


def load_signer(origin: str, keys_dir: Path, trust_dir: Path) -> Signer:
    """The origin's signer. Raises KeyProblem if missing, readable by others, or not the enrolled key."""
    secret, public = _paths(origin, keys_dir, trust_dir)
    keys = load_keyring(public, _read_public(public))
    signer = _read_secret(origin, secret)
    if keys.current != signer.verifier and (following := _next(secret)).exists():  # a rotation that was cut short
        signer = _read_secret(origin, following)
        if keys.current == signer.verifier:
            following.replace(secret)
    if keys.current != signer.verifier:
        raise KeyProblem(secret, f"not the key enrolled in {public}; restore the right one or enroll a new origin")
    return signer


def rotate_key(origin: str, keys_dir: Path, trust_dir: Path, signed: Checkpoint) -> Verifier:
    """Hand the origin on to a new key, at its last checkpoint `signed`; the old private key is destroyed.

    The caller holds the origin, so that nothing is signed meanwhile. A rotation that was cut short is finished by
    `load_signer` or by rotating again. Raises KeyProblem.
    """
    secret, public = _paths(origin, keys_dir, trust_dir)
    old = load_signer(origin, keys_dir, trust_dir)
    keys = load_keyring(public, _read_public(public))
    following = _next(secret)
    # One that is there already was never announced, or `load_signer` would have taken it.
    new = _read_secret(origin, following) if following.exists() else _new_secret(origin, following)
    note = Rotation(origin, signed.size, signed.root, new.verifier).note(old, new)
    _create(rotation_path(public, len(keys.rotations) + 1), note.decode(), 0o644)
    following.replace(secret)
    sync_folder(secret.parent)
    return new.verifier


def key_problem(keys: Keyring, keys_dir: Path) -> str | None:
    """Why nobody here can sign for an origin any more; None if all is well, or if no private keys are kept here."""
    secret = keys_dir / "origins" / f"{keys.origin}.key"
    if not secret.parent.is_dir():
        return None
    try:
        held = [_read_secret(keys.origin, path).verifier for path in (secret, _next(secret)) if path.exists()]
    except KeyProblem as problem:
        return problem.why
    if not held:
        return "lost: restore it from a backup, or go on under a new origin"
    return None if keys.current in held else "not the one in force: restore that, or go on under a new origin"


def _next(secret: Path) -> Path:
    return secret.with_suffix(".next")


def load_trusted(trust_dir: Path) -> dict[str, Verifier]:
    """The key in force of every enrolled origin. One unreadable key file fails the whole load."""
    return {origin: keys.current for origin, keys in load_keyrings(trust_dir).items()}


def load_keyrings(trust_dir: Path) -> dict[str, Keyring]:
    """Every enrolled origin with its keys over time. One unreadable file fails the whole load."""
    return {path.stem: load_keyring(path, _read_public(path)) for path in sorted((trust_dir / "origins").glob("*.pub"))}


def _read_public(path: Path) -> Verifier:
    try:
        verifier = Verifier.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise KeyProblem(path, "missing: this origin is not enrolled") from error
    except (OSError, UnicodeDecodeError, NoteInvalid) as error:
        raise KeyProblem(path, f"unreadable ({error})") from error
    if verifier.name != path.stem or not valid_origin(verifier.name):
        raise KeyProblem(path, f"holds a key named {verifier.name!r}; the file must carry the key's name")
    return verifier


def _read_secret(origin: str, path: Path) -> Signer:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise KeyProblem(path, "missing: restore it, or enroll a new origin (the old log stays verifiable)") from error
    except OSError as error:
        raise KeyProblem(path, f"unreadable ({error.strerror})") from error
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077:
            raise KeyProblem(path, "others can read it; replace the key, or run chmod 600 if nobody else did")
        text = file.read(1024).strip()
    name, _, rest = text.removeprefix(_SECRET_PREFIX).partition("+")
    _, _, encoded = rest.partition("+")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(_SECRET_PREFIX) or name != origin or len(raw) != 33 or raw[:1] != b"\x01":
        raise KeyProblem(path, f"not a private key of origin {origin!r}")
    return Signer(origin, raw[1:])


def _new_secret(origin: str, path: Path) -> Signer:
    seed = secrets.token_bytes(32)
    signer = Signer(origin, seed)
    body = base64.b64encode(b"\x01" + seed).decode()
    _create(path, f"{_SECRET_PREFIX}{origin}+{signer.verifier.key_id.hex()}+{body}\n", 0o600)
    return signer


def _create(path: Path, text: str, mode: int) -> None:
    """Write a file that must not exist yet, whole and durable."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike rename, refuses an existing name
    except FileExistsError as error:
        raise KeyProblem(path, "appeared meanwhile; a key is never overwritten") from error
    finally:
        temporary.unlink()
    sync_folder(path.parent)


@final
class EnrolledHosts(Mapping[str, bytes]):
    """Public keys of enrolled origins by key id, read when asked: a host enrolled a minute ago counts too."""

    def __init__(self, trust: Path) -> None:
        self._trust = trust

    def _read(self) -> dict[str, bytes]:
        return {verifier.key_id.hex(): verifier.public for verifier in load_trusted(self._trust).values()}

    def __getitem__(self, key_id: str) -> bytes:
        return self._read()[key_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())
