"""Which image a profile runs, as the lock says it, if only those who may deploy could have written it (C035, C103).

Whoever can write `sandbox-image.lock` chooses what code runs in. So it is held to the custody of a policy folder: the
file and every folder on the way to it, links included (`gateway/policy/custody.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

from gateway.domain.errors import PolicyError
from gateway.policy.custody import Custody
from sandbox import ImageNotPinned, default_lock, pinned

MOST_BYTES = 64 << 10  # a name and an id for each image


def pinned_image(image: str) -> str:
    """The id (`sha256:<hex>`) to which the default lock pins `image`. Raises `sandbox.ImageNotPinned`."""
    lock = default_lock()
    try:
        return pinned(lock, image, _kept)
    except PolicyError as fault:
        raise ImageNotPinned(image, f"the lock {lock} is not believed: {fault}") from fault


def _kept(lock: Path) -> bytes:
    if not os.path.lexists(lock):
        raise FileNotFoundError(lock)
    return Custody(lock.parent).read(lock.name, MOST_BYTES)[0]
