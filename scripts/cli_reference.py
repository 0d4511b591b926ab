"""Renders docs/cli.md from the commands' own help, at 80 columns: what `toolgate ... --help` prints, on one page.

python -m scripts.cli_reference          # docs/cli.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from gateway.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"
COMMAND = "python -m scripts.cli_reference"
WIDTH = 80

_HEAD = f"""\
# The `toolgate` command

Exit codes: 0 done; 1 the answer is no (damage, calls in doubt, no such request, nothing to release); 2 the command was
misused or could not do its work, with a line that says what to do. `--json` prints for programs. Colour only on a
terminal without `NO_COLOR`. Text from models and tools is shown with control, bidi and invisible characters escaped.

Made by `{COMMAND}` from the commands' help: edit that, not this page.
"""


def commands() -> Iterator[tuple[str, ...]]:
    """Every group and command by its words (`("toolgate", "audit", "verify")`), in the order of the help."""
    yield from _below(("toolgate",), get_command(app))


def _below(words: tuple[str, ...], command: object) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _below((*words, name), inner)


def help_text(words: tuple[str, ...]) -> str:
    """What `--help` prints, at 80 columns."""
    shown = CliRunner().invoke(
        app, [*words[1:], "--help"], prog_name=words[0], terminal_width=WIDTH, max_content_width=WIDTH
    )
    if shown.exit_code != 0:
        raise RuntimeError(f"{' '.join(words)} --help failed: {shown.output}")
    return "\n".join(line.rstrip() for line in shown.output.strip().splitlines())


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for words in commands():
        depth = "##" if len(words) < 3 else "###"
        parts.append(f"\n{depth} {' '.join(words)}\n\n```text\n{help_text(words)}\n```\n")
    return "".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
