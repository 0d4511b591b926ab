"""`toolgate audit receipt` and `check-receipt`: a proof of one call for somebody who holds nothing but a public key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.audit_read import Call, emit_json, opened
from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, paragraph, safe, styled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.audit.note import Verifier
    from gateway.audit_tools.check import Checked, Vote

KEY = "Public key of an origin: its .pub file, or the line in it. For each origin that you hold."


def receipt(
    call_id: Call,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write. Default: standard output.")
    ] = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """A portable proof of one call: its records, their inclusion proofs and the signed checkpoints."""
    from gateway.audit.origin import load_keyrings
    from gateway.audit_tools.check import check
    from gateway.audit_tools.plain import ascii_json
    from gateway.audit_tools.receipt import NoReceipt, make
    from gateway.audit_tools.story import Story, call_at, story_of
    from gateway.settings import locate

    where = locate(policies, home)
    with opened(policies, home) as index:
        call_id = call_at(index, call_id)
        story = story_of(index, call_id, enrolled_only=True) or Story(call_id, (), ())
    keyrings = load_keyrings(where.trust)
    made = make(story, where.audit, where.checkpoints, where.trust, keyrings, _approvers(policies))
    raw = (ascii_json(made, indent=1) + "\n").encode()
    checked = check(raw, {name: keys.first for name, keys in keyrings.items()})
    if not checked.ok:
        raise NoReceipt(
            call_id, f"{'; '.join(checked.wrong) or 'nothing of it is proved'}; run `toolgate audit verify`"
        )
    if out is None:
        sys.stdout.write(raw.decode())
        return
    out.write_bytes(raw)
    origins = ", ".join(sorted(checked.signed))
    typer.echo(f"wrote {safe(out)}: {len(checked.proved)} records, provable with the keys of {safe(origins)}")


def check_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt.", metavar="FILE")],
    key: Annotated[list[str], typer.Option("--key", help=KEY)],
    approver: Annotated[
        list[str] | None, typer.Option("--approver", help="An approver's key that you hold: ID=ed25519:BASE64.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a receipt with public keys alone: no log, no policy, no network. Exit code 1 names what is wrong."""
    from gateway.audit_tools.check import check
    from gateway.audit_tools.receipt_form import MAX_RECEIPT_BYTES
    from gateway.domain.errors import UsageError

    keys = {each.name: each for each in map(_key, key)}
    if not file.is_file():
        raise UsageError(f"there is no receipt {str(file)!a}")
    with file.open("rb") as receipt_file:
        checked = check(receipt_file.read(MAX_RECEIPT_BYTES + 1), keys, dict(map(_approver, approver or [])))
    if as_json:
        emit_json(_as_json(checked))
    else:
        _tell(checked)
    if not checked.ok:
        raise typer.Exit(1)


def _tell(checked: Checked) -> None:
    from gateway.audit_tools.facts import facts_of
    from gateway.audit_tools.plain import said

    if not checked.ok:
        typer.echo(f"{styled('REFUSED', 'bad')}: this receipt proves nothing")
        for why in checked.wrong or ["no record of it is proved by a key you gave"]:
            typer.echo(f"  {safe(why)}")
        return
    typer.echo(f"{styled('proved', 'good')}: {safe(checked.call_id)}")
    for origin, seq, record in checked.proved:
        facts = facts_of(record)
        typer.echo(f"  {safe(origin)}#{seq}  {safe(record.get('time', ''))}  {safe(facts.kind)}")
        text = said(facts, record)
        if text:
            typer.echo(f"    {text}")
        for name, value in _details(record):
            paragraph(f"{name}: {value}", indent=4)
    for vote in checked.votes:
        typer.echo(f"  {safe(vote.verdict)} by {safe(vote.voter)}: {_vouched(vote)}")
    for origin, size in sorted(checked.signed.items()):
        typer.echo(f"  signed by {safe(origin)} over its first {size} records")
    for origin, seq in checked.unproved:
        typer.echo(f"  {styled('not proved', 'warn')}: {safe(origin)}#{seq}, give that origin's key with --key")
    for note in checked.notes:
        typer.echo(f"  {styled('note', 'warn')}: {safe(note)}")


def _details(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a reader of a proof asks for first: what was done, under which policy, and what came of it."""
    from gateway.audit_tools.plain import shown

    call = record.get("call")
    policy = call.get("policy_digest") if isinstance(call, dict) else None
    about = {"arguments": record.get("arguments"), "result": record.get("preview")}
    if record.get("kind") == "call.intent":
        about |= {"granted by": record.get("grant"), "policy": policy, "contract": record.get("contract_digest")}
    for name, value in about.items():
        if value:
            yield name, shown(value)


def _vouched(vote: Vote) -> str:
    dev = ", a --dev key" if vote.dev else ""
    if not vote.verified:
        return f"on the log's word; its signature could not be checked{dev}"
    return f"signature good, by {'the key you hold' if vote.known else f'the key with id {safe(vote.key_id)}'}{dev}"


def _as_json(checked: Checked) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "ok": checked.ok,
        "call": checked.call_id,
        "wrong": checked.wrong,
        "notes": checked.notes,
        "proved": [{"origin": origin, "seq": seq, "record": record} for origin, seq, record in checked.proved],
        "not_proved": [{"origin": origin, "seq": seq} for origin, seq in checked.unproved],
        "signed_sizes": checked.signed,
        "votes": [asdict(vote) for vote in checked.votes],
    }


def _key(given: str) -> Verifier:
    from gateway.audit.errors import NoteInvalid
    from gateway.audit.note import Verifier
    from gateway.domain.errors import UsageError

    try:
        return Verifier.parse(
            given if "+" in given and "\n" not in given and not Path(given).exists() else Path(given).read_text("utf-8")
        )
    except (NoteInvalid, UnicodeDecodeError, FileNotFoundError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else error
        raise UsageError(f"{given!a} is no public key of an origin ({why}): give its .pub file") from error


def _approver(given: str) -> tuple[str, bytes]:
    import base64
    import binascii

    from gateway.domain.errors import UsageError

    name, _, key = given.partition("=")
    try:
        raw = base64.b64decode(key.removeprefix("ed25519:"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not name or len(raw) != 32:
        raise UsageError(f"{given!a} is no approver's key: write ID=ed25519:BASE64, as in approvers.yaml")
    return name, raw


def _approvers(policies: Path) -> dict[str, bytes]:
    """Public keys by id, from the policy folder if it can be read: without them a receipt proves no less of the log."""
    from gateway.clear.votes import public_bytes
    from gateway.domain.errors import PolicyError
    from gateway.policy.loader import load

    try:
        return {each.id: public_bytes(each) for each in load(policies, locked=False).approvers.approvers}
    except (PolicyError, OSError) as error:
        typer.echo(f"toolgate: the receipt holds no approvers' keys: {safe(error)}", err=True)
        return {}
