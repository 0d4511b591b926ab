"""`argv`: a listed program with listed flags, run without a shell (CWE-78, CWE-88).

Nothing that begins with `-` is an operand, whatever stands before it, so no text becomes a flag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import final

from gateway.policy.guard_documents import ArgvGuard, Program
from gateway.validate.guards.refusal import GuardRefused
from gateway.validate.guards.text import hidden

MAX_ARGUMENT_CHARS = 4096

_INTEGER = re.compile(r"[0-9]{1,18}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@final
class Argv(tuple[str, ...]):
    """What to run: an absolute path and its arguments. Hand it to `subprocess.run` as it is, never with a shell."""

    __slots__ = ()


@final
class ArgvCheck:
    """Reads one command."""

    def __init__(self, guard: ArgvGuard) -> None:
        self._programs: Mapping[str, Program] = guard.programs

    def __call__(self, name: str, value: object) -> Argv:
        words = value if isinstance(value, list) else []
        if not words or not all(isinstance(word, str) and len(word) <= MAX_ARGUMENT_CHARS for word in words):
            raise GuardRefused(f"{name}: must be a list: a program, then its arguments.", "Write one word an entry.")
        program = self._programs.get(words[0])
        if program is None:
            known = ", ".join(sorted(self._programs))
            raise GuardRefused(f"{name}: must begin with one of: {known}.", "Use one of these programs.")
        taken = [program.path]
        rest = iter(words[1:])
        operands = 0
        for word in rest:
            if word.startswith("-"):
                taken += _flag(name, word, rest, program)
                continue
            operands += 1
            if operands > program.max_operands:
                raise GuardRefused(f"{name}: takes at most {program.max_operands} operands.", "Leave some out.")
            taken.append(_checked(name, word, program.operands))
        return Argv(taken)


def _flag(name: str, word: str, rest: Iterator[str], program: Program) -> list[str]:
    """The flag and what follows it, as two words, or as `--flag=value` where it was written so."""
    flag, joined, value = word.partition("=")
    kind = program.flags.get(flag)
    if kind is None:
        known = ", ".join(sorted(program.flags)) or "none"
        raise GuardRefused(f"{name}: has a flag that may not be used.", f"Flags that may: {known}. One an entry.")
    if kind == "none":
        if joined:
            raise GuardRefused(f"{name}: {flag} takes no value.", "Leave the value out.")
        return [flag]
    if joined:
        if not flag.startswith("--"):
            raise GuardRefused(f"{name}: the value of {flag} is an entry of its own.", "Write it after the flag.")
        return [f"{flag}={_checked(name, value, kind)}"]
    following = next(rest, None)
    if following is None:
        raise GuardRefused(f"{name}: {flag} needs a value.", "Write it after the flag.")
    return [flag, _checked(name, following, kind)]


def _checked(name: str, word: str, kind: str | tuple[str, ...]) -> str:
    """`word`, if it is of that kind. Raises GuardRefused."""
    if isinstance(kind, tuple):
        fits, form = word in kind, f"one of: {', '.join(kind)}"
    elif kind == "integer":
        fits, form = _INTEGER.fullmatch(word) is not None, "an integer"
    elif kind == "word":
        fits, form = _WORD.fullmatch(word) is not None, "letters and digits, with `._-` after the first"
    else:
        fits, form = bool(word) and hidden(word, lines=False) is None, "one line of visible text"
    if not fits:
        raise GuardRefused(f"{name}: an argument must be {form}.", "Change it, or leave it out.")
    return word
