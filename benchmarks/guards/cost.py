"""What one check costs: medians of short batches, with the garbage collector on, as it is where guards run."""

from __future__ import annotations

import gc
import statistics
import tempfile
import timeit
from pathlib import Path

from benchmarks.guards import commands, pages, queries
from benchmarks.speed.table import Row
from gateway.policy.documents import Guard
from gateway.policy.guard_documents import (
    EmailGuard,
    IdentifierGuard,
    MoneyGuard,
    PathGuard,
    TextGuard,
    UrlGuard,
)
from gateway.validate.guards import Guards, close
from gateway.validate.guards.network import StandIn

BATCH, ROUNDS = 50, 100
SHORT = "SELECT name, city FROM customers WHERE id = 42"
JOIN = (
    "SELECT c.name, o.total FROM customers AS c JOIN orders AS o ON o.customer_id = c.id "
    "WHERE o.total > 100 AND c.city = 'Oslo' ORDER BY o.total DESC LIMIT 10"
)


def measure() -> list[Row]:
    """Microseconds, with the guard's own work whole: a path is opened and closed, a URL is not looked up."""
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        (Path(folder) / "reports").mkdir()
        (Path(folder) / "reports" / "q1.txt").write_text("x")
        asked: list[tuple[str, Guard, object, float | None]] = [
            ("path (opened and closed)", PathGuard(kind="path", root="root"), "reports/q1.txt", 20),
            ("url (no look-up)", UrlGuard(kind="url", hosts=("*.example.org",)), "https://www.example.org/a/b?c=d", 20),
            (f"sql ({len(SHORT)} characters)", queries.GUARD, SHORT, 150),
            (f"sql ({len(JOIN)} characters, a join)", queries.GUARD, JOIN, 150),
            ("argv", commands.GUARD, ["say", "-n", "a", "b"], None),
            ("html", pages.HTML, "<p>Hello <b>Ann</b>, your order has left.</p>", None),
            ("text", TextGuard(kind="text"), "Hello Ann,\nyour order has left for Zürich.", None),
            ("email", EmailGuard(kind="email", domains=("example.org",)), "ann@example.org", None),
            ("identifier", IdentifierGuard(kind="identifier", prefix="#W", chars="digits"), "#W1234567", None),
            ("money", MoneyGuard(kind="money", currencies=("EUR",), max="500"), "12.50 EUR", None),
        ]
        return [Row(what, _median_us(guard, value, folder), "us", target) for what, guard, value, target in asked]


def _median_us(guard: Guard, value: object, root: str) -> float:
    guards = Guards({"value": guard}, {"root": root}, network=StandIn())
    given = {"value": value}
    times = timeit.repeat(
        lambda: close(guards.apply(given)), setup="gc.enable()", globals={"gc": gc}, number=BATCH, repeat=ROUNDS
    )
    return statistics.median(times[ROUNDS // 10 :]) / BATCH * 1e6
