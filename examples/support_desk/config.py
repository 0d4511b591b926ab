"""Where the desk lives: a folder named by `SUPPORT_DESK_HOME`, with the addresses in `desk.json`.

Any process that has the variable finds the same database, mail server and weather sources.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

HOME_VARIABLE = "SUPPORT_DESK_HOME"


class DeskNotRunningError(RuntimeError):
    """The desk's folder or its `desk.json` cannot be found."""


@dataclass(frozen=True, slots=True)
class Config:
    """Addresses of the services while they run. URLs have no trailing slash."""

    smtp_host: str
    smtp_port: int
    weather_primary: str
    weather_backup: str


def home() -> Path:
    """The desk's folder. Raises DeskNotRunningError where the variable is not set."""
    name = os.environ.get(HOME_VARIABLE)
    if not name:
        raise DeskNotRunningError(f"set {HOME_VARIABLE} to the desk's folder, or run inside services(home)")
    return Path(name)


def database(home_folder: Path) -> Path:
    return home_folder / "desk.sqlite"


def reports(home_folder: Path) -> Path:
    """The folder that `read_report` may read beneath."""
    return home_folder / "reports"


def write(home_folder: Path, config: Config) -> None:
    """Write `desk.json` whole: a reader sees the old text or the new one."""
    draft = home_folder / "desk.json.new"
    draft.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    draft.replace(home_folder / "desk.json")


def read(home_folder: Path) -> Config:
    """The addresses of the running services. Raises DeskNotRunningError where they were never started."""
    path = home_folder / "desk.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DeskNotRunningError(f"{path} is missing: start the desk with services(home) first") from error
    return Config(**json.loads(text))
