"""`toolgate init`: a policy folder to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to create.")] = Path("policies"),
) -> None:
    """Write starter policies: a support desk with every feature, to be cut down to your own tools."""
    import shutil

    from gateway.domain.errors import SettingsError

    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty; name a new folder")
    source = _starter()
    shutil.copytree(source, folder, dirs_exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    typer.echo(f"wrote {folder}: model.conf, policy.csv, settings.yaml, approvers.yaml, tools/, sandbox/")
    typer.echo("next: write tools/<your tool>.yaml, grant it in policy.csv, then Gateway.from_policies(...)")


def _starter() -> Path:
    """The policies shipped with the package; in a checkout they stand at its top."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "starter_policies"
    return shipped if shipped.is_dir() else package.parent / "policies"
