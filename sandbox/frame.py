"""The frame that the in-container runner reads from stdin (format: `sandbox/image/runner.py`)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from sandbox.failure import InputRefused
from sandbox.spec import SandboxSpec

MAGIC = b"TGSB1\n"
INPUT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")  # one plain file name: no folder, no dot file


def frame(spec: SandboxSpec, code: bytes, inputs: Mapping[str, bytes]) -> bytes:
    """The bytes to send before the program's own stdin; `InputRefused` where the inputs do not fit."""
    total = len(code)
    parts = [MAGIC, struct.pack(">I", len(inputs))]
    for name, data in inputs.items():
        if INPUT_NAME.fullmatch(name) is None:
            raise InputRefused(f"input {name!r} is no plain file name ({INPUT_NAME.pattern})")
        total += len(data)
        encoded = name.encode()
        parts += [struct.pack(">H", len(encoded)), encoded, struct.pack(">Q", len(data)), data]
    if total > spec.input_cap:
        raise InputRefused(f"{total} bytes of code and inputs exceed input_mib={spec.profile.input_mib}")
    return b"".join([*parts, struct.pack(">Q", len(code)), code])
