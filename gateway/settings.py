"""Where a deployment lives on disk: read once, frozen, and an unsafe start refused (I10).

With nothing said, everything lives in one private folder beside the policies, `.toolgate/`. That is right for a trial.
For production give `keys` and `checkpoints` places of their own: whoever can write the log must not be able to
write what it is checked against.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import final

from gateway.domain.errors import SettingsError

DEFAULT_FOLDER = ".toolgate"
ORIGIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


@final
@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one deployment.

    `trust` holds the public keys of enrolled origins, `keys` the private ones. `spent` marks grants that were used,
    apart from the database, so that restoring that brings no grant back (C127).
    """

    state: Path
    audit: Path
    keys: Path
    checkpoints: Path
    trust: Path
    spent: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        return self.state, self.audit, self.keys, self.checkpoints, self.trust, self.spent

    @property
    def database(self) -> Path:
        return self.state / "state.db"


def locate(policies: Path, root: Path | None = None) -> Home:
    """The folders below `root`, else below TOOLGATE_HOME, else `.toolgate` beside the policy folder.

    TOOLGATE_KEYS, TOOLGATE_CHECKPOINTS and TOOLGATE_TRUST give those folders places of their own.
    """
    named = os.environ.get("TOOLGATE_HOME")
    base = root or (Path(named) if named else policies.resolve().parent / DEFAULT_FOLDER)
    base = base.absolute()
    return Home(
        state=base / "state",
        audit=base / "audit",
        keys=_placed("KEYS", base / "keys"),
        checkpoints=_placed("CHECKPOINTS", base / "checkpoints"),
        trust=_placed("TRUST", base / "trust"),
        spent=base / "spent",
    )


def _placed(name: str, default: Path) -> Path:
    chosen = os.environ.get(f"TOOLGATE_{name}")
    return Path(chosen).absolute() if chosen else default


def prepare(where: Home) -> tuple[str, ...]:
    """Create what is missing, each folder for its owner alone, and refuse an unsafe layout. Says what was created."""
    for inner, name in ((where.keys, "keys"), (where.checkpoints, "checkpoints")):
        for outer in (where.state, where.audit):
            if inner == outer or outer in inner.parents:
                raise SettingsError(f"the {name} folder {inner} lies inside {outer}: give it a place of its own")
    base = where.state.parent
    base.mkdir(parents=True, mode=0o700, exist_ok=True)
    made: list[str] = []
    for folder in where.folders:
        if not folder.is_dir():
            folder.mkdir(parents=True, mode=0o700)
            made.append(str(folder))
    check_custody(where)
    ignore = base / ".gitignore"
    if made and not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")  # keys and evidence never belong in a repository
    return tuple(made)


def check_custody(where: Home) -> None:
    """Refuse folders that somebody else could change: who may write trust, spent marks or state may approve."""
    for folder in where.folders:
        found = folder.stat()
        if found.st_uid not in (0, os.geteuid()):
            raise SettingsError(f"{folder} belongs to user {found.st_uid}: give it to the user who runs this")
        if found.st_mode & 0o022:
            raise SettingsError(
                f"{folder} can be written by others. Run `chmod go-w {folder}` and look at what is in it"
            )
    base = where.state.parent
    mode = base.stat().st_mode
    if mode & 0o002 and not mode & stat.S_ISVTX:
        raise SettingsError(f"{base} can be written by anybody, who could exchange what lies in it: `chmod o-w {base}`")


def default_origin() -> str:
    """This process's name in the log when the host gives none: `gateway-<host>`, one live process at a time."""
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:40]
    return f"gateway-{host}" if host else "gateway"


def check_origin(name: str) -> str:
    if not ORIGIN.match(name):
        raise SettingsError(f"{name!r} is no origin name: use lower-case letters, digits and dashes, 63 at most")
    return name
