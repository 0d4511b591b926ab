"""What the architecture tests read: the files git knows (or would add), and their syntax trees."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def tracked() -> tuple[str, ...]:
    """Paths relative to the checkout of every file that is, or is about to be, part of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = listed.stdout.decode().split("\0")
    return tuple(sorted(name for name in names if name and (ROOT / name).is_file()))


@dataclass(frozen=True)
class Module:
    """One Python file. `path` is relative to the checkout, with forward slashes."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The syntax tree, parsed once a file."""
        return _parsed(self.path, self.text)

    @property
    def lines(self) -> list[str]:
        """The lines, of which the first is `lines[0]`."""
        return self.text.splitlines()


@cache
def _parsed(path: str, text: str) -> ast.Module:
    return ast.parse(text, filename=path)


@cache
def modules(*roots: str) -> tuple[Module, ...]:
    """Every Python file beneath the given top folders."""
    return tuple(
        Module(path, (ROOT / path).read_text(encoding="utf-8"))
        for path in tracked()
        if path.endswith(".py") and path.split("/")[0] in roots
    )


def called_name(node: ast.Call) -> str:
    """`f` for `f(...)` and for `a.b.f(...)`; empty where the callee has no name."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def report(found: list[str], rule: str) -> str:
    """The message of a failing check: the rule, then the places."""
    return rule + "\n  " + "\n  ".join(found)
