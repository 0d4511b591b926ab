"""What a contract that names a sandbox may ask for: `code`, and files for it. Anything else would reach nobody.

A file parameter has a path guard: the model names a path, the gateway opens it beneath the root, and the code finds its
content as `/tmp/in/<parameter>`.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.policy.documents import Contract

CODE: Final = "code"
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")  # as the sandbox takes it (`sandbox/frame.py`)


def unboxable(contract: Contract) -> tuple[str, tuple[str, ...]] | None:
    """What is wrong with a sandboxed contract's parameters and where; None where it names no sandbox, or nothing is."""
    if contract.execution.sandbox is None:
        return None
    properties, required = contract.parameters.get("properties"), contract.parameters.get("required")
    known = properties if isinstance(properties, dict) else {}
    code = known.get(CODE)
    if not isinstance(code, dict) or code.get("type") != "string" or CODE not in (required or ()):  # type: ignore[operator]
        return "a sandboxed tool needs the parameter `code`, of type string and required", ("parameters",)
    for name in known:
        guard = contract.guards.get(name)
        path = guard is not None and guard.kind == "path"
        gives = f"give it a path guard, and the file it names is there as /tmp/in/{name}; or remove it"
        if name == CODE and guard is not None:
            return "`code` is for the sandbox to contain; a guard on it would hand it nothing. Remove it", ("guards",)
        if name != CODE and not path:
            return f"{name!r} would not reach the code: {gives}", ("parameters",)
        if name != CODE and _FILE_NAME.fullmatch(name) is None:
            return f"{name!r} cannot be the name of a file: use letters, digits, `.`, `_` and `-`", ("parameters",)
    return None
