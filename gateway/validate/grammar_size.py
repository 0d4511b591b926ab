"""How large a Lark grammar becomes when its short forms are written out, known before it is compiled (CWE-400).

The compiler writes out every optional part, choice in brackets and small repetition of a rule as alternatives of their
own, so that thirty optional parts of one rule would be a thousand million alternatives. This counts them first, and
never too few: what it does not understand it counts as part of the rule before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import final

MAX_ALTERNATIVES = 1_000  # of all rules, written out
_DEEPEST = 50  # brackets in brackets

_TOKEN = re.compile(
    r"""(?P<skip>//[^\n]*|\#[^\n]*|->\s*\w+|\s+)
    |(?P<atom>"(?:\\.|[^"\\\n])*"i?(?:\s*\.\.\s*"(?:\\.|[^"\\\n])*")?|/(?!/)(?:\\.|[^/\\\n])+/[imslux]*|\w+)
    |(?P<times>~\s*(?P<least>\d{1,6})(?:\s*\.\.\s*(?P<most>\d{1,6}))?)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_HEAD = re.compile(r"^\s*(?:[?!]*(?P<name>\w+)(?:\.-?\d+)?[\s\\]*:|%)", re.MULTILINE)
_TERMINAL = re.compile(r"_?[A-Z][_A-Z0-9]*\Z")

Token = tuple[str, int, int]


def too_large(source: str) -> str | None:
    """Why the grammar may not be compiled, or None. What is no grammar at all is left to the compiler."""
    heads = [*_HEAD.finditer(source)]
    total = 0
    for number, head in enumerate(heads, 1):
        end = heads[number].start() if number < len(heads) else len(source)
        name = head["name"] or ""
        body = [*_tokens(source[head.end() : end])]
        if ("{", 0, 0) in body:
            return "templates are not supported by providers: write the rule out"
        if not _TERMINAL.match(name):
            count = _Count(iter(body))
            total += count.choice(0) + count.helpers
            if total > MAX_ALTERNATIVES:
                return f"the rule {name} has too many optional parts and choices: split it into rules"
    return None


def _tokens(body: str) -> Iterator[Token]:
    for found in _TOKEN.finditer(body):
        if found["atom"]:
            yield "atom", 1, 1
        elif found["times"]:
            least = int(found["least"])
            yield "times", least, int(found["most"] or least)
        elif found["mark"] and found["mark"] in "()[]|?*+{":
            yield found["mark"], 0, 0


@final
class _Count:
    """Alternatives of one rule. `helpers` are those of the rules that the compiler makes for repetitions."""

    def __init__(self, tokens: Iterator[Token]) -> None:
        self._tokens = tokens
        self.helpers = 0

    def choice(self, depth: int) -> int:
        """Alternatives up to the closing bracket or the end, counted no further than the bound."""
        if depth > _DEEPEST:
            return MAX_ALTERNATIVES + 1
        total, product, last = 0, 1, 1
        for kind, least, most in self._tokens:
            if kind in "|)]":
                total, product, last = _bound(total + product * last), 1, 1
                if kind != "|":
                    return total
            elif kind == "?":
                last += 1
            elif kind in "*+":
                self.helpers = _bound(self.helpers + 2 * last)
                last = 2 if kind == "*" else 1
            elif kind == "times":
                last = _bound(sum(_power(last, n) for n in range(least, min(most, least + MAX_ALTERNATIVES) + 1)))
            else:
                product = _bound(product * last)
                last = 1 if kind == "atom" else self.choice(depth + 1) + (kind == "[")
        return _bound(total + product * last)


def _bound(count: int) -> int:
    return min(count, MAX_ALTERNATIVES + 1)


def _power(base: int, exponent: int) -> int:
    return 1 if base == 1 else _bound(base ** min(exponent, 10))
