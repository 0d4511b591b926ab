"""Grammars of free text: nothing outside of the language passes, and neither text nor grammar makes the check slow."""

from __future__ import annotations

import random
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lark import Lark
from lark.exceptions import LarkError

from gateway.domain.errors import PolicyError
from gateway.policy.free_text import MAX_GRAMMAR
from gateway.policy.loader import load
from gateway.validate.grammar import MAX_TEXT, TOO_SLOW, Grammar
from gateway.validate.terminals import MAX_MOVES, Terminals
from tests.unit.loop_bench import Bench

SQL = """
start: "SELECT"i columns "FROM"i NAME where? ";"
columns: "*" | NAME ("," NAME)*
where: "WHERE"i NAME OP value
value: STRING | INT
OP: "=" | "<" | "<="
NAME: /[a-z_][a-z0-9_]*/
STRING: /'[^']*'/
%import common.INT
%import common.WS
%ignore WS
"""
MATH = """
start: sum
sum: product | sum ("+" | "-") product
product: atom | product "*" atom
atom: INT | "(" sum ")"
%import common.INT
"""


@pytest.fixture(scope="module")
def sql() -> Grammar:
    return Grammar(SQL)


@pytest.mark.parametrize(
    "text",
    ["SELECT * FROM t;", "select a, b from t where a <= 5 ;", "SELECT a FROM t WHERE b = 'x; DROP TABLE t';"],
)
def test_what_belongs_to_the_language_passes(sql: Grammar, text: str) -> None:
    assert sql.refuse(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", 'at its end it needs "SELECT"'),
        ("SELECT * FROM t", 'at its end it needs ";" or "WHERE"'),
        ("SELECT * FROM t; DROP TABLE t;", "at line 1, column 18 it needs its end"),
        ("SELECT *\nFROM t WHERE a > 5;", "at line 2, column 16 it needs OP"),
        ("SELECT \u0430 FROM t;", 'at line 1, column 8 it needs "*" or NAME'),
        ("SELECT * FROM t;\x00", "at line 1, column 17 it needs its end"),
    ],
)
def test_what_does_not_is_refused_with_where_and_what_could_stand_there(sql: Grammar, text: str, says: str) -> None:
    assert sql.refuse(text) == says


def test_what_stands_in_the_text_is_not_quoted(sql: Grammar) -> None:
    assert "secret" not in str(sql.refuse("SELECT * FROM t; secret"))


# the oracle: Lark's own general parser, which is too slow to be asked in earnest


ORACLE = Lark(MATH, parser="earley")
math_grammar = Grammar(MATH)


def belongs(text: str) -> bool:
    try:
        ORACLE.parse(text)
    except LarkError:
        return False
    return True


@given(st.text(alphabet="01+-*()", max_size=12))
def test_it_agrees_with_a_general_parser(text: str) -> None:
    assert (math_grammar.refuse(text) is None) is belongs(text)


PIECES = st.recursive(
    st.sampled_from(["a", "b", "\\d", "[ab]", "[^a]", ".", "\\w", "[a-c0-1]", "(?i:B)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{0,2}", "{2}", "*?"])).map(lambda p: f"(?:{p[0]}){p[1]}"),
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda p: f"(?:{p[0]}|{p[1]})"),
    ),
    max_leaves=6,
)


@given(PIECES, st.text(alphabet="abcAB01\n ", max_size=7))
def test_a_terminal_matches_what_pythons_own_matcher_finds_longest(pattern: str, text: str) -> None:
    found = Terminals([("X", pattern)]).longest(text, 0, ("X",), len(text))
    longest = max((end for end in range(1, len(text) + 1) if re.fullmatch(pattern, text[:end])), default=0)
    assert (found.end if found.name else 0) == longest


# text that would be slow


