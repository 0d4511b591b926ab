"""The SQL guard, on a real SQLite: what it lets through reads listed tables and calls listed functions, nothing else.

SQLite tells by its authorizer what a statement would do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    "WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x",
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


def test_a_refused_statement_leaves_nothing_to_the_next_and_threads_do_not_meet() -> None:
    both = guards()
    texts = [text for text, _ in USEFUL]
    alone = [str(both.apply({"q": text})["q"]) for text in texts]

    def work(_: int) -> list[str]:
        found = []
        for text in texts:
            for bad in ("SELECT (1", "SELECT " + "(" * 1500, "SELECT 'x", "SELECT * FROM secrets"):
                with pytest.raises(GuardRefused):
                    both.apply({"q": bad})
            found.append(str(both.apply({"q": text})["q"]))
        return found

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [alone] * 8


def test_what_runs_is_written_anew_with_every_name_in_quotes() -> None:
    sent = "select /* hint */ Name as n -- why\nfrom customers as c where c.city = 'x' limit 1;"
    assert statement(sent).text == 'SELECT "Name" AS "n" FROM "customers" AS "c" WHERE "c"."city" = \'x\' LIMIT 1'
    assert statement(sent, "postgres").text == statement(sent).text.replace("Name", "name")
    assert statement(sent, "mysql").text == statement(sent).text.replace('"', "`")


def test_dates_and_their_units() -> None:
    by_month = "SELECT date_trunc('month', at), count(*) FROM orders WHERE at > now() - interval '7 days' GROUP BY 1"
    some: dict[str, Any] = {"functions": ("date_trunc", "count", "now", "timestampdiff")}
    assert "DATE_TRUNC('MONTH', \"at\")" in statement(by_month, "postgres", **some).text
    assert "DAY" in statement("SELECT timestampdiff(day, a, b) FROM orders", "mysql", **some).text
    with pytest.raises(GuardRefused):
        statement("SELECT timestampdiff(secrets, a, b) FROM orders", "mysql", **some)
