"""`toolgate sandbox`: does the sandbox hold here, looked at rather than believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.present import DEFAULT_POLICIES, Group, Json, Policies, Root, print_json, safe, styled, table

if TYPE_CHECKING:
    from gateway.execute.check import Report

app = typer.Typer(cls=Group, help="The sandbox that model-written code runs in.", no_args_is_help=True)

Profile = Annotated[
    str | None, typer.Option("--profile", help="Only this profile. Default: every one.", show_default=False)
]
SEEN_CHARS = 60


@app.callback()
def _group() -> None:
    """A group, though it has one command yet."""


@app.command()
def check(
    profile: Profile = None, policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False
) -> None:
    """Run every probe in each profile: ten seconds each. The result is kept, and gateways go by it.

    Exit code 1 if a row that must hold does not, 2 if a profile could not be checked.
    """
    from gateway.execute.check import check_profiles, report_json
    from gateway.policy.loader import load
    from gateway.settings import locate, prepare

    profiles = load(policies).sandbox_profiles
    if profile is not None and profile not in profiles:
        raise typer.BadParameter(f"there is no profile {profile!r} in {policies / 'sandbox'}")
    wanted = {name: document for name, document in profiles.items() if profile in {None, name}}
    if not wanted:
        raise typer.BadParameter(f"{policies} has no sandbox profile: write one in {policies / 'sandbox'}")
    where = locate(policies, home)
    prepare(where)
    reports = check_profiles(wanted, where.state)
    if as_json:
        print_json([report_json(report) for report in reports])
    else:
        for report in reports:
            _print(report)
    if any(report.failed for report in reports):
        raise typer.Exit(1)
    if any(report.problem is not None for report in reports):
        raise typer.Exit(2)


def _print(report: Report) -> None:
    title = f"{report.profile}: {report.runtime} {report.image}" if report.problem is None else report.profile
    typer.echo(styled(safe(title), "bold"))
    if report.problem is not None:
        typer.echo(f"  {styled('not checked', 'bad')}: {safe(report.problem)}\n")
        return
    table(
        ((row.name, row.level, row.outcome, safe(row.seen)[:SEEN_CHARS]) for row in report.rows),
        ("row", "level", "outcome", "seen"),
    )
    must = [row for row in report.rows if row.level == "must"]
    should = [row for row in report.rows if row.level == "should"]
    held = sum(row.outcome == "passed" for row in must)
    absent = [row.name for row in should if row.outcome == "absent"]
    typer.echo(f"must: {held} of {len(must)} hold" + (f"; failed: {', '.join(report.failed)}" if report.failed else ""))
    typer.echo(f"should: {len(should) - len(absent)} of {len(should)} present; absent: {', '.join(absent) or 'none'}")
    word = styled("FAILED", "bad") if report.failed else styled("holds", "good")
    typer.echo(f"{safe(report.profile)}: {word}\n")
