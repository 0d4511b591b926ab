"""Rules: true holds, false does not, and everything else is an error that denies."""

from __future__ import annotations

import threading

import pytest

from gateway.domain.errors import PolicyError
from gateway.domain.ids import Principal
from gateway.domain.session_view import SessionView
from gateway.validate.rules import CompiledRule, RuleError, Scope, check_names
from tests.unit.validate.world import AT, SESSION

ARGS: dict[str, object] = {"amount": 150.0, "count": 3, "name": "bob", "none": None, "list": [1, 2], "o": {"k": True}}


EVERYTHING = frozenset({"args", "facts", "principal", "session", "now"})


def scope(
    args: dict[str, object] = ARGS,
    session: SessionView = SESSION,
    behalf: Principal | None = None,
    reads: frozenset[str] = EVERYTHING,
) -> Scope:
    facts = {"order": {"left": 200, "owner": "alice"}}
    return Scope(args, facts, Principal("alice"), behalf, session, AT, b"{}", reads=reads)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("args.amount * 1.1 < 200.0", True),
        ("args.amount <= facts.order.left", True),
        ("args.amount > facts.order.left", False),
        ("args.count == 3 && args.count + 1 == 4", True),
        ("args.none == null", True),
        ("has(args.missing)", False),
        ("has(args.missing) && args.missing == 1", False),
        ("!has(args.missing) || args.missing == 1", True),
        ("args.list.all(x, x > 0)", True),
        ("args.list.exists(x, x > 2)", False),
        ("args.o.k", None),
        ("args.o.k == true", True),
        ("principal.id == facts.order.owner", True),
        ("principal.on_behalf_of == ''", True),
        ("'agent' in principal.roles && !('admin' in principal.roles)", True),
        ("session.calls < 2 && session.conversation == 'conv-1'", True),
        ("now == timestamp('2027-01-15T08:00:00Z')", True),
        ("now.getHours('UTC') < 8", False),
        ("args.name.matches('^b.b$')", True),
        ("args.name.startsWith('b') && args.name.size() == 3", True),
    ],
)
def test_what_a_rule_can_say(text: str, holds: bool | None) -> None:
    if holds is None:
        with pytest.raises(PolicyError, match="yes or no"):
            CompiledRule(text)
    else:
        rule = CompiledRule(text)
        assert rule.holds(scope()) is holds
        assert rule.holds(scope(reads=rule.reads)) is holds


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_what_a_rule_reads_is_found_however_it_is_written(name: str) -> None:
    for text in (
        f"{name} == {name}",
        f"[{name}].all(x, x == {name})",
        f"has({{'k': {name}}}.k)",
        f"({name})==({name})",
    ):
        rule = CompiledRule(text)
        assert name in rule.reads
        assert rule.holds(scope(reads=rule.reads))


def test_a_variable_that_was_not_made_denies() -> None:
    with pytest.raises(RuleError):
        CompiledRule("args.count == 3").holds(scope(reads=frozenset()))


def test_on_behalf_of_is_known() -> None:
    assert CompiledRule("principal.on_behalf_of == 'carol'").holds(scope(behalf=Principal("carol")))


@pytest.mark.parametrize(
    "text",
    [
        "args.missing == 1",
        "args.missing != 1",
        "!(args.missing == 1)",
        "args.name > 3",
        "args.count * 1.5 > 1.0",
        "args.count / 0 == 1",
        "args.list[7] == 1",
        "args.name.matches('(')",
        "facts.missing == 1",
        "int(args.name) == 1",
        "args.o.missing.deeper == 1",
    ],
)
def test_an_error_is_neither_true_nor_false(text: str) -> None:
    rule = CompiledRule(text)
    with pytest.raises(RuleError):
        rule.holds(scope())


@pytest.mark.parametrize(
    "text", ["", "args.amount >", "unknown == 1", "args.amount", "1 + 1", "'true'", "args", "principal.id", "((((" * 30]
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(PolicyError):
        CompiledRule(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("args.amuont < 5", "args.amount"),
        ("has(args.amuont)", "args.amount"),
        ("facts.ordr.left > 1", "facts.order"),
        ("principal.role == 'x'", "principal.roles"),
        ("session.call < 1", "session.calls"),
        ("1 < 2 && args . amuont < 5", "args.amount"),
    ],
)
def test_a_name_that_can_never_be_there(text: str, meant: str) -> None:
    with pytest.raises(PolicyError, match=meant):
        check_names(text, frozenset({"amount"}), frozenset({"order"}))


@pytest.mark.parametrize(
    "text",
    [
        "args.amount < 5",
        "args.amount.left.right < 5",
        "'args.amuont' == args.amount",
        '"args.amuont" == args.amount',
        "args.amount == 1 // args.amuont is what it was called",
        "facts.order.args.amuont == 1",
        "args['anything'] == 1",
        'args.amount == "\\" args.amuont"',
    ],
)
def test_names_are_looked_for_only_where_they_are_names(text: str) -> None:
    check_names(text, frozenset({"amount"}), frozenset({"order"}))


def test_a_rule_is_thread_safe() -> None:
    rule = CompiledRule("args.l.all(x, x >= args.n) && args.s.matches('^a+$')")
    wrong: list[tuple[int, int]] = []

    def work(thread: int) -> None:
        for turn in range(1_000):
            expected = turn % 3 != 0
            args: dict[str, object] = {"l": [thread, thread + turn], "n": thread + (not expected), "s": "aa"}
            if rule.holds(scope(args)) is not expected:
                wrong.append((thread, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_rule_over_many_items_is_bounded_before_it_runs() -> None:
    rule = CompiledRule("args.list.all(x, x > 0)")
    huge = Scope(ARGS, {}, Principal("alice"), None, SESSION, AT, b"," * 10**6, reads=EVERYTHING)
    with pytest.raises(RuleError, match="too large"):
        rule.holds(huge)
    assert CompiledRule("args.list.size() == 2").holds(huge)
