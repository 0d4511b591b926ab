"""`argv`: programs really run, without a shell, in an empty folder; output and folder tell whether text stayed text.

Without a guard nothing is run: a list of attacks holds `wget` and worse. What a shell would make of the line is read
from its operators, and what a program would, from a first word or a flag that nobody listed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.guards.trial import Data, Guarded, Result, attack, serve
from gateway.policy.guard_documents import ArgvGuard, Program
from gateway.validate.guards import Argv

ECHO = "/bin/echo"
GUARD = ArgvGuard(
    kind="argv",
    programs={"say": Program(path=ECHO, flags={"-n": "none"}, operands="text", max_operands=64)},
)
_SHELL = re.compile(r"[;&|`$<>(){}\[\]*?~#!'\"\\\n\r]")
CANARY = "canary"
AIMED = (
    ";touch canary",
    "$(touch canary)",
    "`touch canary`",
    "|touch canary",
    "&&touch canary",
    "||touch canary",
    "&touch canary",
    ">canary",
    "x>canary",
    "'\"`touch canary`\"'",
    "\ntouch canary",
    "${IFS}touch${IFS}canary",
    "<(touch canary)",
    "--help",
    "--version",
    "-e",
    "-ne",
    "-E",
    "--",
    "-",
    "x\0y",
)


def measure(data: Data) -> Result:
    """Each payload as the program, split into words, and as an operand."""
    result = Result("argv")
    guarded = Guarded(GUARD)
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:

        def ran(got: object) -> str:
            assert isinstance(got, Argv)
            words = list(got[1:])
            while words and words[0] == "-n":  # echo takes it as a flag there, and as text after a first operand
                del words[0]
            if got[0] != ECHO:
                return f"runs {got[0]}"
            done = subprocess.run(got, capture_output=True, cwd=folder, env={}, timeout=10, check=False)
            if done.stdout.removesuffix(b"\n") != " ".join(words).encode("utf-8", "surrogateescape"):
                return "the program read text as something else"
            if os.listdir(folder):
                shutil.rmtree(folder)
                Path(folder).mkdir()
                return "a file was made"
            return ""

        def would(value: object) -> str:
            assert isinstance(value, list)
            operands = " ".join(value[1:])
            if value[0] != "say":
                return f"runs {value[0]}"
            flags = [word for word in value[1:] if word.startswith("-") and word != "-n"]
            return "a flag" if flags else "the shell" if _SHELL.search(operands) else ""

        values: list[object] = []
        for payload in (*data.payloads["command"], *AIMED):
            values += [
                payload.split() or [payload],
                ["say", payload],
                ["say", f"x{payload}"],
                ["say", *payload.split()[:60]],
            ]
        attack(result, guarded, values, would, ran)
        plain: list[object] = [["say", value] for value in data.harmless]
        plain += [["say", "-n", *value.split()[:60]] for value in data.arguments if value.strip()]
        serve(result, guarded, plain, lambda value, got: _kept(value, got) or ran(got))
    return result


def _kept(value: object, got: object) -> str:
    assert isinstance(value, list)
    assert isinstance(got, Argv)
    return "" if [ECHO, *value[1:]] == list(got) else "changed"
