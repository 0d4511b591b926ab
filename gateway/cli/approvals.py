"""`toolgate approvals`: what waits for a person, in full, and her signed answer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli.approvers import key_folder
from gateway.cli.present import DEFAULT_POLICIES, Group, Json, Policies, Root, paragraph, print_json, styled

if TYPE_CHECKING:
    from gateway.clear.view import RequestView

app = typer.Typer(cls=Group, help="Calls that wait for a person: list, show, approve, deny.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The request's id, from `toolgate approvals list`.", metavar="REQUEST")]
Person = Annotated[str, typer.Option("--as", help="Who votes: your id in approvers.yaml.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key", help="Your private key. Default: your own configuration folder.", show_default=False),
]
Comment = Annotated[str, typer.Option("--comment", help="Recorded, and shown to the model if you deny.")]
Digest = Annotated[
    str | None,
    typer.Option(
        "--digest",
        help="The digest `show` printed, instead of being asked: says that you saw just that.",
        show_default=False,
    ),
]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show secret parameters too. Recorded.")]

MIN_DIGEST_CHARS = 12


@app.command("list")
def list_(policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False) -> None:
    """What waits now, oldest first."""
    from gateway.office import Office

    with Office.open(policies, home) as office:
        views = office.desk().pending()
    if as_json:
        print_json([asdict(view) for view in views])
    elif not views:
        typer.echo("nothing waits for a person")
    else:
        typer.echo(styled(f"{'request':36}  {'state':8}  expires", "bold"))
        for view in views:
            typer.echo(f"{view.id:36}  {view.state:8}  {view.expires}")
            typer.echo(f"  {view.tool}, asked by {view.principal}")


@app.command()
def show(
    request: Id, policies: Policies = DEFAULT_POLICIES, home: Root = None, reveal: Reveal = False, as_json: Json = False
) -> None:
    """One request in full: every argument, the facts, who asked, what is still needed."""
    from gateway.office import Office

    with Office.open(policies, home) as office:
        view = office.desk().show(request, reveal=reveal)
        if view is not None and reveal:
            from gateway.domain.event import SecretRevealed

            office.record(SecretRevealed(request, _account()))
    if view is None:
        typer.echo("there is no such request", err=True)
        raise typer.Exit(1)
    if as_json:
        print_json(asdict(view))
    else:
        _print(view)


@app.command()
def approve(
    request: Id,
    person: Person,
    comment: Comment = "",
    digest: Digest = None,
    key: KeyFile = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """Sign that this very call may happen, once."""
    _vote("approve", request, person, comment, digest, key, policies, home)


@app.command()
def deny(
    request: Id,
    person: Person,
    comment: Comment = "",
    digest: Digest = None,
    key: KeyFile = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """Sign that this call must not happen. One denial ends the request."""
    _vote("deny", request, person, comment, digest, key, policies, home)


def _vote(
    verdict: Literal["approve", "deny"],
    request: str,
    person: str,
    comment: str,
    digest: str | None,
    key: Path | None,
    policies: Path,
    home: Path | None,
) -> None:
    from gateway.keys import load_approver_key
    from gateway.office import Office

    with Office.open(policies, home) as office:
        desk = office.desk()
        view = desk.show(request)
        if view is None:
            typer.echo("there is no such request", err=True)
            raise typer.Exit(1)
        if not _agreed(verdict, view, digest):
            raise typer.Exit(1)
        private = load_approver_key(key or key_folder() / f"{person}.key")
        ballot = desk.ballot(request, verdict, voter=person, sign_with=private.sign, comment=comment, shown=view.digest)
        office.record(desk.event(ballot))
        after = desk.cast(ballot)
    word = "approved" if verdict == "approve" else "denied"
    typer.echo(f"{styled(word, 'good' if verdict == 'approve' else 'bad')} {view.id}; the request is now {after.state}")


def _agreed(verdict: str, view: RequestView, digest: str | None) -> bool:
    """Whether she says yes to what is shown here, or has named the digest of what she was shown before."""
    if digest is not None:
        if len(digest) >= MIN_DIGEST_CHARS and view.digest.startswith(digest):
            return True
        typer.echo(f"the digest is not that of {view.id} as it is stored; look at it with `show`", err=True)
        return False
    if not sys.stdin.isatty():
        typer.echo("nobody can be asked here: give --digest, as `toolgate approvals show` prints it", err=True)
        return False
    _print(view)
    return typer.confirm(f"{verdict} this call?", default=False)


def _account() -> str:
    import getpass

    return getpass.getuser()


def _print(view: RequestView) -> None:
    typer.echo(f"{styled(view.tool, 'bold')}  {view.id}  [{view.state}]")
    if view.note:
        typer.echo(styled(f"  {view.note}", "warn"))
    behalf = f" on behalf of {view.on_behalf_of}" if view.on_behalf_of else ""
    typer.echo(f"  asked by {view.principal}{behalf}, conversation {view.conversation}")
    typer.echo(f"  {view.created} until {view.expires}")
    if view.obligations:
        typer.echo(styled("  what the model asks for (its own words, not checked beyond the rules):", "dim"))
    else:
        typer.echo(styled(f"  what was asked for cannot be shown here: toolgate audit call {view.id}", "dim"))
    for argument in view.arguments:
        mark = " <- who, where or how much" if argument.authority else ""
        typer.echo(f"    {argument.name} = {argument.value}{mark}")
        paragraph(argument.leads_to, indent=6)
    if view.facts:
        typer.echo(styled("  what the systems say:", "dim"))
        for name, value in view.facts:
            typer.echo(f"    {name} = {value}")
    for scope in view.scopes:
        typer.echo(f"  within the scope {scope}")
    for why in view.obligations:
        typer.echo(f"  because {why}")
    for vote in view.votes:
        note = f" (does not count: {vote.rejected})" if vote.rejected else ""
        typer.echo(f"  {vote.verdict} by {vote.voter} at {vote.at}{' with a dev key' if vote.dev_key else ''}{note}")
        if vote.comment:
            typer.echo(f'    "{vote.comment}"')
    typer.echo(f"  digest {view.digest}")
