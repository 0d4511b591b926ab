"""Policy folders for tests: a small whole one, and ways to spoil it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.domain.errors import PolicyError
from gateway.policy.loader import load

MODEL_TEXT = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""
POLICY_TEXT = """g, user:ana, role:support
p, role:support, look_up, see, allow
p, role:support, look_up, call, allow
"""
CONTRACT_TEXT = """tool: look_up
description: Look one thing up.
risk: low
effect: none
parameters:
  type: object
  properties:
    key: {type: string}
  required: [key]
  additionalProperties: false
"""


def contract_text(tool: str, *more: str) -> str:
    return CONTRACT_TEXT.replace("look_up", tool) + "".join(f"{line}\n" for line in more)


def write_policies(folder: Path, **changes: str | bytes | None) -> Path:
    """A whole policy; `changes` by name with `__` for `/` and `_dot_` for `.`; None leaves the file out."""
    files: dict[str, str | bytes | None] = {
        "model.conf": MODEL_TEXT,
        "policy.csv": POLICY_TEXT,
        "tools/look_up.yaml": CONTRACT_TEXT,
    }
    files |= {name.replace("__", "/").replace("_dot_", "."): content for name, content in changes.items()}
    for name, content in files.items():
        if content is None:
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def refused(folder: Path) -> PolicyError:
    """The error with which loading `folder` is refused."""
    with pytest.raises(PolicyError) as caught:
        load(folder)
    return caught.value
