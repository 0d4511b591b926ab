"""Grammars of free text, in Lark's syntax: does a text belong to the language that the contract declares?

Guarantees: what is accepted is in the grammar's language, whatever the provider enforced; a text is read once, with a
terminal a place and a bounded number of characters, so no text makes it slow (CWE-1333, CWE-400); a grammar is bounded
before it is compiled, reads no file, and must be LALR(1): one that would need a general parser, whose time may grow
with the cube of the text, is refused when the policy is loaded. So is what providers do not support: priorities,
templates, imports other than `common`, lookaround.

Of the terminals that may follow, the one that matches most is taken (a literal before a pattern), as lexers of
providers do. Only this file imports `lark`.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, final

from gateway.domain.errors import PolicyError
from gateway.policy.free_text import MAX_GRAMMAR
from gateway.validate.grammar_size import too_large
from gateway.validate.terminals import NotRegular, Terminals, TooMuchWork

if TYPE_CHECKING:
    from lark import Lark

MAX_RULES = 1_000  # after repetitions were written out
MAX_TEXT = 16_384  # characters of free text; a whole one takes some hundredths of a second
MAX_REPEAT = 1_000
LOOKS = 20  # how often, on average, a character may be looked at: maximal munch alone is quadratic
TOO_SLOW = "it takes too long to read: write it with shorter words"
_SHOWN = 8  # terminals named to the model

_COMMON = re.compile(r"%import\s+common(?:\.\w+(?!\w|\.)|\s*\()")
_OTHER_FILES = re.compile(r"%(declare|override|extend)\b")


@final
class Grammar:
    """One compiled grammar. `refuse` says whether a text does not belong to it."""

    def __init__(self, source: str) -> None:
        """Raises PolicyError, which says what to change."""
        _check_source(source)
        self._lark = _compile(source)
        literals = sorted(self._lark.terminals, key=lambda each: each.pattern.type != "str")
        try:
            self._terminals = Terminals([(each.name, each.pattern.to_regexp()) for each in literals])
        except NotRegular as error:
            raise PolicyError(f"`grammar`: {error}") from error
        self._ignored = tuple(self._lark.ignore_tokens)
        self._spelt = {
            each.name: f'"{each.pattern.value}"' if each.pattern.type == "str" else each.name
            for each in self._lark.terminals
        }
        self._known = frozenset(self._spelt)
        self._reading = threading.Lock()  # what the automaton remembers is shared by every thread that decides

    def refuse(self, text: str) -> str | None:
        """Where the text leaves the grammar, and what could stand there; None for a text of the language.

        Quotes nothing of the text.
        """
        if len(text) > MAX_TEXT:
            return f"it has more than {MAX_TEXT} characters"
        with self._reading:
            self._terminals.begin()
            try:
                return self._read(text)
            except TooMuchWork:
                return TOO_SLOW

    def _read(self, text: str) -> str | None:
        from lark import Token
        from lark.exceptions import UnexpectedInput

        reader: Any = self._lark.parse_interactive()
        at, left = 0, LOOKS * len(text)
        try:
            while at < len(text):
                may_follow = [name for name in reader.choices() if name in self._known]
                found = self._terminals.longest(text, at, (*may_follow, *self._ignored), left)
                left -= found.looked
                if not found.name:
                    return self._expected(text, at, may_follow) if left > 0 else TOO_SLOW
                if found.name in may_follow:
                    reader.feed_token(Token(found.name, ""))
                at = found.end
            reader.feed_eof()
        except UnexpectedInput:
            return self._expected(text, at, [name for name in reader.choices() if name in self._known])
        return None

    def _expected(self, text: str, at: int, names: list[str]) -> str:
        line = text.count("\n", 0, at) + 1
        column = at - text.rfind("\n", 0, at)
        where = "at its end" if at >= len(text) else f"at line {line}, column {column}"
        spelt = sorted(self._spelt[name] for name in names)
        more = f" or {len(spelt) - _SHOWN} others" if len(spelt) > _SHOWN else ""
        return f"{where} it needs {' or '.join(spelt[:_SHOWN]) or 'its end'}{more}"


def _check_source(source: str) -> None:
    if len(source) > MAX_GRAMMAR:
        raise PolicyError(f"`grammar` has more than {MAX_GRAMMAR} characters: split the tool")
    if source.count("%import") != len(_COMMON.findall(source)):
        raise PolicyError("`grammar` may import from `common` only: `%import common.INT`")
    if _OTHER_FILES.search(source):
        raise PolicyError("`grammar`: `%declare`, `%override` and `%extend` need other files: write it whole")
    if (why := too_large(source)) is not None:
        raise PolicyError(f"`grammar`: {why}")
    if any(int(number) > MAX_REPEAT for number in re.findall(r"(?:~|\.\.)\s*(\d{1,20})", source)):
        raise PolicyError(f"`grammar` repeats something more than {MAX_REPEAT} times")


def _compile(source: str) -> Lark:
    from lark import Lark
    from lark.exceptions import LarkError
    from lark.lexer import Lexer

    class NoLexer(Lexer):  # type: ignore[misc] # nothing is known of the library's types
        """The text is cut by `Terminals`."""

        def __init__(self, conf: Any) -> None:
            pass

        def lex(self, lexer_state: Any, parser_state: Any) -> Any:
            raise NotImplementedError

    try:
        made = Lark(source, parser="lalr", lexer=NoLexer, maybe_placeholders=False)
    except (LarkError, ValueError, TypeError, re.error, RecursionError, AssertionError, KeyError) as error:
        why = str(error).strip().splitlines()
        raise PolicyError(f"`grammar` is no LALR(1) grammar in Lark's syntax: {why[0] if why else error!r}") from error
    if len(made.rules) > MAX_RULES:
        raise PolicyError(f"`grammar` has more than {MAX_RULES} rules, with its repetitions written out")
    if any(rule.options.priority for rule in made.rules) or any(each.priority for each in made.terminals):
        raise PolicyError("`grammar` uses priorities, which providers do not support: write it without")
    return made
