"""`toolgate approvers`: who may vote. Public keys go into the policy files, private keys stay with their people."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.present import DEFAULT_POLICIES, Group, Json, Policies, print_json, safe, table

app = typer.Typer(cls=Group, help="People who may approve, and their keys.", no_args_is_help=True)


def key_folder() -> Path:
    """Where a person's own private keys lie unless she says otherwise (XDG Base Directory)."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "toolgate" / "approvers"


@app.command()
def add(
    person: Annotated[str, typer.Argument(help="Her id, as it stands in policy.csv after `user:`.")],
    policies: Policies = DEFAULT_POLICIES,
    key: Annotated[
        Path | None, typer.Option(help="Her private key file, made if it is absent.", show_default=False)
    ] = None,
    dev: Annotated[bool, typer.Option("--dev", help="A key for trying things out: every vote says so.")] = False,
) -> None:
    """Make a key pair and enrol its public half in approvers.yaml. What she may approve is said in policy.csv."""
    from gateway.domain.errors import SettingsError
    from gateway.domain.ids import check_id
    from gateway.keys import create_approver_key, load_approver_key, public_text
    from gateway.policy.enrol import enrol
    from gateway.policy.loader import load
    from gateway.policy.lock import read_lock

    check_id("an approver's id", person)
    current = load(policies, locked=False)
    if any(approver.id == person for approver in current.approvers.approvers):
        raise SettingsError(f"{person} is enrolled already; remove her entry from approvers.yaml first")
    path = key or key_folder() / f"{person}.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        public = create_approver_key(path)
    else:
        public = public_text(load_approver_key(path))
    enrol(policies / "approvers.yaml", person, public, dev=dev)
    load(policies, locked=False)
    typer.echo(f"{safe(person)} is enrolled in {policies / 'approvers.yaml'}; her private key is {path}")
    if read_lock(policies) is None:
        typer.echo("running gateways learn of her when they are started again")
    else:
        typer.echo("`toolgate policy apply` puts this into force")


@app.command("list")
def list_(policies: Policies = DEFAULT_POLICIES, as_json: Json = False) -> None:
    """Everybody enrolled, and the tools she may approve."""
    from gateway.authorize.grants import compile_grants
    from gateway.authorize.stage import Authorize
    from gateway.policy.loader import load

    policy = load(policies, locked=False)
    authorize = Authorize(compile_grants(policy.access), policy.refs())
    rows = [
        (each, tuple(tool for tool in sorted(policy.contracts) if authorize.may_approve(each.id, tool)))
        for each in policy.approvers.approvers
    ]
    if as_json:
        print_json([{"id": each.id, "key": each.key, "dev": each.dev, "may_approve": tools} for each, tools in rows])
        return
    if not rows:
        typer.echo("nobody is enrolled; `toolgate approvers add PERSON` enrols somebody")
        return
    table(
        ((safe(each.id), "dev" if each.dev else "", ", ".join(tools) or "nothing") for each, tools in rows),
        ("person", "key", "may approve"),
    )
