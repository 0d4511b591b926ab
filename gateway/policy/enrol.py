"""Adding one entry to approvers.yaml without touching what people wrote there."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from gateway.domain.errors import PolicyError
from gateway.policy.check import checked
from gateway.policy.documents import Approvers
from gateway.policy.yaml import read_yaml

_EMPTY = "approvers: []"


def enrol(file: Path, person: str, key: str, *, dev: bool) -> None:
    """Append the entry, check the whole, replace the file in one step. Raises PolicyError; then nothing changed."""
    text = file.read_text(encoding="utf-8") if file.exists() else f"{_EMPTY}\n"
    lines = text.rstrip("\n").split("\n")
    entry = yaml.safe_dump([{"id": person, "key": key, "dev": dev}], sort_keys=False, allow_unicode=True)
    indented = ["  " + line for line in entry.rstrip("\n").split("\n")]
    if _EMPTY in lines:
        at = lines.index(_EMPTY)
        lines[at : at + 1] = ["approvers:", *indented]
    else:
        lines += indented
    made = "\n".join(lines) + "\n"
    document = checked(read_yaml(made.encode(), file=file.name), Approvers)
    if not any(each.id == person and each.key == key for each in document.approvers):
        raise PolicyError(
            "the list of approvers does not stand last in this file; add the entry by hand", file=file.name
        )
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(made, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(file)
