"""What the host sends to the in-container runner (format: `sandbox/image/runner.py`)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sandbox.failure import InputRefused
from sandbox.spec import SandboxSpec

MAGIC: Final = b"TGSB2\n"
KEY_BYTES: Final = 32  # of a keyed BLAKE2b; half its longest
INPUT_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")  # one plain file name: no folder, no dot file
MOST_FILES: Final = 32
MOST_OUTPUT_BYTES: Final = 16 << 20  # of one run's files together, held in memory by the host
ALARM_GRACE_S: Final = 5  # the container ends itself this long after the host should have ended it


@dataclass(frozen=True, slots=True)
class Request:
    """One program and what it gets. `keep` leaves its variables and files to the next one (a session)."""

    code: bytes
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    keep: bool = False


def greeting(spec: SandboxSpec) -> bytes:
    """The first bytes, before any code: what to load."""
    names = "\n".join(spec.profile.preload).encode()
    return MAGIC + struct.pack(">I", len(names)) + names


def encoded(spec: SandboxSpec, request: Request, seconds: float) -> bytes:
    """The request on the wire; `InputRefused` where it does not fit. `seconds` is how long the container may live."""
    total = len(request.code) + len(request.stdin)
    alarm = math.ceil(seconds) + ALARM_GRACE_S
    parts = [struct.pack(">BIIQI", request.keep, alarm, MOST_FILES, MOST_OUTPUT_BYTES, len(request.inputs))]
    for name, data in request.inputs.items():
        if INPUT_NAME.fullmatch(name) is None:
            raise InputRefused(f"input {name!r} is no plain file name ({INPUT_NAME.pattern})")
        total += len(data)
        parts += [struct.pack(">H", len(name)), name.encode(), struct.pack(">Q", len(data)), data]
    if total > spec.input_cap:
        raise InputRefused(f"{total} bytes of code, stdin and inputs exceed input_mib={spec.profile.input_mib}")
    for data in (request.stdin, request.code):
        parts += [struct.pack(">Q", len(data)), data]
    return b"".join(parts)
