"""`toolgate audit`: is the log whole, what does it say, and what is still in doubt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gateway.cli import audit_match, audit_read, audit_receipt, audit_reveal
from gateway.cli.present import DEFAULT_POLICIES, Group, Json, Policies, Root, paragraph, print_json, safe, styled
from gateway.cli.progress import progressing

app = typer.Typer(cls=Group, help="The audit log: verify it, read it, settle what is in doubt.", no_args_is_help=True)

Call = Annotated[str, typer.Argument(help="The call's id, from `toolgate audit unfinished`.", metavar="CALL")]


@app.command()
def verify(
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--from", help="A checkpoint you kept: the log must still continue it.", show_default=False),
    ] = None,
    witness: Annotated[
        str | None,
        typer.Option("--witness", help="Ask this witness, a folder or an http(s) address, too.", show_default=False),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes that share the work.")] = 1,
    as_json: Json = False,
) -> None:
    """Check every record against the signed checkpoints. Exit code 1 if anything was changed, cut or forged."""
    from gateway.office import verify_home
    from gateway.settings import locate

    where = locate(policies, home)
    notes = [_kept(path) for path in kept or ()]
    with progressing("verifying", wanted=not as_json) as progress:
        report = verify_home(_existing(where.audit, where), witness=witness, kept=notes, jobs=jobs, progress=progress)
    if as_json:
        origins = [
            {
                "origin": each.origin,
                "ok": each.ok,
                "records": each.records,
                "covered": each.covered,
                "damage": [
                    {"kind": d.kind.value, "seq": d.seq, "detail": d.detail, "next": d.next} for d in each.damage
                ],
                "warnings": list(each.warnings),
            }
            for each in report.origins
        ]
        print_json({"ok": report.ok and bool(origins), "origins": origins})
    elif not report.origins:
        typer.echo("nothing was verified: here is no log, no checkpoint and no enrolled origin", err=True)
        typer.echo("if there ought to be, they were deleted: ask a backup or the witness", err=True)
    else:
        for each in report.origins:
            verdict = styled("whole", "good") if each.ok else styled("DAMAGED", "bad")
            typer.echo(f"{safe(each.origin)}: {verdict}, {each.records} records, {each.covered or 0} under a signature")
            for damage in each.damage:
                place = f"record {damage.seq}" if damage.seq is not None else "no single record"
                paragraph(f"{damage.kind.value} at {place}: {safe(damage.detail)}", damage.kind.value, "bad")
                paragraph(f"next: {damage.next}", "next", "bold", indent=4)
            for warning in each.warnings:
                paragraph(f"note: {safe(warning)}", "note", "warn")
    if not report.ok or not report.origins:
        raise typer.Exit(1)


@app.command()
def show(
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="The newest so many records.")] = 40,
    call: Annotated[str | None, typer.Option("--call", help="Only records about this call or request.")] = None,
    conversation: Annotated[str | None, typer.Option("--conversation", help="Only this conversation.")] = None,
    as_json: Json = False,
) -> None:
    """Records of every origin in the order of their times, one line each. Reading proves nothing: see `verify`."""
    from gateway.audit_tools.query import Query
    from gateway.audit_tools.story import in_time

    with audit_read.opened(policies, home, quiet=as_json) as index:
        if call is None:
            found = index.newest(Query(conversation=conversation), last)
        else:
            about = (Query(call_id=call), Query(parent_id=call), Query(request_id=call))
            one = {(each.origin, each.seq): each for query in about for each in index.newest(query, last)}
            found = in_time(one.values())[-last:]
    if as_json:
        plain = ({"time": "", "origin": each.origin, "seq": each.seq, "kind": "not a record"} for each in found)
        audit_read.emit_json([each.record or other for each, other in zip(found, plain, strict=True)])
        return
    audit_read.lines(found)
    if not found:
        typer.echo("no record fits")
        raise typer.Exit(1)


for _command in (audit_read.search, audit_read.call, audit_read.conversation, audit_read.stats, audit_read.tail):
    app.command()(_command)
app.command()(audit_read.export)
app.command()(audit_receipt.receipt)
app.command("check-receipt")(audit_receipt.check_receipt)
app.command()(audit_match.match)
app.command()(audit_reveal.reveal)


@app.command()
def unfinished(policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False) -> None:
    """Calls of which nobody knows whether they took effect. Exit code 1 if there are any."""
    from dataclasses import asdict

    from gateway.office import calls_in
    from gateway.settings import locate

    where = locate(policies, home)
    with progressing("reading the log", wanted=not as_json) as progress:
        known = calls_in(_existing(where.audit, where), progress)
    calls = [call for call in known.values() if call.unfinished]
    if as_json:
        print_json([asdict(call) for call in calls])
    elif not calls:
        typer.echo("every call that began has ended, or was settled")
    else:
        typer.echo(styled(f"{'call':37}  {'outcome':8}  began", "bold"))
        for call in calls:
            typer.echo(f"{safe(call.call_id):37}  {safe(call.outcome or 'none yet'):8}  {safe(call.time)}")
            typer.echo(f"  {safe(call.tool)}, asked by {safe(call.principal)}")
        typer.echo("find out what happened, then: toolgate audit settle CALL --found ... --by ... --why ...")
    if calls:
        raise typer.Exit(1)


@app.command()
def settle(
    call: Call,
    found: Annotated[
        Literal["happened", "did_not_happen", "cannot_tell"], typer.Option("--found", help="What you found out.")
    ],
    by: Annotated[str, typer.Option("--by", help="Who found it out.")],
    why: Annotated[str, typer.Option("--why", help="How it is known.")],
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """Say what a call in doubt really did. What it held is let go, except after `cannot_tell`."""
    from gateway.office import Office, calls_in

    with Office.open(policies, home) as office:
        with progressing("reading the log") as progress:
            known = calls_in(office.home, progress).get(call)
        if known is None or not known.unfinished:
            typer.echo("no such call is in doubt; see `toolgate audit unfinished`", err=True)
            raise typer.Exit(1)
        office.settle(known, found, by=by, why=why)
    typer.echo(f"settled {safe(call)}: {found}")


def _kept(path: Path) -> bytes:
    from gateway.audit.errors import NoteInvalid
    from gateway.audit.note import Checkpoint
    from gateway.domain.errors import UsageError

    try:
        note = path.read_bytes()
        Checkpoint.parse(note.decode("utf-8", "replace").rpartition("\n\n")[0] + "\n")
    except (OSError, NoteInvalid) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{str(path)!a} is no checkpoint ({why}): give a copy of a .ckpt file") from error
    return note


def _existing(audit: Path, where: Any) -> Any:
    from gateway.domain.errors import SettingsError

    if not audit.is_dir():
        raise SettingsError(f"there is no audit log in {audit}: name the deployment's folder with --home")
    return where
