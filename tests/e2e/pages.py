"""Follows a page of the documentation as a reader would: writes its files, types its commands, compares the output.

Guarantee: what a page shows is what happens. Blocks say what they are after their language:

    ```yaml file=policies/tools/refund.yaml     the file is written
    ```csv append=policies/policy.csv           the lines are added to it
    ```diff file=agent.py                       the old lines stand in the file, in order; the new ones replace them
    ```console                                  `$ ` lines are typed, the others are what they print (exit=1: the last
                                                command ends with 1); a line `...` stands for any lines

Times, ids, digests and host names of a page are examples: they match others of their kind, and an id printed once is
the same id wherever the page names it again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source import ROOT

_FENCE = re.compile(r"^```(\S*)(.*)$")
_ID = re.compile(r"\b(?:req|call|conversation)_[0-9a-f]{32}\b|\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b")
_LOOSE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "<instant>"),
    (re.compile(r"\d\d:\d\d:\d\d\.\d{3}"), "<time>"),
    (re.compile(r"\bgateway-[a-z0-9-]+"), "gateway-<host>"),
    (re.compile(r"hmac-sha256:[0-9a-f]+:[0-9a-f]+"), "<hmac>"),
    (_ID, "<id>"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True)
class Block:
    """One fenced block. `options` are the `key=value` words after the language; `line` is its first line."""

    language: str
    options: dict[str, str]
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    found: list[Block] = []
    opened: tuple[str, dict[str, str], int] | None = None
    held: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            held.append(line)
        elif opened is None:
            options = dict(word.split("=", 1) for word in fence[2].split() if "=" in word)
            opened, held = (fence[1], options, number + 1), []
        else:
            found.append(Block(opened[0], opened[1], "\n".join(held) + "\n", opened[2]))
            opened = None
    assert opened is None, f"{page}: a block is not closed"
    return found


def before_and_after(diff: str) -> tuple[str, str]:
    """The two texts of a diff block: lines begin with a space, `-` or `+` (an empty line is unchanged)."""
    lines = diff.splitlines()
    old = [line[1:] for line in lines if not line.startswith("+")]
    new = [line[1:] for line in lines if not line.startswith("-")]
    return "\n".join(old) + "\n", "\n".join(new) + "\n"


SHORT = 12  # characters of a digest that are enough to name it


class Reader:
    """Somebody at a shell in `folder`, in which `toolgate` and `python` are this checkout's."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder / "desk"
        self.folder.mkdir()
        tools = folder / "bin"
        tools.mkdir()
        for name, module in (("toolgate", "-m gateway.cli "), ("python", "")):
            (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module}"$@"\n')
            (tools / name).chmod(0o755)
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("TOOLGATE_POL", "TOOLGATE_HOME"))
        }
        self._environment = kept | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder / "home"),
            "COLUMNS": "80",
            "NO_COLOR": "1",
            **environment,
        }
        self._known: dict[str, str] = {}

    def follow(self, page: Path) -> None:
        """The whole page, top to bottom."""
        for block in blocks(page):
            self.take(block, where=f"{page.relative_to(ROOT)}:{block.line}")

    def take(self, block: Block, where: str = "") -> None:
        if name := block.options.get("file"):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = block.text
            if block.language == "diff":
                text = self._patched(path, text, where)
            path.write_text(text)
        elif name := block.options.get("append"):
            with (self.folder / name).open("a") as file:
                file.write(block.text)
        elif block.language == "console":
            self._type(block, where)

    def type(self, command: str) -> str:
        """What a command prints; it must succeed."""
        done = self._run(command)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        if exported := re.fullmatch(r"export (\w+)=(\S+)", command):
            self._environment[exported[1]] = exported[2]
        return subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )

    def _patched(self, path: Path, diff: str, where: str) -> str:
        old, new = before_and_after(diff)
        text = path.read_text()
        assert text.count(old) == 1, f"{where}: these lines do not stand in {path.name} (once):\n{old}"
        return text.replace(old, new)

    def _type(self, block: Block, where: str) -> None:
        commands: list[tuple[str, list[str]]] = []
        for line in block.text.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            elif commands and commands[-1][0].endswith("\\") and not commands[-1][1]:
                commands[-1] = (commands[-1][0][:-1] + line, [])
            else:
                commands[-1][1].append(line)
        for number, (command, expected) in enumerate(commands):
            wanted = int(block.options.get("exit", "0")) if number == len(commands) - 1 else 0
            typed = command
            for shown, real in self._known.items():
                typed = typed.replace(shown, real)
            done = self._run(typed)
            said = f"{where}: $ {typed}\n{done.stdout}{done.stderr}"
            assert done.returncode == wanted, said
            self._compare(expected, (done.stdout or done.stderr).splitlines(), said)

    def _compare(self, expected: list[str], printed: list[str], said: str) -> None:
        if not expected:
            return
        pattern = "".join(".*" if line.strip() == "..." else re.escape(_loose(line)) + "\n" for line in expected)
        assert re.fullmatch(pattern, "".join(_loose(line) + "\n" for line in printed), re.DOTALL), (
            f"{said}\nbut the page says:\n" + "\n".join(expected)
        )
        if "..." not in {line.strip() for line in expected}:
            shown, real = (_ID.findall("\n".join(lines)) for lines in (expected, printed))
            for one, other in zip(shown, real, strict=True):
                self._known |= {one: other, one[:SHORT]: other[:SHORT]} if len(one) == 64 else {one: other}


def _loose(line: str) -> str:
    for pattern, instead in _LOOSE:
        line = pattern.sub(instead, line)
    return line.strip()
