"""Renders tests/adversarial/README.md: each entry of the catalogue, what must happen, and the tests that hold it.

A test belongs to an entry by its name (`test_c073_...`; `test_c004_c014_...` belongs to two), wherever it stands under
tests/. tests/adversarial/catalogue.toml lists the entries; one with `waits` may be without a test and says why. Exits
with 1 where an entry lacks its test.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = ROOT / "tests" / "adversarial" / "catalogue.toml"
TABLE = ROOT / "tests" / "adversarial" / "README.md"
_NAMED = re.compile(r"test((?:_c\d{3})+)(?:_|$)")

_HEAD = """\
# Adversarial catalogue

What a strong reviewer tries against each layer, what must happen, and the test that shows it. The numbers are stable; a
test carries its number in its name. Made by `make table` from catalogue.toml and the tests: edit those, not this file.
"""


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue. `waits` is why it may still be without a test; empty where it may not."""

    number: str
    layer: str
    attack: str
    result: str
    waits: str


def entries() -> list[Entry]:
    """The catalogue, in order."""
    read = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    return [
        Entry(number, layer, line["attack"], line["result"], line.get("waits", ""))
        for layer, lines in read.items()
        for number, line in lines.items()
    ]


def named_tests(root: Path = ROOT / "tests") -> dict[str, list[str]]:
    """For each number (`C073`), the tests named after it as `path::name`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (named := _NAMED.match(node.name)):
                for number in named[1].upper().strip("_").split("_"):
                    found[number].append(f"{path.relative_to(root).as_posix()}::{node.name}")
    return found


def problems(listed: list[Entry], found: dict[str, list[str]]) -> list[str]:
    """What keeps the table from being whole, each with what to do."""
    known = {entry.number for entry in listed}
    return [
        *(f"{e.number} ({e.attack}) has no test: write one" for e in listed if not e.waits and not found.get(e.number)),
        *(f"{e.number} has a test now: delete its `waits`" for e in listed if e.waits and found.get(e.number)),
        *(f"{found[n][0]} names {n}, which is not in catalogue.toml" for n in sorted(set(found) - known)),
    ]


def render(listed: list[Entry], found: dict[str, list[str]]) -> str:
    """The whole file."""
    parts = [_HEAD]
    for layer, group in groupby(listed, key=lambda entry: entry.layer):
        parts.append(f"\n## {layer}\n\n| entry | attack | must happen | held by |\n|---|---|---|---|\n")
        for entry in group:
            held = "<br>".join(f"`{_short(name)}`" for name in found.get(entry.number, []))
            held = held or (f"waits: {entry.waits}" if entry.waits else "**no test**")
            parts.append(f"| {entry.number} | {entry.attack} | {entry.result} | {held} |\n")
    tested = sum(bool(found.get(entry.number)) for entry in listed)
    parts.append(f"\n{tested} of {len(listed)} entries are held by tests.\n")
    return "".join(parts)


def _short(test: str) -> str:
    path, _, name = test.partition("::")
    return f"{path.removesuffix('.py')} {name.removeprefix('test_')}"


def main() -> int:
    """Write the table; 0 when it is whole."""
    listed, found = entries(), named_tests()
    TABLE.write_text(render(listed, found), encoding="utf-8")
    wrong = problems(listed, found)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
