"""Regular expressions: what they let through that their author did not mean (C044, C045).

Three engines read them. Patterns of a schema are decided by Rust's `regex` and rules by RE2, both linear; a model's
provider and every other reader of the schema may use Python's, and `secret_patterns` are Python's here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from gateway.policy.policy_set import LoadedContract, PolicySet
from gateway.policy_tools.lint.ambiguity import exponential, takes_line_break
from gateway.policy_tools.lint.finding import At, Finding, in_contract

_UNICODE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\[dwsDWS]")
_MULTILINE: Final = re.compile(r"\(\?[a-zA-Z]*m[a-zA-Z]*(?:-[a-zA-Z]+)?[:)]")
_MATCHES: Final = re.compile(r"""\bmatches\s*\(\s*([rR]?)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*\)""")
_ENDLESS: Final = "repeats in more than one way on the same text"


def patterns(loaded: LoadedContract) -> Iterator[Finding]:
    """Of one contract: its schemas, then its rules."""
    for path, pattern in _in_schemas(loaded):
        shown = f"the pattern {pattern!a}"
        if not anchored(pattern):
            what, mend = f"{shown} may match in the middle of a text", "write ^...$ around all of it"
            yield in_contract(loaded, "warning", "regex-unanchored", what, mend, *path)
        elif _MULTILINE.search(pattern) or (not _says_line_break(pattern) and takes_line_break(pattern)):
            what = f"{shown} takes a text with a line break in it, before its $ or through [^...], \\s or (?m)"
            mend = "list the characters that are meant; write \\n if line breaks are"
            yield in_contract(loaded, "warning", "regex-newline", what, mend, *path)
        if _UNICODE.search(pattern):
            what = f"{shown} uses \\d, \\w or \\s, which here mean those of every script, such as Arabic digits"
            yield in_contract(loaded, "warning", "regex-unicode", what, "write [0-9] or [A-Za-z0-9_]", *path)
        if exponential(pattern):
            what = f"{shown} {_ENDLESS}: linear here, exponential where another program runs it in Python"
            mend = "take one repetition away, or put a character between the two"
            yield in_contract(loaded, "warning", "regex-exponential", what, mend, *path)
    for number, rule in enumerate(loaded.contract.rules):
        for raw, literal in _MATCHES.findall(rule.require):
            pattern = literal[1:-1] if raw else literal[1:-1].replace("\\\\", "\\")
            if not anchored(pattern):
                what = f"matches({pattern!a}) in the rule {rule.id} is true for a match anywhere in the text"
                mend = "write ^...$ around all of it"
                yield in_contract(loaded, "warning", "regex-unanchored", what, mend, "rules", number, "require")


def secret_patterns(policy: PolicySet) -> Iterator[Finding]:
    """`secret_patterns` of settings.yaml, which run in Python over whatever a tool gives back."""
    for number, pattern in enumerate(policy.settings.secret_patterns):
        if exponential(pattern):
            what = f"the pattern {pattern!a} {_ENDLESS}: a tool's output could keep release busy for ever"
            mend = "take one repetition away, or put a character between the two"
            yield Finding("error", "regex-exponential", at_setting(policy, "secret_patterns", number), what, mend)


def at_setting(policy: PolicySet, *path: str | int) -> At:
    """Where a value of settings.yaml stands."""
    document = policy.settings_document
    if document is None:
        return At("settings.yaml", 1, 1)
    place = document.place(path)
    return At(document.file, place.line, place.column)


def anchored(pattern: str) -> bool:
    """Whether a match is always the whole text. Of a pattern that Python cannot read, its two ends are looked at."""
    try:
        tree = list(parser.parse(pattern))
    except (re.error, RecursionError, OverflowError):
        return pattern.startswith(("^", r"\A")) and pattern.endswith(("$", r"\z"))
    return _held(tree, 0, _BEGINS) and _held(tree, -1, _ENDS)


_BEGINS: Final = (op.AT_BEGINNING, op.AT_BEGINNING_STRING)
_ENDS: Final = (op.AT_END, op.AT_END_STRING)


def _held(tree: list[Any], edge: int, wanted: tuple[Any, ...]) -> bool:
    """Whether every way through `tree` has an anchor at that edge."""
    if not tree:
        return False
    kind, about = tree[edge]
    if kind is op.AT:
        return about in wanted
    if kind is op.SUBPATTERN:
        return _held(list(about[3]), edge, wanted)
    if kind is op.BRANCH:
        return all(_held(list(branch), edge, wanted) for branch in about[1])
    return False


def _says_line_break(pattern: str) -> bool:
    return "\\n" in pattern or "\n" in pattern


def _in_schemas(loaded: LoadedContract) -> Iterator[tuple[tuple[str | int, ...], str]]:
    yield from _walk(loaded.contract.parameters, ("parameters",))
    if loaded.contract.result.schema_ is not None:
        yield from _walk(loaded.contract.result.schema_, ("result", "schema"))


def _walk(node: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield (*path, "pattern"), node["pattern"]
        for key, item in node.items():
            yield from _walk(item, (*path, key))
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from _walk(item, (*path, number))
