"""`toolgate init`: a policy folder to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_NOBODY_YET = """\
# Who may see, call and approve which tool. Nobody may do anything yet: in observe mode every call goes through all the
# same, and the log says that it would have been denied.
#   p, user:ID | role:NAME, tool, see | call | approve, allow | deny
#   g, user:ID | role:NAME, role:NAME                    (the first holds the second)
"""
_OBSERVED = """\
# Permits observe mode, in which nothing is denied, to gateways that ask for it: from_policies(..., observe=True).
# `shapes` keeps argument values of tools without a contract out of the log; `values` records them as they are.
# Remove this block once no gateway observes any more.
observe:
  arguments: shapes
"""


def init(
    folder: Annotated[Path, typer.Argument(help="The folder to create.")] = Path("policies"),
    observe: Annotated[
        bool, typer.Option("--observe", help="For an agent that already runs: no tool yet, observe mode permitted.")
    ] = False,
) -> None:
    """Write a small policy folder to start from."""
    import shutil

    from gateway.domain.errors import SettingsError
    from gateway.policy_tools.schemas import FOLDER, write_schemas

    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty; name a new folder")
    starter = Path(__file__).resolve().parent.parent / "starter_policies"
    shutil.copytree(starter, folder, ignore=shutil.ignore_patterns("tools*") if observe else None, dirs_exist_ok=True)
    if observe:
        (folder / "tools").mkdir()
        (folder / "policy.csv").write_text(_NOBODY_YET, encoding="utf-8")
        (folder / "settings.yaml").write_text(_OBSERVED, encoding="utf-8")
    write_schemas(folder / FOLDER)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # files that others may write are refused when they are loaded
    typer.echo(f"wrote {folder}: policy.csv, settings.yaml, approvers.yaml, model.conf, tools/")
    if observe:
        typer.echo(f"next: Gateway.from_policies({str(folder)!r}, observe=True), and let your agent work")
        return
    typer.echo(f"next: change tools/ and policy.csv to your own, then Gateway.from_policies({str(folder)!r})")
