"""`toolgate init`: a policy folder to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to create.")] = Path("policies"),
) -> None:
    """Write a small policy folder to start from."""
    import shutil

    from gateway.domain.errors import SettingsError

    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty; name a new folder")
    shutil.copytree(Path(__file__).resolve().parent.parent / "starter_policies", folder, dirs_exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # files that others may write are refused when they are loaded
    typer.echo(f"wrote {folder}: policy.csv, settings.yaml, approvers.yaml, model.conf, tools/")
    typer.echo(f"next: change tools/ and policy.csv to your own, then Gateway.from_policies({str(folder)!r})")