NOISE = "".join(random.Random(1).choices("ab", k=MAX_TEXT))


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("start: A\nA: /(a+)+b/", "a" * MAX_TEXT),
        ("start: (A | B)*\nA: /a+b/\nB: /a/", "a" * MAX_TEXT),
        ("start: A\nA: /(a|b)*a(a|b){200}c/", NOISE),
        ('start: "(" start ")" | "x"', "(" * MAX_TEXT),
        (SQL, "SELECT " + "a," * (MAX_TEXT // 2 - 10)),
        (MATH, "1+" * (MAX_TEXT // 2)),
    ],
    ids=["nested repeats", "longest match", "many states", "deep", "long", "left recursion"],
)
@pytest.mark.timeout(60)
def test_c045_no_text_makes_the_check_slow(grammar: str, text: str) -> None:
    made = Grammar(grammar)
    assert made.refuse(text)
    assert made.refuse(text)  # and what the first one left behind is no burden either
    assert len(made._terminals._moves) <= MAX_MOVES


def test_a_text_that_costs_too_much_does_not_spoil_the_next() -> None:
    made = Grammar("start: A\nA: /(a|b)*a(a|b){200}c/")
    good = "a" + "b" * 200 + "c"
    answers = [made.refuse(text) for text in (good, NOISE, good, NOISE, good)]
    assert answers == [None, TOO_SLOW, None, TOO_SLOW, None]


def test_a_longest_match_looked_for_again_and_again_is_given_up() -> None:
    assert Grammar("start: (A | B)*\nA: /a+b/\nB: /a/").refuse("a" * MAX_TEXT) == TOO_SLOW


def test_a_text_that_is_too_long_is_not_read(sql: Grammar) -> None:
    assert "more than" in str(sql.refuse("x" * (MAX_TEXT + 1)))


def test_threads_that_read_at_once_get_their_own_answers(sql: Grammar) -> None:
    texts = [f"SELECT {'a, ' * n}a FROM t{';' * (n % 2)}" for n in range(40)]
    found: dict[int, str | None] = {}

    def read(which: int) -> None:
        found[which] = sql.refuse(texts[which])

    threads = [threading.Thread(target=read, args=(n,)) for n in range(len(texts))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {n for n, why in found.items() if why is None} == {n for n in range(40) if n % 2}


# grammars that are refused


OPTIONAL = '"b"? ' * 30
BAD: dict[str, tuple[str, str]] = {
    "no grammar": ("start: %%", "LALR"),
    "nothing": ("", "LALR"),
    "no start": ('other: "a"', "LALR"),
    "ambiguous": ('start: a | b\na: "x"\nb: "x"', "LALR"),
    "a file": ("%import .evil (x)\nstart: x", "common"),
    "a module": ('%import os.path\nstart: "a"', "common"),
    "a folder in common": ('%import common.os.path\nstart: "a"', "common"),
    "declared": ("%declare A\nstart: A", "write it whole"),
    "priority of a rule": ('start: a\na.2: "x"', "priorities"),
    "priority of a terminal": ('start: A\nA.3: "x"', "priorities"),
    "a template": ('start: s{"a"}\ns{x}: x x', "templates"),
    "lookaround": ("start: A\nA: /(?=a)b/", "terminal A"),
    "a backreference": ("start: A\nA: /(a)\\1/", "terminal A"),
    "an anchor": ("start: A\nA: /^a$/", "terminal A"),
    "classes of ASCII": ("start: A\nA: /(?a:\\d)+/", "terminal A"),
    "classes of ASCII throughout": ("start: A\nA: /(?a)\\w+/", "terminal A"),
    "a set operation": ("start: A\nA: /[a&&b]/", "terminal A"),
    "a class of another engine": ("start: A\nA: /\\p{L}/", "terminal A"),
    "an endless terminal": ("start: A\nA: /(a{1,99}){1,999}/", "states"),
    "nested repeats": ("start: A\nA: /" + "(" * 30 + "a" + "{1,9})" * 30 + "/", "states"),
    "a repetition": ('start: "a"~100000000', "repeats"),
    "a range of repetitions": ('start: "a"~1..100000000', "rule start"),
    "brackets": ("start: " + "(" * 4_000 + '"a"' + ")" * 4_000, "optional"),
    "optional parts": (f"start: {OPTIONAL}", "rule start"),
    "optional parts after a break": (f'start:\n "a" {OPTIONAL}', "rule start"),
    "optional parts of a marked rule": (f"!start: {OPTIONAL}", "rule start"),
    "optional parts of a ranked rule": (f"start.1: {OPTIONAL}", "rule start"),
    "optional parts in a repetition": (f"start: ({OPTIONAL})*", "rule start"),
    "optional brackets": ("start: " + "[A] " * 30 + '\nA: "a"', "rule start"),
    "choices": ("start: " + '("a" | "b") ' * 30, "rule start"),
    "choices repeated": ('start: ("a" | "b")~20', "rule start"),
    "choices behind a comment": ('start: "a" // " \n ("a" | "b")~20', "rule start"),
    "choices behind a quoted quote": ('start: "\\"" ("a" | "b")~20', "rule start"),
    "many rules": (
        "start: a0\n" + "\n".join(f'a{n}: "x" a{n + 1} | "y"' for n in range(900)),
        "characters|rules|rule ",
    ),
    "too long": ("start: A\nA: /" + "a" * MAX_GRAMMAR + "/", "characters"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.timeout(60)
def test_c045_a_grammar_that_cannot_be_held_to_is_refused_at_once(name: str) -> None:
    source, says = BAD[name]
    with pytest.raises(PolicyError, match=says):
        Grammar(source)


@given(st.text(alphabet='startAB:|?*+~()[]"/\\ \n.%{}0129_', max_size=60))
def test_whatever_is_written_is_a_grammar_or_an_error_of_the_policy(source: str) -> None:
    with suppress(PolicyError):
        Grammar(f"start: A\nA: /a/\n{source}").refuse("a" * 50)


# the contract


def contract(*more: str, field: str = "{type: string}") -> str:
    lines = (
        *("tool: query", "description: query one thing.", "effect: none", "risk: low", "parameters:", "  type: object"),
        *(f"  properties: {{input: {field}}}", "  required: [input]", *more),
    )
    return "\n".join(lines) + "\n"


START = "grammar: 'start: \"a\"'"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (contract(START), "free_text"),
        (contract("free_text: true", START, field="{type: string, pattern: '^a$'}"), "remove one"),
        (contract("free_text: true", "grammar: 'start: %%'"), "LALR"),
        (contract("free_text: true", "grammar: ''"), "grammar"),
    ],
    ids=["no free text", "a pattern too", "no grammar", "empty"],
)
def test_a_contract_with_a_wrong_grammar_is_refused_at_load(tmp_path: Path, text: str, says: str) -> None:
    def query(input: str) -> None: ...

    with pytest.raises(PolicyError, match=says) as caught, Bench(tmp_path, more={"query": (text, query)}):
        pass
    assert "query.yaml" in str(caught.value)


def test_another_grammar_is_another_contract(tmp_path: Path) -> None:
    def digest(grammar: str, folder: str) -> Any:
        def query(input: str) -> None: ...

        with Bench(tmp_path / folder, more={"query": (contract("free_text: true", grammar), query)}):
            return load(tmp_path / folder / "policies").contracts["query"].ref.digest

    assert digest(START, "a") != digest(START.replace('"a"', '"b"'), "b")
