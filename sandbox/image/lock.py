"""The lock file that pins each locally built image: `{"<image name>": "sha256:<id>"}`.

There is no registry to name a digest for an image that is built here, so the build writes the id it
loaded, and a run accepts that id and no other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from sandbox.failure import ImageNotPinned

LOCK_NAME = "sandbox-image.lock"
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")


def default_cache() -> Path:
    """`$TOOLGATE_SANDBOX_CACHE`, or the user's cache folder (XDG Base Directory)."""
    chosen = os.environ.get("TOOLGATE_SANDBOX_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolgate"


def default_lock() -> Path:
    """Where the build writes the pins unless told otherwise."""
    return default_cache() / LOCK_NAME


def pinned(lock: Path, image: str, read: Callable[[Path], bytes] = Path.read_bytes) -> str:
    """The pinned id of `image`; `ImageNotPinned` where the file or a well-formed entry is missing.

    `read` may refuse a file that others could have written, with an error of its own.
    """
    image_id = _read(lock, image, read).get(image)
    if not isinstance(image_id, str) or _IMAGE_ID.fullmatch(image_id) is None:
        raise ImageNotPinned(image, f"no valid pin in {lock}")
    return image_id


def pin(lock: Path, image: str, image_id: str) -> None:
    """Write the pin, replacing the file in one step. The caller holds the build lock."""
    pins = _read(lock, image, Path.read_bytes) if lock.exists() else {}
    lock.parent.mkdir(parents=True, exist_ok=True)
    draft = lock.with_name(f".{lock.name}.{os.getpid()}")
    draft.write_text(json.dumps({**pins, image: image_id}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(lock)


def _read(lock: Path, image: str, read: Callable[[Path], bytes]) -> dict[str, object]:
    try:
        found = json.loads(read(lock))
    except FileNotFoundError as error:
        raise ImageNotPinned(image, f"no lock file {lock}") from error
    except (OSError, ValueError) as error:
        raise ImageNotPinned(image, f"unreadable lock file {lock}") from error
    if not isinstance(found, dict):
        raise ImageNotPinned(image, f"lock file {lock} is no object")
    return found
