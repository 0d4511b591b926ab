"""Can a regular expression take exponential time in a backtracking engine, such as Python's `re`?

Yes, if in its automaton some state can be reached from itself in two ways on one and the same text (A. Weber and
H. Seidl, "On the degree of ambiguity of finite automata", 1991). The automaton is Glushkov's, with every way counted,
so that `(a*)*` keeps the two it has. Look-arounds and back-references are taken for nothing: they add no loop.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final, final

MANY: Final = 16  # a repetition that may go on so often is as good as endless
MAX_PLACES: Final = 400  # larger patterns are not judged: None

_ASCII: Final = 128
_OTHER: Final = 1 << _ASCII  # one bit for all that is not ASCII
_ALL: Final = (1 << (_ASCII + 1)) - 1
_LINE: Final = 1 << ord("\n")


def exponential(pattern: str) -> bool | None:
    """True if it can; None for a pattern that Python cannot read or that is too large to tell."""
    try:
        tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    automaton = _Automaton(bool(tree.state.flags & re.IGNORECASE))
    automaton.add(tree)
    return None if len(automaton.chars) > MAX_PLACES else automaton.is_ambiguous()


def takes_line_break(pattern: str) -> bool:
    """Whether a text with a line break in it can match, be it through `[^x]` or `\\s`."""
    try:
        tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    automaton = _Automaton(ignore_case=False)
    automaton.add(tree)
    return any(mask & _LINE for mask in automaton.chars)


_Part = tuple[bool, Counter[int], Counter[int]]  # may be empty; first places; last places, each by number of ways


@final
class _Automaton:
    """Places are the characters written in the pattern; `follow` counts the ways from one to the next."""

    def __init__(self, ignore_case: bool) -> None:
        self.chars: list[int] = []
        self.follow: list[Counter[int]] = []
        self._ignore_case = ignore_case

    def add(self, tree: Iterable[Any]) -> _Part:
        whole: _Part = (True, Counter(), Counter())
        for kind, about in tree:
            whole = self._joined(whole, self._one(kind, about))
        return whole

    def _one(self, kind: Any, about: Any) -> _Part:
        if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            return self._place(self._mask(kind, about))
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, body = about
            return self._repeated(self.add(body), least, most)
        if kind is op.SUBPATTERN:
            return self.add(about[3])
        if kind is op.ATOMIC_GROUP:
            return self.add(about)
        if kind is op.BRANCH:
            parts = [self.add(branch) for branch in about[1]]
            first: Counter[int] = Counter()
            last: Counter[int] = Counter()
            for _, begins, ends in parts:
                first += begins
                last += ends
            return any(empty for empty, _, _ in parts), first, last
        return True, Counter(), Counter()

    def _place(self, mask: int) -> _Part:
        self.chars.append(mask)
        self.follow.append(Counter())
        here = Counter((len(self.chars) - 1,))
        return False, here, Counter(here)

    def _joined(self, one: _Part, two: _Part) -> _Part:
        self._link(one[2], two[1])
        first = one[1] + two[1] if one[0] else one[1]
        last = one[2] + two[2] if two[0] else two[2]
        return one[0] and two[0], first, last

    def _repeated(self, body: _Part, least: int, most: Any) -> _Part:
        if most == op.MAXREPEAT or most >= MANY:
            self._link(body[2], body[1])
        return body[0] or least == 0, body[1], body[2]

    def _link(self, ends: Counter[int], begins: Counter[int]) -> None:
        for place, ways in ends.items():
            for other, more in begins.items():
                self.follow[place][other] += min(2, ways * more)

    def _mask(self, kind: Any, about: Any) -> int:
        if kind is op.ANY:
            return _ALL & ~_LINE
        if kind is op.NOT_LITERAL:
            return _ALL & ~self._literal(about)
        if kind is op.LITERAL:
            return self._literal(about)
        mask, negated = 0, False
        for inner, value in about:
            if inner is op.NEGATE:
                negated = True
            elif inner is op.LITERAL:
                mask |= self._literal(value)
            elif inner is op.RANGE:
                mask |= self._range(*value)
            else:
                mask |= _CATEGORIES.get(value, _ALL)
        return _ALL & ~mask if negated else mask

    def _literal(self, code: int) -> int:
        return self._range(code, code)

    def _range(self, low: int, high: int) -> int:
        mask = _OTHER if high >= _ASCII else 0
        for code in range(low, min(high, _ASCII - 1) + 1):
            mask |= 1 << code
            if self._ignore_case and chr(code).isalpha():
                mask |= 1 << ord(chr(code).swapcase())
        return mask

    def is_ambiguous(self) -> bool:
        """Two ways from a place to itself on one text: found in the square of the automaton."""
        here = self._in_circles()
        for place in here:
            for other, ways in self.follow[place].items():
                if ways > 1 and place in self._reached(other):
                    return True
        squared: dict[tuple[int, int], list[tuple[int, int]]] = {}

        def after(pair: tuple[int, int]) -> list[tuple[int, int]]:
            if pair not in squared:
                one, two = (here & set(self.follow[place]) for place in pair)
                squared[pair] = [(a, b) for a in one for b in two if self.chars[a] & self.chars[b]]
            return squared[pair]

        for place in here:
            start = (place, place)
            apart = {pair for pair in _walk([start], after) if pair[0] != pair[1]}
            if any(start in _walk([pair], after) for pair in sorted(apart)[:MAX_PLACES]):
                return True
        return False

    def _in_circles(self) -> set[int]:
        return {place for place in range(len(self.chars)) if place in self._reached(*self.follow[place])}

    def _reached(self, *places: int) -> set[int]:
        return _walk(places, lambda place: self.follow[place])


def _walk(start: Iterable[Any], after: Any) -> set[Any]:
    """Everything that can be reached, the start included."""
    found = set(start)
    waiting = list(found)
    while waiting:
        for other in after(waiting.pop()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _of(text: str) -> int:
    return sum(1 << ord(char) for char in text)


_DIGITS: Final = _of("0123456789") | _OTHER
_WORD: Final = _DIGITS | _of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_SPACE: Final = _of(" \t\n\r\f\v") | _OTHER
_CATEGORIES: Final = {
    op.CATEGORY_DIGIT: _DIGITS,
    op.CATEGORY_NOT_DIGIT: _ALL & ~_DIGITS | _OTHER,
    op.CATEGORY_WORD: _WORD,
    op.CATEGORY_NOT_WORD: _ALL & ~_WORD | _OTHER,
    op.CATEGORY_SPACE: _SPACE,
    op.CATEGORY_NOT_SPACE: _ALL & ~_SPACE | _OTHER,
}
