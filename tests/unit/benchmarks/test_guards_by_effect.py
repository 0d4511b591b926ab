"""The benchmark of guards counts what it says: a guard that lets harm through, or refuses too much, shows."""

from __future__ import annotations

from benchmarks.guards.queries import Database
from benchmarks.guards.trial import Guarded, Result, attack, serve
from gateway.policy.guard_documents import IdentifierGuard, TextGuard


def harm(value: object) -> str:
    return "harm" if value == "; bad" else ""


def test_harm_that_gets_through_is_counted_and_harmless_lines_are_not_hostile() -> None:
    for guard, harmed in ((TextGuard(kind="text"), 1), (IdentifierGuard(kind="identifier"), 0)):
        result = Result("x")
        attack(result, Guarded(guard), ["; bad", "; fine"], harm, harm)
        assert (result.tried, result.hostile, result.harmed) == (2, 1, harmed)
        assert result.stopped_percent == 100 * (1 - harmed)


def test_a_harmless_value_refused_or_changed_is_counted() -> None:
    result = Result("x")
    serve(
        result,
        Guarded(IdentifierGuard(kind="identifier")),
        ["a", "b c", "d"],
        lambda value, got: "changed" if value == "d" else "",
    )
    assert (result.harmless, result.refused) == (3, 2)
    assert len(result.turned_away) == 2


def test_the_database_tells_what_a_statement_does_and_keeps_nothing() -> None:
    database = Database()
    assert database.effect("SELECT name FROM customers") == ""
    assert database.effect("SELECT word FROM secrets") == "reads secrets"
    assert "calls sleep" in database.effect("SELECT sleep(1)")
    assert "reads users" in database.effect("SELECT password FROM users")
    assert database.effect("DROP TABLE customers") != ""
    assert len(database.rows("SELECT * FROM customers")) == 20
