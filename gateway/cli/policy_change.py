"""`toolgate policy apply` and `diff`: a change of policy, shown before it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

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
    as_json: Json = False,
) -> None:
    """Check, lint and test; show what changes; write the lock. From then on only these files are ever loaded.

    --json never asks: without --yes it says what would change, applies nothing and ends with exit code 1.
    """
    import getpass
    from dataclasses import asdict

    from gateway.office import Office
    from gateway.policy.lock import read_lock
    from gateway.policy_tools.apply import apply as put_into_force
    from gateway.policy_tools.apply import candidate, changed_files
    from gateway.policy_tools.diff import diff as compare
    from gateway.policy_tools.kept import kept
    from gateway.policy_tools.lint import lint as lint_of
    from gateway.policy_tools.tables import read_tables, run_tables
    from gateway.settings import locate

    def say(text: str) -> None:
        typer.echo(text, err=as_json)

    found = candidate(policies)
    problems = [f"{each.place}: {each.what}" for each in lint_of(found) if each.level == "error"]
    report = run_tables(found, read_tables(policies))
    problems += [f"{each.file}:{each.line}: {each.problem}" for each in report.results if each.problem]
    lock = read_lock(policies)
    changes = changed_files(lock.files if lock is not None else {}, found.files)
    before = kept(locate(policies, home).state, lock)
    differences = compare(before, found) if before is not None and changes else None
    told: dict[str, object] = {
        "digest": found.digest,
        "applied": False,
        "problems": problems,
        "files": dict(changes),
        "differences": [asdict(each) for each in differences.differences] if differences is not None else None,
    }
    for problem in problems:
        say(f"  {styled('error', 'bad')} {safe(problem)}")
    if problems:
        say("nothing was applied: mend these first (`toolgate policy lint`, `toolgate policy test`)")
        _end(told, 1, as_json=as_json)
    if not changes:
        say("nothing has changed since it was applied")
        _end(told, 0, as_json=as_json)
    if not as_json:
        for name, word in changes.items():
            typer.echo(f"  {styled(word.ljust(8), 'warn')} {safe(name)}")
        if differences is not None:
            show(differences)
    if not yes and (as_json or not _agreed()):
        say("nothing was applied; --yes applies without asking")
        _end(told, 1, as_json=as_json)
    with Office.open(policies, home) as office:
        done = put_into_force(office, Path(policies), found, by or getpass.getuser(), say)
    say(f"{styled('in force', 'good')}: {done.digest}; {len(done.following)} gateway(s) follow")
    for worker in done.behind:
        why = worker.fault or "it did not answer in time"
        say(f"  {styled('refuses calls', 'bad')}: {safe(worker.origin)} (pid {worker.pid}): {safe(why)}")
    told |= {"applied": True, "following": [asdict(each) for each in done.following]}
    told["behind"] = [asdict(each) for each in done.behind]
    _end(told, 1 if done.behind else 0, as_json=as_json)


def _end(told: dict[str, object], code: int, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json(told)
    raise typer.Exit(code)


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
