"""`toolgate policy scaffold`: a deny-by-default policy folder from tools that already exist, or were seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.policy_replay import believed
from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, print_json, safe, styled


def scaffold(
    source: Annotated[
        str | None,
        typer.Argument(
            help="What the tools are: a module (shop.tools or shop/tools.py; it is imported, so its code runs), "
            "or a JSON file with the `tools` of an OpenAI request.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="The folder to create.")] = Path("proposed"),
    from_log: Annotated[
        bool, typer.Option("--from-log", help="Grant and test what the audit log has seen, and nothing else.")
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="The audit folder. Default: the deployment's own.", show_default=False),
    ] = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    as_json: Json = False,
) -> None:
    """Propose a policy folder: contracts, grants and decision tables. Exit code 1 if something does not fit.

    From a module or a JSON file every grant says deny. With --from-log, who was seen to call a tool may call it, each
    call is a case of a decision table, and tools that no SOURCE describes get a contract as wide as their calls.
    """
    from gateway.policy_tools.observed import from_calls, seen_in
    from gateway.policy_tools.proposal import Proposal, write
    from gateway.policy_tools.sources import from_source

    if source is None and not from_log:
        raise typer.BadParameter("name a module or a JSON file, or say --from-log")
    proposal = Proposal() if source is None else from_source(source)
    if from_log:
        proposal = from_calls(seen_in(*believed(log, policies, home)), proposal)
    report = write(proposal, to)
    granted = {call.tool for call in proposal.seen}
    denied = [f"{each.file}:{each.line}: {each.problem}" for each in report.results if each.problem]
    if as_json:
        left_out = [{"name": name, "why": why} for name, why in proposal.left_out]
        tools = {name: name in granted for name in sorted(proposal.contracts)}
        print_json(
            {
                "folder": str(to),
                "tools": tools,
                "cases": len(report.results),
                "left_out": left_out,
                "seen_and_denied": denied,
            }
        )
    else:
        typer.echo(f"{styled('wrote', 'good')} {to}: {len(proposal.contracts)} tools, {len(report.results)} cases")
        unused = len(proposal.contracts) - len(granted)
        typer.echo(f"  granted as seen: {len(granted)} tools; denied to everybody: {unused}")
        for each in denied:
            typer.echo(f"  {styled('seen, and denied', 'warn')} {safe(each)}")
        for name, why in proposal.left_out:
            typer.echo(f"  {styled('left out', 'warn')} {safe(name)}: {safe(why)}")
        if proposal.seen:
            typer.echo(f"  {to}/tests holds argument values from the log: look before you commit them")
        typer.echo("next: decide what is marked `guess` or TODO, and see what is left to decide:")
        typer.echo(f"  toolgate policy lint --policies {to}")
    if proposal.left_out or denied:
        raise typer.Exit(1)
