"""The SQL guard, on real databases: what it lets through reads listed tables and calls listed functions, nothing else.

SQLite tells by its authorizer what a statement would do; PostgreSQL runs it as a role that may read everything, so that
only the guard stands between.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.policy.guard_documents import SqlGuard
from gateway.validate.guards import GuardRefused, Guards, Statement

SCHEMA = """
CREATE TABLE customers (id INTEGER, name TEXT, city TEXT);
CREATE TABLE orders (id INTEGER, customer_id INTEGER, total INTEGER);
CREATE TABLE secrets (word TEXT);
INSERT INTO customers VALUES (1, 'Ann', 'Oslo'), (2, 'Bo', 'Rome');
INSERT INTO orders VALUES (10, 1, 50), (11, 1, 70), (12, 2, 5);
INSERT INTO secrets VALUES ('canary');
"""
Dialect = Literal["sqlite", "postgres", "mysql"]


def guards(dialect: Dialect = "sqlite", **more: Any) -> Guards:
    guard = SqlGuard(kind="sql", dialect=dialect, tables=("customers", "orders"), **more)
    return Guards({"q": guard}, {})


def statement(text: object, dialect: Dialect = "sqlite", **more: Any) -> Statement:
    handed = guards(dialect, **more).apply({"q": text})["q"]
    assert isinstance(handed, Statement)
    return handed


class Lite:
    """A database in memory that notes what each statement reads and calls."""

    def __init__(self) -> None:
        self.link = sqlite3.connect(":memory:")
        self.link.executescript(SCHEMA)
        self.touched: set[tuple[int, str]] = set()
        self.link.set_authorizer(self._note)

    def _note(self, action: int, one: str | None, two: str | None, *_: object) -> int:
        name = two if action == sqlite3.SQLITE_FUNCTION else one
        self.touched.add((action, str(name).lower()))
        return sqlite3.SQLITE_OK

    def run(self, text: str) -> list[Any]:
        self.touched.clear()
        return self.link.execute(text).fetchall()

    def beyond(self) -> set[tuple[int, str]]:
        """What it did beyond selecting from the two tables with the functions of the default list."""
        functions = set(SqlGuard.model_fields["functions"].default) | {"like"}
        return {
            (action, name)
            for action, name in self.touched
            if not (
                action == sqlite3.SQLITE_SELECT
                or (action == sqlite3.SQLITE_READ and name in ("customers", "orders", ""))
                or (action == sqlite3.SQLITE_FUNCTION and name in functions)
            )
        }


@pytest.fixture
def lite() -> Iterator[Lite]:
    made = Lite()
    yield made
    made.link.close()


USEFUL = [
    ("SELECT name FROM customers WHERE id = 1", [("Ann",)]),
    ("select NAME from CUSTOMERS where city = 'Rome';", [("Bo",)]),
    (
        (
            "SELECT c.name, SUM(o.total) AS paid FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY name "
            "HAVING COUNT(*) > 1 ORDER BY paid DESC LIMIT 5"
        ),
        [("Ann", 120)],
    ),
    ("SELECT name FROM customers WHERE id NOT IN (SELECT customer_id FROM orders WHERE total < 10)", [("Ann",)]),
    (
        "SELECT name FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND total = 5)",
        [("Bo",)],
    ),
    ("WITH big AS (SELECT customer_id FROM orders WHERE total >= 50) SELECT DISTINCT customer_id FROM big", [(1,)]),
    (
        "SELECT name FROM customers WHERE name LIKE 'A%' UNION ALL SELECT city FROM customers WHERE id = 2",
        [("Ann",), ("Rome",)],
    ),
    ("SELECT CASE WHEN total > 60 THEN 'much' ELSE 'little' END FROM orders WHERE id = 11 -- is it?", [("much",)]),
    ("SELECT CAST(total AS TEXT) || '!' FROM orders WHERE id = 12 /* why */", [("5!",)]),
    ("SELECT MAX(x.total) FROM (SELECT total FROM orders) AS x", [(70,)]),
    ("SELECT upper(name), length(city), coalesce(NULL, 3) FROM customers WHERE id BETWEEN 1 AND 1", [("ANN", 4, 3)]),
    ("SELECT 'it''s', -1 + 2 * 3, id IS NULL FROM customers WHERE id = 1", [("it's", 5, 0)]),
]


@pytest.mark.parametrize(("text", "rows"), USEFUL)
def test_a_useful_statement_gives_its_rows(lite: Lite, text: str, rows: list[Any]) -> None:
    assert lite.run(statement(text).text) == rows
    assert lite.beyond() == set()


REFUSED = [
    "",
    ";",
    "hello",
    "1",
    "SELECT",
    "SELECT FROM WHERE",
    "SELECT 'x",
    'SELECT "x',
    "SELECT (1",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE customers",
    "DROP TABLE customers",
    "INSERT INTO customers VALUES (3, 'x', 'y')",
    "UPDATE customers SET name = 'x'",
    "DELETE FROM customers",
    "REPLACE INTO customers VALUES (1, 'x', 'y')",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "ALTER TABLE customers ADD x",
    "TRUNCATE customers",
    "PRAGMA table_info(secrets)",
    "ATTACH 'x' AS y",
    "DETACH y",
    "VACUUM INTO '/tmp/x'",
    "EXPLAIN SELECT * FROM secrets",
    "BEGIN",
    "COMMIT",
    "SET x = 1",
    "SHOW TABLES",
    "DESCRIBE secrets",
    "GRANT ALL ON secrets TO x",
    "CALL f()",
    "DO $$ $$",
    "COPY secrets TO '/tmp/x'",
    "COPY customers TO PROGRAM 'id'",
    "LOAD DATA INFILE '/etc/passwd' INTO TABLE customers",
    "SELECT * FROM secrets",
    "SELECT * FROM customers, secrets",
    "SELECT * FROM customers JOIN secrets ON 1 = 1",
    "SELECT (SELECT word FROM secrets)",
    "SELECT name FROM customers WHERE name IN (SELECT word FROM secrets)",
    "SELECT name FROM customers WHERE 'canary' IN secrets",
    "SELECT name FROM customers WHERE 'canary' IN main.secrets",
    "SELECT name FROM customers WHERE 'canary' IN (secrets)" * 2,
    "SELECT 1 UNION SELECT word FROM secrets",
    "SELECT name FROM customers ORDER BY (SELECT word FROM secrets)",
    "SELECT * FROM (SELECT * FROM secrets) AS customers",
    "WITH x AS (SELECT * FROM secrets) SELECT * FROM x",
    "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
    "SELECT * FROM secrets, (WITH secrets AS (SELECT 1) SELECT * FROM secrets) AS x",
    "WITH a AS (SELECT * FROM secrets), secrets AS (SELECT 1) SELECT * FROM a",
    "WITH x AS (SELECT 1) SELECT * FROM main.x",
    "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT * FROM x",
    "WITH x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT * FROM x",
    "WITH customers AS (SELECT 1) SELECT * FROM customers",
    "WITH x AS (SELECT 1), x AS (SELECT 2) SELECT * FROM x",
    "WITH x AS (DELETE FROM customers RETURNING *) SELECT * FROM x",
    "SELECT * FROM main.secrets",
    "SELECT * FROM main.customers",
    "SELECT * FROM sqlite_master",
    'SELECT * FROM "secrets"',
    "SELECT * FROM [secrets]",
    "SELECT * FROM `secrets`",
    "SELECT * FROM 'secrets'",
    "SELECT * FROM pg_catalog.pg_shadow",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pragma_table_info('secrets')",
    "SELECT * FROM json_each('[1]')",
    "SELECT * FROM generate_series(1, 1000000000)",
    "SELECT load_extension('x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_catalog.pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT query_to_xml('SELECT * FROM secrets', true, true, '')",
    "SELECT pg_sleep(10)",
    "SELECT dblink('x', 'y')",
    "SELECT randomblob(1000000000)",
    "SELECT \"load_extension\"('x')",
    "SELECT Load_Extension ('x')",
    "SELECT load_extension/**/('x')",
    "SELECT count(load_extension('x'))",
    "SELECT name FROM customers LIMIT (SELECT 1 FROM secrets)",
    "SELECT * INTO x FROM customers",
    "SELECT * FROM customers INTO OUTFILE '/tmp/x'",
    "SELECT * FROM customers FOR UPDATE",
    "SELECT 'secrets'::regclass",
    "SELECT CAST('secrets' AS regclass)",
    "SELECT CAST('1' AS xml)",
    "SELECT ?",
    "SELECT :x",
    "SELECT @x",
    "SELECT @x := 1",
    "SELECT @@version",
    "SELECT current_user",
    "SELECT X'41'",
    "SELECT a -> 'b' FROM customers",
    "SELECT name ~ '(a+)+$' FROM customers",
    "SELECT name REGEXP 'x' FROM customers",
    "SELECT name COLLATE nocase FROM customers",
    "VALUES (1)",
    "TABLE secrets",
    "SELECT * FROM customers TABLESAMPLE SYSTEM (1)",
    "SELECT * FROM customers, LATERAL (SELECT 1) AS x",
    "SELECT * FROM UNNEST(ARRAY[1])",
    "SELECT name\u202e FROM customers",
    "SELECT name\u200b FROM customers",
    "SELECT name FROM customers\0",
    "SELECT\x0b1",
    "SELECT name FROM customers" + " " * 5000,
    "SELECT " + "(" * 1500 + "1" + ")" * 1500,
    "SELECT " + "- " * 1500 + "1",
    "SELECT " + "NOT " * 1000 + "1",
    7,
    None.__class__,
    ["SELECT 1"],
    True,
]


@pytest.mark.parametrize("dialect", ["sqlite", "postgres", "mysql"])
@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_one_plain_select(text: object, dialect: Dialect) -> None:
    with pytest.raises(GuardRefused) as caught:
        statement(text, dialect)
    assert "secrets" not in caught.value.message


def test_what_cannot_be_refused_alike_everywhere_reads_nothing_else(lite: Lite) -> None:
    """Deep nesting may be refused or not, and words that only some parsers know become quoted names."""
    for text in (
        "SELECT name FROM customers WHERE name = (TABLE secrets)",
        "SELECT name FROM customers WHERE 'canary' IN (secrets)",
        "SELECT secrets.word FROM customers",
        "SELECT name FROM customers NATURAL JOIN orders",
        "SELECT " + "1+" * 1000 + "1",
        "SELECT " + "(SELECT " * 400 + "1" + ")" * 400,
        "SELECT " + "CASE WHEN 1 THEN " * 150 + "1" + " END" * 150,
        "SELECT $1",
        "SELECT ARRAY[1]",
        "SELECT 'a\\' OR word FROM secrets -- '",
        'SELECT "load_extension" FROM customers',
    ):
        try:
            made = statement(text)
        except GuardRefused:
            continue
        try:
            rows = lite.run(made.text)
        except sqlite3.Error:
            rows = []
        assert lite.beyond() == set()
        assert "canary" not in str(rows)


def test_functions_are_those_of_the_policy() -> None:
    year = "SELECT strftime('%Y', 0), date('now') FROM customers"
    with pytest.raises(GuardRefused) as caught:
        statement(year)
    assert "strftime" in caught.value.detail
    assert "STRFTIME(" in statement(year, functions=("strftime", "date")).text
    with pytest.raises(GuardRefused):
        statement("SELECT count(*) FROM customers", functions=("date",))


def test_a_name_is_compared_as_its_database_does() -> None:
    for dialect, text, may in (
        ("sqlite", 'SELECT * FROM "Customers"', True),
        ("postgres", "SELECT * FROM Customers", True),
        ("postgres", 'SELECT * FROM "Customers"', False),
        ("mysql", "SELECT * FROM Customers", False),
        ("postgres", 'WITH "X" AS (SELECT 1) SELECT * FROM x', False),
        ("postgres", 'WITH "X" AS (SELECT 1) SELECT * FROM "X"', True),
        ("postgres", "WITH X AS (SELECT 1) SELECT * FROM x", True),
    ):
        if may:
            assert statement(text, dialect).text  # type: ignore[arg-type]
        else:
            with pytest.raises(GuardRefused):
                statement(text, dialect)  # type: ignore[arg-type]


def test_the_record_names_the_table_and_the_model_is_not_told() -> None:
    with pytest.raises(GuardRefused) as caught:
        statement("SELECT * FROM secrets")
    assert "secrets" in caught.value.detail
    assert "secrets" not in caught.value.message + caught.value.suggestion
    assert statement("SELECT o.id FROM orders o, customers").tables == {"orders", "customers"}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A cluster of its own, over a Unix socket; the role may read everything."""
    tools = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
    if not tools or shutil.which("psql") is None:
        pytest.skip("no PostgreSQL here")
    folder = Path("/tmp") / f"guards-pg-{os.getpid()}"  # a socket's path is short, and its owner must reach it
    folder.mkdir(mode=0o700)
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # postgres refuses to run as root
        who = {"user": "nobody", "group": "nogroup"}
        shutil.chown(folder, **who)
    data = folder / "data"

    def run(*command: str | Path) -> None:
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=folder, timeout=100, **who)

    try:
        run(tools[0] / "initdb", "-D", data, "-A", "trust", "-U", "owner", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(tools[0] / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:

            def ask(text: str) -> str:
                asked = ["psql", "-X", "-h", str(folder), "-U", "owner", "-At", "-v", "ON_ERROR_STOP=1", "postgres"]
                done = subprocess.run(asked, input=text, capture_output=True, text=True, timeout=20, check=False)
                return done.stdout + done.stderr

            ask(SCHEMA)
            yield ask
        finally:
            run(tools[0] / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_on_postgres_a_useful_statement_runs(postgres: Callable[[str], str]) -> None:
    for text, _ in USEFUL:
        said = postgres(f"SET default_transaction_read_only = on; {statement(text, 'postgres').text}")
        assert "ERROR" not in said, (text, said)


def test_on_postgres_what_passes_leaks_nothing(postgres: Callable[[str], str]) -> None:
    assert "canary" in postgres("SELECT * FROM secrets")
    for text in (
        "SELECT customers FROM customers",
        "SELECT customers.* FROM customers",
        "SELECT name FROM customers WHERE name = 'x\\' UNION SELECT word FROM secrets --'",
        "SELECT name AS secrets FROM customers",
        "SELECT secrets FROM customers AS secrets",
        'SELECT "a"";SELECT word FROM secrets;--" FROM customers',
        "SELECT 'a'';SELECT word FROM secrets;--' FROM customers",
        "SELECT name FROM customers WHERE name IN ((SELECT name FROM customers))",
    ):
        try:
            made = statement(text, "postgres")
        except GuardRefused:
            continue
        assert "canary" not in postgres(made.text)
