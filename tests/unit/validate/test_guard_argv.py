"""The argv guard: a listed program with listed flags, really run, without a shell (CWE-78, CWE-88)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.documents import Contract
from gateway.policy.guard_documents import ArgvGuard, Program
from gateway.validate.guards import Argv, GuardRefused, Guards
from tests.unit.validate.world import World, contract, passed, properties, refused

GREP = {
    "path": "/usr/bin/grep",
    "flags": {"-F": "none", "-i": "none", "-m": "integer", "--max-count": "integer", "--color": ["never", "auto"]},
    "operands": "text",
    "max_operands": 1,
}
ECHO = {"path": "/bin/echo", "operands": "text", "max_operands": 3}


def guards() -> Guards:
    return Guards({"c": ArgvGuard(kind="argv", programs={n: read(p) for n, p in (("grep", GREP), ("echo", ECHO))})}, {})


def read(what: dict[str, Any]) -> Program:
    return Program.model_validate(
        what
        | {k: {f: tuple(v) if isinstance(v, list) else v for f, v in what[k].items()} for k in what if k == "flags"}
    )


def argv(*words: object) -> Argv:
    handed = guards().apply({"c": list(words)})["c"]
    assert isinstance(handed, Argv)
    return handed


def test_a_program_and_its_flags() -> None:
    assert argv("grep", "-F", "-m", "3", "a b") == ("/usr/bin/grep", "-F", "-m", "3", "a b")
    assert argv("grep", "--max-count=3", "--color", "never", "x") == (
        "/usr/bin/grep",
        "--max-count=3",
        "--color",
        "never",
        "x",
    )
    assert argv("echo") == ("/bin/echo",)


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        ["ls"],
        ["/usr/bin/grep", "x"],
        ["grep;id", "x"],
        ["GREP", "x"],
        ["grep", "a", "b"],
        ["grep", "-r", "x"],
        ["grep", "--file=/etc/passwd", "x"],
        ["grep", "-f", "/etc/passwd"],
        ["grep", "-Fi", "x"],
        ["grep", "--", "-x"],
        ["grep", "-"],
        ["grep", "-m", "x"],
        ["grep", "-m"],
        ["grep", "-m", "-1"],
        ["grep", "-m=3", "x"],
        ["grep", "-m3", "x"],
        ["grep", "--max-count=", "x"],
        ["grep", "--max", "3"],
        ["grep", "-F=1", "x"],
        ["grep", "--color=always", "x"],
        ["grep", "x\n"],
        ["grep", "x\0y"],
        ["grep", "\u202ex"],
        ["grep", ""],
        ["grep", 7],
        ["grep", None],
        "grep x",
        7,
        ["grep", "x" * 5000],
        ["echo", "--help"],
        ["echo", "a", "-n"],
        ["echo", "\u2010n", "-e"],
        ["grep", "-m", "\u0663"],
    ],
)
def test_what_is_no_listed_command(words: object) -> None:
    with pytest.raises(GuardRefused):
        guards().apply({"c": words})


@pytest.mark.parametrize(
    "text",
    [
        "; touch {}",
        "$(touch {})",
        "`touch {}`",
        "| touch {}",
        "&& touch {}",
        "x' ; touch {} ; '",
        '"; touch {}; "',
        "> {}",
        "${{IFS}}touch${{IFS}}{}",
        "<(touch {})",
        "*",
        "~",
        "!!",
    ],
)
def test_an_operand_is_text_and_nothing_else(tmp_path: Path, text: str) -> None:
    canary = tmp_path / "canary"
    word = text.format(canary)
    done = subprocess.run(argv("echo", word), capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == word + "\n"
    assert not canary.exists()


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/bin/sh", "runs"),
        ("/bin/bash", "runs"),
        ("/usr/bin/env", "runs"),
        ("/usr/bin/python3.11", "runs"),
        ("/usr/bin/find", "runs"),
        ("/usr/bin/xargs", "runs"),
        ("/usr/bin/ssh", "runs"),
        ("/usr/bin/sudo", "runs"),
        ("/usr/../bin/ls", "without"),
        ("ls", "pattern"),
        ("/bin/ls -l", "pattern"),
        ("", "pattern"),
    ],
)
def test_what_a_policy_may_not_list(path: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Program(path=path)


def test_a_command_at_step_4() -> None:
    what = contract(
        properties(("c",), c={"type": "array", "items": {"type": "string"}}),
        guards={"c": {"kind": "argv", "programs": {"echo": ECHO}}},
    )
    assert isinstance(what, Contract)
    judged = passed(World(what).judge({"c": ["echo", "a"]}))
    assert judged.capabilities == {"c": ("/bin/echo", "a")}
    assert refused(World(what).judge({"c": ["sh", "-c", "id"]})).message == "c: must begin with one of: echo."
