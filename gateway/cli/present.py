"""What the commands print: plain text for 80 columns, with or without colour; untrusted text always escaped (I9)."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

Policies = Annotated[
    Path, typer.Option("--policies", "-p", envvar="TOOLGATE_POLICIES", help="The policy folder.", show_default=True)
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="TOOLGATE_HOME",
        help="Where state, keys and log live. Default: .toolgate beside the policy folder.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DEFAULT_POLICIES = Path("policies")
WIDTH = 80


class Group(TyperGroup):
    """Lists its commands with their whole first sentence, folded; click would cut it off at the edge."""

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(limit=1000)) for name, each in self.commands.items()])


_COLOURS = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}


def styled(text: str, style: str) -> str:
    """Colour only where somebody sees it: a terminal, and no NO_COLOR (no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m"


def safe(value: object) -> str:
    """Untrusted text, one line, with control, bidi and invisible characters shown escaped."""
    from gateway.clear.visible import visible

    return visible(str(value))


def print_json(value: object) -> None:
    """ASCII JSON: whatever it holds, it does nothing to a terminal."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=True, default=str))


def table(rows: Iterable[tuple[str, ...]], head: tuple[str, ...]) -> None:
    """Columns as wide as they must be; the last one is not cut."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        typer.echo(styled(text, "bold") if number == 0 else text)


def paragraph(text: str, head: str = "", style: str = "", indent: int = 2, hang: int = 2) -> None:
    """Text that is safe to print, folded at 80 columns, what goes on `hang` further in; the word `head` in a style."""
    first, rest = " " * indent, " " * (indent + hang)
    folded = textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    for number, line in enumerate(folded):
        typer.echo(line.replace(head, styled(head, style), 1) if head and number == 0 else line)


def problem(text: str) -> None:
    """To standard error, escaped line by line."""
    for number, line in enumerate(text.splitlines() or [""]):
        typer.echo(f"{'toolgate: ' if number == 0 else '  '}{safe(line)}", err=True)
