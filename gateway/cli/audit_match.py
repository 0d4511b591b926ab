"""`toolgate audit match`: whoever holds the deployment's key shows what a keyed digest in the log stands for."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated, Any

import typer

from gateway.cli.audit_read import Call, emit_json, opened
from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, safe, styled


def match(
    call_id: Call,
    parameter: Annotated[str, typer.Argument(help="The secret parameter.", metavar="PARAMETER")],
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    as_json: Json = False,
) -> None:
    """Whether a value is the one that a call's keyed digests stand for. Exit code 1 if it is not, in any record.

    The value is read from standard input, or asked for on a terminal: as text, and as the JSON it may be.
    """
    from gateway.audit_tools.story import call_at, story_of
    from gateway.domain.errors import SettingsError
    from gateway.keys import Keys
    from gateway.settings import check_custody, locate

    where = locate(policies, home)
    check_custody(where)
    keys = Keys.open(where.keys / "deployment")
    with opened(policies, home, quiet=as_json) as index:
        story = story_of(index, call_at(index, call_id), enrolled_only=True)
    places = {f"{each.origin}#{each.seq}": _digest(each.record, parameter) for each in story.own} if story else {}
    digests = {place: digest for place, digest in places.items() if digest is not None}
    if not digests:
        typer.echo(f"no record of such a call holds a keyed digest for {safe(parameter)}", err=True)
        raise typer.Exit(1)
    foreign = [place for place, digest in digests.items() if not keys.made(digest)]
    if foreign:
        raise SettingsError(
            f"{keys.folder} lacks the key of {', '.join(foreign)}. Restore it from a backup of the keys."
        )
    forms = _forms(_value())
    found = {
        place: any(keys.matches(form, digest, domain=b"argument") for form in forms)
        for place, digest in digests.items()
    }
    if as_json:
        emit_json({"parameter": parameter, "matches": found})
    else:
        for place, same in found.items():
            said = styled("the value that was given", "good") if same else styled("ANOTHER value", "bad")
            typer.echo(f"{place}: {safe(parameter)} is {said}")
    if not all(found.values()):
        raise typer.Exit(1)


def _digest(record: dict[str, Any] | None, parameter: str) -> str | None:
    arguments = record.get("arguments") if record is not None else None
    masked = arguments.get(parameter) if isinstance(arguments, dict) else None
    digest = masked.get("$hmac") if isinstance(masked, dict) else None
    return digest if isinstance(digest, str) else None


def _value() -> str:
    """Never from the command line, where every other process could read it."""
    from gateway.domain.errors import UsageError

    try:
        return getpass.getpass("value: ") if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError("the value is no UTF-8 text, so no argument was ever equal to it") from error


def _forms(value: str) -> list[bytes]:
    import orjson

    from gateway.domain.canonical import NotCanonical, canonical

    text = canonical(value)
    try:
        return [text, canonical(orjson.loads(value))]
    except (orjson.JSONDecodeError, NotCanonical):
        return [text]
