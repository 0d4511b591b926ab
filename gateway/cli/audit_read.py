"""Reading the log: search, the story of a call, a conversation, figures, following it, exporting it."""

from __future__ import annotations

import select
import shutil
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.cli.present import DEFAULT_POLICIES, WIDTH, Json, Policies, Root, styled
from gateway.cli.progress import progressing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.audit_tools.index import Found, Index
    from gateway.audit_tools.query import Query
    from gateway.audit_tools.story import Story

Call = Annotated[
    str, typer.Argument(help="The call's id, its request's, or a record's place: ORIGIN#NUMBER.", metavar="CALL")
]
Principal = Annotated[str | None, typer.Option("--principal", help="Who asked, or for whom.")]
Tool = Annotated[str | None, typer.Option("--tool", help="This tool.")]
Decision = Annotated[
    str | None,
    typer.Option("--decision", help="permitted, released, failed, unknown, denied, parked, would_deny, approve, ..."),
]
Reason = Annotated[str | None, typer.Option("--reason", help="This reason code.")]
Since = Annotated[str | None, typer.Option("--since", help="From then on: 2h, 3d, 2027-01-15, 2027-01-15T08:00.")]
Until = Annotated[str | None, typer.Option("--until", help="Up to then. Times are UTC.")]
Text = Annotated[str | None, typer.Option("--text", help="Words that all occur.")]
Request = Annotated[str | None, typer.Option("--approval", help="About this request for approval.")]
Conversation = Annotated[str | None, typer.Option("--conversation", help="In this conversation.")]
POLL_S = 0.5


def search(
    principal: Principal = None,
    tool: Tool = None,
    decision: Decision = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    approval: Request = None,
    conversation: Conversation = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="The newest so many.")] = 40,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    as_json: Json = False,
) -> None:
    """Records that meet every condition, over all origins, oldest first. Exit code 1 if there are none."""
    query = _query(principal, tool, decision, reason, since, until, text, approval, conversation)
    with opened(policies, home, quiet=as_json) as index:
        found = index.newest(query, limit)
    if as_json:
        emit_json([each.as_json() for each in found])
    else:
        lines(found)
    if not found:
        if not as_json:
            typer.echo("no record fits")
        raise typer.Exit(1)


def call(call_id: Call, policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False) -> None:
    """The whole story of one call: request, votes, intent, outcome, settlement, time per step, and calls inside it."""
    from gateway.audit_tools.story import call_at, story_of

    with opened(policies, home, quiet=as_json) as index:
        story = story_of(index, call_at(index, call_id))
    if story is None:
        typer.echo("the log holds no such call; see `toolgate audit search`", err=True)
        raise typer.Exit(1)
    if as_json:
        emit_json(_story_json(story))
        return
    from gateway.cli.audit_story import story_lines

    for line in story_lines(story):
        typer.echo(line)
    _say_untrusted(list(story.everything()))


def conversation(
    name: Annotated[str, typer.Argument(help="The conversation's name.", metavar="CONVERSATION")],
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    as_json: Json = False,
) -> None:
    """Everything that happened in one conversation, as a timeline."""
    from gateway.audit_tools.story import conversation as conversation_of

    with opened(policies, home, quiet=as_json) as index:
        found, clipped = conversation_of(index, name)
    if as_json:
        emit_json({"conversation": name, "clipped": clipped, "records": [each.as_json() for each in found]})
    elif found:
        if clipped:
            typer.echo("older records are left out; narrow it with `toolgate audit search --conversation`")
        lines(found)
    else:
        typer.echo("the log holds no such conversation", err=True)
    if not found:
        raise typer.Exit(1)


def stats(
    since: Since = None,
    until: Until = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    as_json: Json = False,
) -> None:
    """Calls, denials by reason, approvals, and the time each step took, by whole hours."""
    from gateway.audit_tools.figures import figures

    query = _query(since=since, until=until)
    with opened(policies, home, quiet=as_json) as index:
        found = figures(index, query.since, query.until)
    if as_json:
        emit_json(found.as_json())
        return
    from gateway.cli.audit_story import figure_lines

    for line in figure_lines(found):
        typer.echo(line)


def tail(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as records come, until interrupted.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, max=100_000, help="Begin with the newest so many.")] = 10,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """The newest records, and with -f those to come, as long as somebody reads them."""
    from gateway.audit_tools.query import Query
    from gateway.audit_tools.tail import Follower

    _, audit, _ = _where(policies, home)
    with opened(policies, home, quiet=as_json) as index:
        found = index.newest(Query(), last) if last else []
        follower = Follower(audit, _enrolled(policies, home), index.reached())
    try:
        while True:
            if as_json:
                for each in found:
                    _line_json(each)
            else:
                lines(found, legend=False)
            sys.stdout.flush()
            if not follow:
                return
            if _read_no_more(POLL_S):
                return
            found = follower.fresh()
    except KeyboardInterrupt:
        return


