"""`sql`: statements run on a real SQLite, whose authorizer tells what they read, wrote and called."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

from benchmarks.guards.trial import Data, Guarded, Result, attack, serve
from gateway.policy.guard_documents import SqlGuard
from gateway.validate.guards import Statement

GUARD = SqlGuard(kind="sql", dialect="sqlite", tables=("customers", "orders"))
SCHEMA = """CREATE TABLE customers (id INTEGER, name TEXT, city TEXT);
CREATE TABLE orders (id INTEGER, customer_id INTEGER, total INTEGER);
CREATE TABLE secrets (word TEXT); INSERT INTO secrets VALUES ('canary');
"""
SLOTS = (
    "{}",
    "SELECT name FROM customers WHERE name = '{}'",
    'SELECT name FROM customers WHERE name = "{}"',
    "SELECT name FROM customers WHERE id = {}",
    "SELECT name FROM customers WHERE (id = {}) LIMIT 1",
    "SELECT name FROM customers WHERE name LIKE '%{}%' ORDER BY name",
    "SELECT name FROM customers ORDER BY {}",
)
# What attackers add to lists like these, aimed at the canary; each goes into every slot as well.
AIMED = (
    "1 UNION SELECT word FROM secrets",
    "x' UNION SELECT word FROM secrets --",
    'x" UNION SELECT word FROM secrets --',
    "x' UNION/**/SELECT word FROM secrets; --",
    "1) UNION SELECT word FROM secrets --",
    "(SELECT word FROM secrets)",
    "1 AND 'canary' IN secrets",
    "x' AND 'canary' IN main.secrets --",
    "1; DROP TABLE secrets",
    "x'; DELETE FROM customers; --",
    "x' || (SELECT word FROM \"secrets\") || '",
    "1 AND EXISTS (SELECT 1 FROM [secrets])",
    "x' UNION SELECT sql FROM sqlite_master --",
    "1 UNION SELECT name FROM pragma_table_info('secrets')",
    "1 AND load_extension('x')",
    "x' AND randomblob(100000000) --",
    "SELECT * FROM secrets, (WITH secrets AS (SELECT 1) SELECT * FROM secrets)",
    "WITH customers AS (SELECT word AS name FROM secrets) SELECT name FROM customers",
    "ATTACH ':memory:' AS other",
    "PRAGMA table_info(secrets)",
)
USEFUL = (
    "SELECT name, city FROM customers WHERE name = {0}",
    "SELECT COUNT(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.city LIKE {0} AND o.total > 5",
    "SELECT upper({0}) || '!' AS shout, length({0}) FROM customers GROUP BY city HAVING COUNT(*) >= 1 LIMIT 3",
    "WITH far AS (SELECT id FROM customers WHERE city <> {0}) SELECT * FROM orders WHERE id IN (SELECT id FROM far)",
    "SELECT CASE WHEN name = {0} THEN 'yes' ELSE 'no' END FROM customers -- {1}",
)


class Database:
    """SQLite in memory, which notes what statements do. Tables that a payload expects are made for it."""

    def __init__(self) -> None:
        self._link = sqlite3.connect(":memory:")
        self._link.executescript(SCHEMA)
        for number in range(20):
            row = (number, f"n{number}", "Oslo")
            self._link.execute("INSERT INTO customers VALUES (?, ?, ?)", row)
            self._link.execute("INSERT INTO orders VALUES (?, ?, ?)", (number, number, number))
        for name in (
            "sleep",
            "benchmark",
            "pg_sleep",
            "version",
            "user",
            "database",
            "md5",
            "load_file",
            "sha1",
            "convert",
        ):
            self._link.create_function(name, -1, lambda *_: 1)
        self._link.commit()
        self._done: set[str] = set()

    def effect(self, text: str) -> str:
        """What it did beyond reading two tables with listed functions; everything is undone."""
        self._done.clear()
        made: list[str] = []
        self._link.set_authorizer(self._note)
        try:
            for _ in range(4):
                try:
                    self._link.executescript(f"SAVEPOINT trial; {text}")
                except (sqlite3.Error, ValueError, UnicodeError) as error:
                    missing = re.fullmatch(r"no such table: (?:main\.)?(\w+)", str(error))
                    if missing is not None:
                        self._link.set_authorizer(None)
                        self._clean(made=())
                        made.append(missing[1])
                        self._link.execute(f'CREATE TABLE "{missing[1]}" (id, name, password, username, table_name)')
                        self._link.set_authorizer(self._note)
                        continue
                break
        finally:
            self._link.set_authorizer(None)
            self._clean(made)
        return ", ".join(sorted(self._done))

    def rows(self, text: str, *values: str) -> list[object]:
        return self._link.execute(text, values).fetchall()

    def _clean(self, made: list[str] | tuple[str, ...]) -> None:
        if self._link.in_transaction:
            self._link.rollback()
        for name in made:
            self._link.execute(f'DROP TABLE IF EXISTS "{name}"')

    def _note(self, action: int, one: str | None, two: str | None, *_: object) -> int:
        listed = set(GUARD.functions) | {"like", "substr"}
        if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_SAVEPOINT):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            if one not in ("customers", "orders", ""):
                self._done.add(f"reads {one}")
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            if str(two).lower() not in listed:
                self._done.add(f"calls {two}")
            return sqlite3.SQLITE_OK
        self._done.add(f"does {action} to {one}")
        return sqlite3.SQLITE_DENY  # noted; nothing is written


def measure(data: Data) -> Result:
    """Payloads as a statement and in the places of a statement where text is put together."""
    result = Result("sql")
    database = Database()
    guarded = Guarded(GUARD)

    def through(got: object) -> str:
        assert isinstance(got, Statement)
        return database.effect(got.text)

    def statements() -> Iterator[object]:
        for payload in (*data.payloads["sql"], *AIMED):
            yield from (slot.format(payload) for slot in SLOTS)

    attack(result, guarded, statements(), lambda value: database.effect(str(value)), through)
    useful = []
    bound = {}
    for value in data.harmless:
        literal = "'" + value.replace("'", "''") + "'"
        for form in USEFUL:
            text = form.format(literal, value.replace("\n", " "))
            if len(text) <= 4096:
                useful.append(text)
                bound[text] = (form.format("?1", ""), value)

    def wrong(value: object, got: object) -> str:
        assert isinstance(got, Statement)
        form, argument = bound[str(value)]
        return "" if database.rows(got.text) == database.rows(form, argument) else "other rows"

    serve(result, guarded, useful, wrong)
    return result
