"""`toolgate kill`: stop calls now, in every process that shares the state."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from gateway.cli.present import DEFAULT_POLICIES, Group, Json, Policies, Root, print_json, safe, table

app = typer.Typer(cls=Group, help="Stop calls at once: all, of one tool, or of one principal.", no_args_is_help=True)

Tool = Annotated[str | None, typer.Option("--tool", help="Only this tool.", show_default=False)]
User = Annotated[str | None, typer.Option("--principal", help="Only this principal.", show_default=False)]
By = Annotated[str, typer.Option("--by", help="Who decides this.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the record.")]


def _scope(tool: str | None, principal: str | None) -> tuple[Literal["all", "tool", "principal"], str]:
    if tool and principal:
        raise typer.BadParameter("name a tool or a principal, not both")
    if tool:
        return "tool", tool
    return ("principal", principal) if principal else ("all", "")


@app.command()
def on(
    by: By,
    why: Why,
    tool: Tool = None,
    principal: User = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """Stop calls, from the next one on.

    Without --tool or --principal, every call.
    """
    from gateway.domain.event import KillSwitchSet
    from gateway.office import Office

    scope, subject = _scope(tool, principal)
    with Office.open(policies, home) as office:
        office.kill_switches.throw(scope, subject, by=by, why=why)  # first of all, and recorded as soon as it holds
        office.record(KillSwitchSet(scope, subject, True, by, why))
    typer.echo(f"stopped: {scope} {safe(subject)}".rstrip())


@app.command()
def off(
    by: By,
    why: Why,
    tool: Tool = None,
    principal: User = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """Release a switch, once that is recorded."""
    from gateway.domain.event import KillSwitchSet
    from gateway.office import Office

    scope, subject = _scope(tool, principal)
    with Office.open(policies, home) as office:
        office.record(KillSwitchSet(scope, subject, False, by, why))
        released = office.kill_switches.release(scope, subject)
    typer.echo(f"released: {scope} {safe(subject)}".rstrip() if released else "no such switch was thrown")
    if not released:
        raise typer.Exit(1)


@app.command("list")
def list_(policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False) -> None:
    """What is stopped now."""
    from gateway.office import Office

    with Office.open(policies, home) as office:
        switches = office.kill_switches.switches()
    if as_json:
        print_json([{"scope": s.scope, "subject": s.subject, "by": s.by, "why": s.why} for s in switches])
    elif not switches:
        typer.echo("nothing is stopped")
    else:
        table(((s.scope, safe(s.subject), safe(s.by), safe(s.why)) for s in switches), ("scope", "what", "by", "why"))
