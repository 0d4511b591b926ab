"""The files of a policy folder, as they were at one moment.

Only expected names are followed. A name that looks like policy but would never be read (`setings.yaml`, `tools/x.yml`)
is an error: its author believes that it is in force. A folder that changes while it is read is refused, so that no
half-saved set of files is ever loaded (C031).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from gateway.domain.errors import PolicyError
from gateway.policy.casbin_files import MAX_POLICY_BYTES, MODEL, POLICY
from gateway.policy.custody import Custody
from gateway.policy.policy_set import PolicyErrors
from gateway.policy.text import did_you_mean

SETTINGS: Final = "settings.yaml"
APPROVERS: Final = "approvers.yaml"
TOOLS: Final = "tools/"
SANDBOX: Final = "sandbox/"
YAML: Final = ".yaml"

_FILES = (MODEL, POLICY, SETTINGS, APPROVERS)
_LOOKS_LIKE_POLICY = (".yaml", ".yml", ".csv", ".conf", ".json")
_MAX_BYTES = MAX_POLICY_BYTES  # each reader has a smaller cap of its own


def must_exist(path: str | Path) -> None:
    """Raise PolicyErrors where there is nothing at `path`; whatever else may be wrong with it, reading it says."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        what_to_do = "`toolgate init` writes one to start from; in a command --policies names another"
        raise PolicyErrors((PolicyError(f"there is no such folder. {what_to_do}", file=str(path)),)) from None
    except OSError:
        pass  # reading it says what is wrong with it


def read_folder(path: str | Path) -> dict[str, bytes]:
    """Every policy file beneath `path` by its name (`tools/send_email.yaml`), sorted. Raises PolicyErrors."""
    errors: dict[str, PolicyError] = {}
    files: dict[str, bytes] = {}
    before: dict[str, tuple[int, ...]] = {}
    must_exist(path)
    try:
        custody = Custody(Path(path))
        names = _names(custody)
    except PolicyError as error:
        raise PolicyErrors((error,)) from error
    for name in names:
        try:
            files[name], info = custody.read(name, _MAX_BYTES)
            before[name] = _state(info)
        except PolicyError as error:
            errors[name] = error
    if errors:
        raise PolicyErrors(tuple(errors.values()))
    try:
        after = {name: _state(os.stat(custody.reach(name))) for name in _names(custody)}
    except (OSError, PolicyError):
        after = {}
    if after != before:
        message = "the folder changed while it was read. Try again when it is complete"
        raise PolicyErrors((PolicyError(message, file=str(path)),))
    return files


def _names(custody: Custody) -> list[str]:
    """The names to read. Hidden files and editors' backups (`x~`) are passed over."""
    top = _listed(custody, "")
    for name in top:
        if name.endswith(_LOOKS_LIKE_POLICY) and name not in _FILES:
            raise PolicyError(f"no such file is read here.{did_you_mean(name, _FILES)} Rename or remove it", file=name)
    if MODEL not in top and POLICY not in top:
        message = f"there is no policy here: {MODEL} and {POLICY} are missing. `toolgate init` writes a first one"
        raise PolicyError(message, file=str(custody.folder))
    for name in (MODEL, POLICY):
        if name not in top:
            raise PolicyError("this file is missing", file=name)
    names = [name for name in _FILES if name in top]
    for folder in (TOOLS, SANDBOX):
        if folder.removesuffix("/") not in top:
            continue
        for name in _listed(custody, folder):
            if not name.endswith(YAML):
                raise PolicyError("only files named .yaml are read here. Rename or remove it", file=folder + name)
            names.append(folder + name)
    return sorted(names)


def _listed(custody: Custody, folder: str) -> list[str]:
    try:
        entries = os.listdir(custody.reach(folder.removesuffix("/")))
    except OSError as error:
        raise PolicyError(f"it cannot be listed: {error.strerror}", file=folder or str(custody.folder)) from error
    return [name for name in entries if not name.startswith(".") and not name.endswith("~")]


def _state(info: os.stat_result) -> tuple[int, ...]:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
