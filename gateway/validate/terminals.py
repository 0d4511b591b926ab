"""Terminals of a grammar as automata: the longest match at a place, in time linear in the text, whatever the pattern.

Guarantees: no backtracking, so no text makes a pattern slow (CWE-1333); the automaton of a grammar is bounded when it
is loaded (`MAX_STATES`), and so are the work and the memory that one text may cost. A pattern that is not regular, or
that the engines of providers read in another way (lookaround, backreferences, anchors, set operations), is refused.
One text is read at a time.

Python's own parser of patterns reads them; nothing of its matcher is used. States are sets of positions, made when
they are first met (Thompson 1968).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from re import _constants, _parser  # type: ignore[attr-defined] # Python has no public parser of its patterns
from typing import Any, NamedTuple, final

MAX_STATES = 10_000  # of all terminals of one grammar
MAX_MOVES = 50_000  # of one grammar, kept ready; about 10 MB
MAX_VISITS = 500_000  # of states, to make what one text needs: a few tenths of a second

Test = Callable[[str], bool]
op: Any = _constants

_CATEGORIES: dict[Any, Test] = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    op.CATEGORY_NOT_DIGIT: lambda c: not c.isdecimal(),
    op.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    op.CATEGORY_NOT_WORD: lambda c: not (c.isalnum() or c == "_"),
}
_SETS = re.compile(r"\[\[|&&|~~|--")  # operations on sets in Rust's syntax, plain characters in Python's


class NotRegular(ValueError):
    """The pattern cannot be matched in linear time, is too large, or means another thing elsewhere."""


class TooMuchWork(Exception):
    """The text leads through more states than one text may."""


class Match(NamedTuple):
    """`name` is empty where nothing matched. `looked` characters were looked at."""

    name: str
    end: int
    looked: int


@final
class Terminals:
    """The terminals of one grammar, by name; of two that match as much, the one named first wins."""

    def __init__(self, patterns: Sequence[tuple[str, str]]) -> None:
        """Raises NotRegular, which names the terminal."""
        self._tests: list[Test | None] = []  # by state: what it takes, or None for one that only leads on
        self._next: list[list[int]] = []
        self._ends: dict[int, int] = {}  # state -> terminal
        self.names = [name for name, _ in patterns]
        self._starts = {name: self._add(index, name, pattern) for index, (name, pattern) in enumerate(patterns)}
        self._forget()

    def begin(self) -> None:
        """Before each text. What was remembered is kept unless it has become too much."""
        if self._visits > MAX_VISITS // 2 or len(self._moves) > MAX_MOVES // 2:
            self._forget()

    def _forget(self) -> None:
        self._ids: dict[frozenset[int], int] = {}
        self._sets: list[tuple[int, ...]] = []
        self._accepts: list[int | None] = []
        self._moves: dict[tuple[int, str], int] = {}
        self._begun: dict[tuple[str, ...], int] = {}  # as many as the parser has states
        self._visits = 0

    def longest(self, text: str, at: int, among: tuple[str, ...], most: int) -> Match:
        """The terminal of `among` that matches most of `text` from `at` on, looking at `most` characters.

        Finding that a longer match fails may take the rest of the text each time, so the caller adds up `looked`.
        Raises TooMuchWork.
        """
        state = self._begin(among)
        name, end, place = "", at, at
        for place in range(at, min(len(text), at + most)):
            state = self._move(state, text[place])
            if state < 0:
                break
            accepted = self._accepts[state]
            if accepted is not None:
                name, end = self.names[accepted], place + 1
        return Match(name, end, place - at + 1)

    def _begin(self, among: tuple[str, ...]) -> int:
        known = self._begun.get(among)
        if known is None:
            known = self._begun[among] = self._known(frozenset(self._closed(self._starts[name] for name in among)))
        return known

    def _move(self, state: int, character: str) -> int:
        known = self._moves.get((state, character))
        if known is not None:
            return known
        reached: set[int] = set()
        for each in self._sets[state]:
            test = self._tests[each]
            if test is not None and test(character):
                reached.update(self._next[each])
        to = self._known(frozenset(self._closed(reached))) if reached else -1
        if len(self._moves) < MAX_MOVES:
            self._moves[state, character] = to
        return to

    def _known(self, states: frozenset[int]) -> int:
        """The number of a set of states."""
        number = self._ids.get(states)
        if number is None:
            number = self._ids[states] = len(self._sets)
            self._sets.append(tuple(states))
            self._accepts.append(min((self._ends[s] for s in states if s in self._ends), default=None))
        return number

    def _closed(self, states: Iterable[int]) -> set[int]:
        found: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state not in found:
                found.add(state)
                if self._tests[state] is None:
                    waiting += self._next[state]
        self._visits += len(found)
        if self._visits > MAX_VISITS:
            raise TooMuchWork
        return found

    # making them

    def _state(self, test: Test | None, following: list[int]) -> int:
        if len(self._tests) >= MAX_STATES:
            raise NotRegular(f"the terminals need more than {MAX_STATES} states: repeat less")
        self._tests.append(test)
        self._next.append(following)
        return len(self._tests) - 1

    def _add(self, index: int, name: str, pattern: str) -> int:
        if _SETS.search(pattern):
            raise NotRegular(f"the terminal {name}: write [[, &&, -- and ~~ with a backslash, or without a set")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                parsed = _parser.parse(pattern)
            end = self._state(None, [])
            self._ends[end] = index
            return self._sequence(parsed, end, parsed.state.flags)
        except (re.error, Warning, RecursionError, OverflowError) as error:
            raise NotRegular(f"the terminal {name} has a pattern that cannot be read: {error}") from error
        except NotRegular as error:
            raise NotRegular(f"the terminal {name}: {error}") from error

    def _sequence(self, parsed: Iterable[Any], end: int, flags: int) -> int:
        """The state to begin in so as to read `parsed` and go on at `end`."""
        if flags & re.ASCII:
            raise NotRegular("(?a) narrows classes in Python alone: write them out, such as [0-9]")
        for what, given in reversed(list(parsed)):
            end = self._one(what, given, end, flags)
        return end

    def _one(self, what: Any, given: Any, end: int, flags: int) -> int:
        if what in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            return self._state(_test(what, given, flags), [end])
        if what is op.SUBPATTERN:
            _, more, less, inner = given
            return self._sequence(inner, end, (flags | more) & ~less)
        if what is op.BRANCH:
            return self._state(None, [self._sequence(each, end, flags) for each in given[1]])
        if what in (op.MAX_REPEAT, op.MIN_REPEAT):  # lazy or not, the texts are the same
            least, most, inner = given
            return self._repeat(least, most, inner, end, flags)
        raise NotRegular(f"{str(what).lower()} is not part of a regular pattern: leave it out")

    def _repeat(self, least: int, most: Any, inner: Any, end: int, flags: int) -> int:
        if most is op.MAXREPEAT:
            again = self._state(None, [])
            self._next[again] = [self._sequence(inner, again, flags), end]
            end = again
        else:
            for _ in range(most - least):
                end = self._state(None, [self._sequence(inner, end, flags), end])
        for _ in range(least):
            end = self._sequence(inner, end, flags)
        return end


def _test(what: Any, given: Any, flags: int) -> Test:
    """Does a character fit? Without case, only letters of ASCII are folded: engines differ about the others."""
    if what is op.ANY:
        return (lambda _: True) if flags & re.DOTALL else (lambda c: c != "\n")
    if what is op.IN:
        negated = given[0][0] is op.NEGATE
        tests = [_member(*each) for each in given if each[0] is not op.NEGATE]
    else:
        negated, tests = what is op.NOT_LITERAL, [_member(op.LITERAL, given)]
    if flags & re.IGNORECASE:
        plain = tuple(tests)
        tests = [lambda c: any(test(c) or (c.isascii() and test(c.swapcase())) for test in plain)]
    return lambda c: any(test(c) for test in tests) is not negated


def _member(what: Any, given: Any) -> Test:
    if what is op.LITERAL:
        wanted = chr(given)
        return lambda c: c == wanted
    if what is op.RANGE:
        low, high = map(chr, given)
        return lambda c: low <= c <= high
    return _CATEGORIES[given]
