"""`toolgate audit reveal`: what is sealed about one call, for whoever holds the keys; that it was shown is recorded."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from gateway.cli.audit_read import Call, emit_json, opened
from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, paragraph, safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.audit.kept import KeptResults
    from gateway.audit.subjects import SubjectKeys
    from gateway.audit_tools.index import Found


class _Sealed(NamedTuple):
    """A part of a record. `read` gives None once its subject was erased."""

    call_id: str
    place: str
    what: str
    read: Callable[[], object]


def reveal(call_id: Call, policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False) -> None:
    """Show the personal data of a call, and its whole result where that was kept. Recorded, as every look at a secret.

    Exit code 1 if there is nothing, or if any of it cannot be read: changed, lost, or erased.
    """
    from gateway.audit.kept import KeptResults
    from gateway.audit.subjects import SubjectKeys
    from gateway.audit_tools.plain import ascii_json
    from gateway.audit_tools.story import call_at, story_of
    from gateway.domain.event import SecretRevealed
    from gateway.keys import Keys
    from gateway.office import Office

    with Office.open(policies, home) as office:
        where = office.home
        subjects = SubjectKeys(where.keys / "subjects", Keys.open(where.keys / "deployment"))
        kept = KeptResults(where.state / "results", subjects)
        with opened(policies, home, quiet=as_json) as index:
            story = story_of(index, call_at(index, call_id), enrolled_only=True)
        parts = [part for each in (story.own if story else ()) for part in _parts(each, subjects, kept)]
        if not parts:
            typer.echo("nothing is sealed about such a call; see `toolgate audit call`", err=True)
            raise typer.Exit(1)
        account = getpass.getuser()
        office.record(*(SecretRevealed(None, account, call) for call in dict.fromkeys(part.call_id for part in parts)))
        shown = [(part, *_opened(part)) for part in parts]
    if as_json:
        emit_json([{"place": p.place, "what": p.what, "content": content, "why": why} for p, content, why in shown])
    else:
        for part, content, why in shown:
            head = f"{part.place} {part.what}"
            said = why or (content if isinstance(content, str) else ascii_json(content))
            paragraph(f"{head}: {safe(said)}", head, "bold", indent=0)
    if any(why for _, _, why in shown):
        raise typer.Exit(1)


def _opened(part: _Sealed) -> tuple[object, str]:
    """What it holds; or why nobody can say."""
    from gateway.domain.errors import ToolgateError

    try:
        content = part.read()
    except (ToolgateError, ValueError, OSError) as error:
        return None, f"cannot be read: {error}"
    return content, "" if content is not None else "erased, its key is destroyed"


def _parts(found: Found, subjects: SubjectKeys, kept: KeptResults) -> Iterator[_Sealed]:
    from gateway.audit.subjects import personal_place

    record: dict[str, Any] = found.record or {}
    about, place = record.get("call"), f"{found.origin}#{found.seq}"
    call_id = str(about.get("call_id")) if isinstance(about, dict) else ""
    sealed, digest, intent = record.get("personal"), record.get("kept"), record.get("intent_seq")
    if isinstance(sealed, dict) and "sealed" in sealed:
        at = personal_place(str(record.get("kind")), call_id)
        yield _Sealed(call_id, place, "personal", lambda: subjects.read(sealed, at))
    if isinstance(digest, str) and type(intent) is int:
        yield _Sealed(call_id, place, "result", lambda: kept.read(call_id, intent, digest))
