"""`toolgate policy apply` and `diff`: a change of policy, shown before it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, print_json, safe, styled

if TYPE_CHECKING:  # the command line loads what a command needs when it runs
    from gateway.policy_tools.diff import PolicyDiff

By = Annotated[str | None, typer.Option("--by", help="Who applies it. Default: your account.", show_default=False)]


def apply(
    by: By = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Check, lint and test; show what changes; write the lock. From then on only these files are ever loaded."""
    import getpass

    from gateway.office import Office
    from gateway.policy.lock import read_lock
    from gateway.policy_tools.apply import apply as put_into_force
    from gateway.policy_tools.apply import candidate, changed_files
    from gateway.policy_tools.diff import diff as compare
    from gateway.policy_tools.kept import kept
    from gateway.policy_tools.lint import lint as lint_of
    from gateway.policy_tools.tables import read_tables, run_tables
    from gateway.settings import locate

    found = candidate(policies)
    problems = [f"{each.place}: {each.what}" for each in lint_of(found) if each.level == "error"]
    report = run_tables(found, read_tables(policies))
    problems += [f"{each.file}:{each.line}: {each.problem}" for each in report.results if each.problem]
    for problem in problems:
        typer.echo(f"  {styled('error', 'bad')} {safe(problem)}")
    if problems:
        typer.echo("nothing was applied: mend these first (`toolgate policy lint`, `toolgate policy test`)")
        raise typer.Exit(1)
    lock = read_lock(policies)
    changes = changed_files(lock.files if lock is not None else {}, found.files)
    if not changes:
        typer.echo("nothing has changed since it was applied")
        return
    for name, word in changes.items():
        typer.echo(f"  {styled(word.ljust(8), 'warn')} {safe(name)}")
    before = kept(locate(policies, home).state, lock)
    if before is not None:
        show(compare(before, found))
    if not yes and not _agreed():
        typer.echo("nothing was applied; --yes applies without asking")
        raise typer.Exit(1)
    with Office.open(policies, home) as office:
        done = put_into_force(office, Path(policies), found, by or getpass.getuser(), typer.echo)
    typer.echo(f"{styled('in force', 'good')}: {done.digest}; {len(done.following)} gateway(s) follow")
    for worker in done.behind:
        why = worker.fault or "it did not answer in time"
        typer.echo(f"  {styled('refuses calls', 'bad')}: {safe(worker.origin)} (pid {worker.pid}): {safe(why)}")
    if done.behind:
        raise typer.Exit(1)


def _agreed() -> bool:
    try:
        return typer.confirm("apply this?", default=False)
    except typer.Abort:  # nobody is there to answer
        typer.echo()
        return False


def diff(
    before: Annotated[Path, typer.Argument(help="The policy folder as it is.")],
    after: Annotated[Path, typer.Argument(help="The policy folder as it would be.")],
    as_json: Json = False,
) -> None:
    """What a change means: what breaks the model, what widens or narrows rights, what only rewords."""
    from dataclasses import asdict

    from gateway.policy.loader import load
    from gateway.policy_tools.diff import diff as compare

    found = compare(load(before, locked=False), load(after, locked=False))
    if as_json:
        print_json({"differences": [asdict(d) for d in found.differences], "lists_changed": list(found.lists_changed)})
        return
    show(found)


def show(found: PolicyDiff) -> None:
    """One line a difference, the riskiest first."""
    colours = {"widens": "bad", "breaks": "warn", "narrows": "good", "rewords": "dim"}
    for each in found.differences:
        typer.echo(f"{styled(each.meaning.ljust(8), colours[each.meaning])} {safe(each.subject)}: {safe(each.what)}")
    if found.lists_changed:
        typer.echo(
            f"other bytes in the tool list (prompt caches start anew): {', '.join(map(safe, found.lists_changed))}"
        )
    if not found.differences:
        typer.echo("the two mean the same")
