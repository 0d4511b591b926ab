"""`toolgate policy`: check a policy, put it into force, see what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, print_json, safe, styled, table

app = typer.Typer(help="The policy files: check them, apply them, see what is in force.", no_args_is_help=True)

By = Annotated[str | None, typer.Option("--by", help="Who applies it. Default: your account.", show_default=False)]


@app.command()
def check(policies: Policies = DEFAULT_POLICIES, as_json: Json = False) -> None:
    """Read every file as a gateway would, applied or not. Exit code 2 names what is wrong, with file and line."""
    from gateway.policy_tools.apply import candidate

    found = candidate(policies)
    if as_json:
        print_json({"digest": found.digest, "files": dict(found.files), "tools": sorted(found.contracts)})
    else:
        typer.echo(f"{styled('good', 'good')}: {len(found.contracts)} tools, {len(found.files)} files, {found.digest}")


@app.command()
def apply(
    by: By = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Check everything, show what changes, write the lock. From then on only these files are ever loaded."""
    import getpass

    from gateway.office import Office
    from gateway.policy.lock import read_lock
    from gateway.policy_tools.apply import apply as put_into_force
    from gateway.policy_tools.apply import candidate, changed_files

    found = candidate(policies)
    lock = read_lock(policies)
    changes = changed_files(lock.files if lock is not None else {}, found.files)
    if not changes:
        typer.echo("nothing has changed since it was applied")
        return
    for name, word in changes.items():
        typer.echo(f"  {styled(word.ljust(8), 'warn')} {safe(name)}")
    if not yes and not typer.confirm("apply this?", default=False):
        raise typer.Exit(1)
    with Office.open(policies, home, locked=False) as office:
        done = put_into_force(office, Path(policies), found, by or getpass.getuser(), typer.echo)
    typer.echo(f"{styled('in force', 'good')}: {done.digest}; {len(done.following)} gateway(s) follow")
    for worker in done.behind:
        why = worker.fault or "it did not answer in time"
        typer.echo(f"  {styled('refuses calls', 'bad')}: {safe(worker.origin)} (pid {worker.pid}): {safe(why)}")
    if done.behind:
        raise typer.Exit(1)


@app.command()
def status(policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False) -> None:
    """What was applied, whether the files were edited since, and what each running gateway runs."""
    from dataclasses import asdict

    from gateway.office import Office
    from gateway.policy_tools.apply import status as in_force

    with Office.open(policies, home, locked=False) as office:
        found = in_force(office, Path(policies))
    if as_json:
        print_json(asdict(found))
        return
    if found.lock is None:
        typer.echo("no policy was ever applied here: what stands in the folder counts at each start")
    else:
        typer.echo(f"applied {found.lock.digest}\n  by {safe(found.lock.applied_by)} at {safe(found.lock.applied_at)}")
        if found.edited:
            typer.echo(styled("  the files were edited since; the edits are not in force", "warn"))
    rows = [(safe(w.origin), str(w.pid), w.digest[:19], safe(w.fault) or "follows") for w in found.workers]
    if rows:
        table(rows, ("gateway", "pid", "runs", "state"))
    else:
        typer.echo("no gateway is running")