def export(
    form: Annotated[
        Literal["jsonl", "csv", "ocsf"], typer.Option("--format", help="JSON Lines, a table, or OCSF events.")
    ],
    principal: Principal = None,
    tool: Tool = None,
    decision: Decision = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    approval: Request = None,
    conversation: Conversation = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
) -> None:
    """Every record that meets the conditions, oldest first, on standard output. A copy is no proof: see `receipt`."""
    from gateway.audit_tools.export import exported

    query = _query(principal, tool, decision, reason, since, until, text, approval, conversation)
    written = 0
    with opened(policies, home) as index, progressing("exporting", wanted=not sys.stdout.isatty()) as progress:
        for line in exported(index.each(query), form):
            sys.stdout.write(line + "\n")
            written += 1
            if progress is not None and written % 1_000 == 0:
                progress(0, 0, written)


def _read_no_more(seconds: float) -> bool:
    """Waits so long, or until nobody is left to read standard output, as after `| head`."""
    reader = select.poll()
    reader.register(sys.stdout.fileno(), 0)
    return bool(reader.poll(seconds * 1000))


# shared with the commands beside these


@contextmanager
def opened(policies: Path, home: Path | None, *, quiet: bool = False) -> Iterator[Index]:
    """The index of a deployment, caught up; `quiet`: for a program. Raises SettingsError, IndexUnavailable."""
    from gateway.audit_tools.index import Index

    state, audit, _ = _where(policies, home)
    with progressing("indexing", wanted=not quiet) as progress:
        index = Index.open(state, audit, _enrolled(policies, home), progress)
    with index:
        if index.temporary:
            typer.echo(f"toolgate: {state} cannot be written, so the index is made for this time only", err=True)
        yield index


def lines(found: list[Found], legend: bool = True) -> None:
    """One line a record; on a terminal, what is wider than it goes on in the next line."""
    from gateway.audit_tools.plain import parts_of

    parts = [parts_of(each) for each in found]
    widest = max((len(place) for _, place, _, _ in parts), default=0)
    narrow = min(shutil.get_terminal_size().columns, WIDTH) if sys.stdout.isatty() else 0
    for time_of_day, place, kind, text in parts:
        style = {"call.denied": "bad", "call.outcome": "good"}.get(kind, "dim")
        head = f"{time_of_day}  {place:{widest}}  "
        if narrow and len(head) + 20 + len(text) > narrow:
            pad = " " * 14
            folded = textwrap.wrap(f"{time_of_day}  {place}  {kind}", narrow, subsequent_indent=pad)
            folded += textwrap.wrap(text, narrow, initial_indent=pad, subsequent_indent=pad)
            typer.echo("\n".join(folded).replace(kind, styled(kind, style), 1))
        else:
            typer.echo(f"{head}{styled(kind.ljust(18), style)}  {text}".rstrip())
    if legend:
        _say_untrusted(found)


def emit_json(value: object) -> None:
    from gateway.audit_tools.plain import ascii_json

    typer.echo(ascii_json(value, indent=2))


def _say_untrusted(found: list[Found]) -> None:
    if not all(each.enrolled for each in found):
        typer.echo(f"{styled('!', 'bad')} marks records of origins that nobody enrolled: they prove nothing")


def _line_json(found: Found) -> None:
    from gateway.audit_tools.plain import ascii_json

    typer.echo(ascii_json(found.as_json()))


def _story_json(story: Story) -> dict[str, Any]:
    return {
        "call": story.call_id,
        "clipped": story.clipped,
        "records": [each.as_json() for each in story.own],
        "children": [_story_json(child) for child in story.children],
    }


def _query(
    principal: str | None = None,
    tool: str | None = None,
    decision: str | None = None,
    reason: str | None = None,
    since: str | None = None,
    until: str | None = None,
    text: str | None = None,
    approval: str | None = None,
    conversation: str | None = None,
) -> Query:
    from gateway.audit_tools.facts import DECISIONS
    from gateway.audit_tools.moment import LATEST_US, moment
    from gateway.audit_tools.query import Query, words
    from gateway.domain.errors import UsageError

    if text is not None and not words(text):
        raise UsageError(f"--text {text!a} holds no letter or digit to look for")
    if decision is not None and decision not in DECISIONS:
        raise UsageError(f"{decision!a} is no decision: use one of {', '.join(DECISIONS)}")
    now_us = time.time_ns() // 1000
    return Query(
        principal=principal,
        tool=tool,
        decision=decision,
        reason=reason,
        conversation=conversation,
        request_id=approval,
        text=text,
        since=0 if since is None else moment(since, now_us),
        until=LATEST_US if until is None else moment(until, now_us),
    )


def _where(policies: Path, home: Path | None) -> tuple[Path, Path, Path]:
    """The state, the audit and the trust folder. Raises SettingsError where there is no log."""
    from gateway.domain.errors import SettingsError
    from gateway.settings import locate

    where = locate(policies, home)
    if not where.audit.is_dir():
        raise SettingsError(f"there is no audit log in {where.audit}: name the deployment's folder with --home")
    return where.state, where.audit, where.trust


def _enrolled(policies: Path, home: Path | None) -> frozenset[str]:
    from gateway.audit.origin import load_keyrings

    return frozenset(load_keyrings(_where(policies, home)[2]))
