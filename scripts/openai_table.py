"""Renders docs/openai-coverage.md: what is promised about OpenAI's APIs, beside the tests that prove it.

    python -m scripts.openai_table

A figure is the number of test cases that prove a line for one API in one way of asking; the tests themselves are
collected by pytest, so one that is gone is gone from the table. A line that does not exist for an API or a way says why
not; a line that exists and has no proof is an error. tests/unit/test_openai_table.py holds the page fresh.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from scripts.openai_promises import APIS, FILES, SECTIONS, WAYS, Line

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "openai-coverage.md"
COMMAND = "python -m scripts.openai_table"
_TOKENS = {"stream": "streamed", "async stream": "streamed", "streamed": "streamed", "sync": "sync", "async": "async"}


def collected(root: Path = ROOT) -> dict[str, list[str]]:
    """Every test case: function name -> what stands in its brackets."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *FILES]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for line in listed.splitlines():
        _, separator, name = line.partition("::")
        if separator:
            function, _, brackets = name.partition("[")
            found.setdefault(function, []).append(brackets.removesuffix("]"))
    return found


def page(cases: dict[str, list[str]]) -> str:
    """The whole page. Raises LookupError for a test that is not there, and for a cell without proof or reason."""
    out, notes = [_HEAD], Notes()
    for section in SECTIONS:
        out.append(f"## {section.title}\n")
        out.append("| | chat: sync | async | streamed | responses: sync | async | streamed |")
        out.append("|---|---|---|---|---|---|---|")
        out += [_row(line, cases, notes) for line in section.lines]
        out.append("")
    out.append("## Why some cells are empty\n")
    out += [f"{number}. {why}" for why, number in notes.numbers.items()]
    return "\n".join([*out, ""])


class Notes:
    """The reasons that cells give, numbered in the order they are met."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, why: str) -> str:
        return f"n/a ({self.numbers.setdefault(why, len(self.numbers) + 1)})"


def _row(line: Line, cases: dict[str, list[str]], notes: Notes) -> str:
    counted = _count(line, cases)
    cells = []
    for api in APIS:
        for way in WAYS:
            why_not = line.without.get(api) or line.without.get(way) or line.without.get(f"{api} {way}")
            if (why_not is None) == (counted[api, way] == 0):
                raise LookupError(f"{line.promise!r}: {api} {way} needs either a proof or a reason")
            cells.append(notes.mark(why_not) if why_not else str(counted[api, way]))
    return f"| {line.promise} | {' | '.join(cells)} |"


def _count(line: Line, cases: dict[str, list[str]]) -> Counter[tuple[str, str]]:
    """Cases by API and way. A case that names no way is of the line's; one that names neither may be of all."""
    counted: Counter[tuple[str, str]] = Counter()
    for name in line.tests:
        if name not in cases:
            raise LookupError(f"{line.promise!r} is proved by {name}, which is no test")
        for brackets in cases[name]:
            tokens = brackets.split("-")
            ways = [_TOKENS[token] for token in tokens if token in _TOKENS] or list(line.ways)
            for api in [token for token in tokens if token in APIS] or line.apis:
                for way in dict.fromkeys(ways):
                    counted[api, way] += 1
    return counted


_HEAD = """\
# OpenAI: what is promised, and what proves it

Each figure is the number of test cases that prove a line for one API, asked in one way: with a blocking client, with an
awaited one, and streamed with either. `n/a` is where a line cannot exist, for the reason given at the end. The cases of
the loop and of the wrapped client run the real `openai` client over HTTP against this repository's scripted server,
which enforces the API's rules on tools, call ids and missing results. How it works: [openai.md](openai.md).

Made by `python -m scripts.openai_table` from the tests: edit those, not this page.
"""


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(collected()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
