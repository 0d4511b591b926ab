"""What holds of guards whatever is sent: no reading beyond the lists, nothing hidden, no spelling with two meanings."""

from __future__ import annotations

import sqlite3
import string
from contextlib import suppress
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.policy.guard_documents import (
    ArgvGuard,
    Guard,
    HtmlGuard,
    IdentifierGuard,
    MoneyGuard,
    Program,
    SqlGuard,
    TextGuard,
    UrlGuard,
)
from gateway.validate.guards import Argv, GuardRefused, Guards, Money, PinnedClient, SafeHtml, Statement
from gateway.validate.guards.address import is_public
from gateway.validate.guards.network import StandIn
from tests.unit.validate.test_guard_sql import Lite
from tests.unit.validate.test_guard_text import Active


def handed(guard: Guard, value: object) -> object:
    """What the tool would get: the value itself where nothing is handed over, None after a refusal."""
    try:
        return Guards({"a": guard}, {}, network=StandIn()).apply({"a": value}).get("a", value)
    except GuardRefused:
        return None


SQL = SqlGuard(kind="sql", dialect="sqlite", tables=("customers", "orders"))
LITE = Lite()
pieces = st.sampled_from(
    [
        "SELECT",
        "name",
        "*",
        "word",
        "FROM",
        "customers",
        "orders",
        "secrets",
        "main.secrets",
        "sqlite_master",
        "x",
        "AS",
        ",",
        "(",
        ")",
        "WHERE",
        "IN",
        "NOT",
        "EXISTS",
        "UNION ALL",
        "WITH",
        "RECURSIVE",
        "JOIN",
        "ON",
        "1",
        "= 1",
        "'a'",
        '"secrets"',
        "[secrets]",
        "`word`",
        "--",
        "/*",
        "*/",
        ";",
        "'",
        "count(*)",
        "load_extension('x')",
        "randomblob(9)",
        "pragma_table_info('x')",
        "ORDER BY",
        "LIMIT 1",
        "CASE WHEN",
        "THEN",
        "END",
        "id",
        "||",
        "LIKE",
        "IS NULL",
        "VALUES",
        "TABLE",
        "\n",
        "CAST(1 AS TEXT)",
    ]
)
words = st.lists(pieces, max_size=14).map(" ".join)
inside = words.map(lambda text: f"SELECT name FROM customers WHERE id IN (SELECT {text})")
beside = words.map(lambda text: f"SELECT name FROM customers {text}")
above = st.tuples(words, words).map(lambda two: f"WITH x AS (SELECT {two[0]}) SELECT * FROM x {two[1]}")


@given(words | inside | beside | above | st.text(max_size=60))
@example("SELECT name FROM customers WHERE 'canary' IN secrets")
@example("SELECT * FROM secrets, (WITH secrets AS (SELECT 1) SELECT * FROM secrets) AS x")
def test_c050_a_statement_that_passes_touches_listed_tables_only(text: str) -> None:
    """SQLite itself says what the statement read and called."""
    made = handed(SQL, text)
    if made is None:
        return
    assert isinstance(made, Statement)
    with suppress(sqlite3.Error):
        LITE.run(made.text)
    assert LITE.beyond() == set()
    again = handed(SQL, made.text)
    assert isinstance(again, Statement)
    assert (again.text, again.tables) == (made.text, made.tables)


NAT64 = IPv6Network("64:ff9b::/96")
ANY = UrlGuard(kind="url", any_public_host=True, schemes=("http", "https"))
urlish = st.lists(
    st.sampled_from(
        [
            "http",
            "https",
            "file",
            ":",
            "//",
            "/",
            "\\",
            "@",
            "#",
            "?",
            "%",
            "%2e",
            "[",
            "]",
            "::1",
            "a.example",
            "127.0.0.1",
            "127.1",
            "0x7f",
            "1",
            "2130706433",
            ".",
            "..",
            "-",
            "_",
            "\u3002",
            "\u2460",
            ":80",
            ":443",
            ":22",
            " ",
            "\t",
            "\n",
            "\0",
            "\u202e",
            "A",
        ]
    ),
    max_size=9,
).map("".join)


@given(urlish | urlish.map("http://".__add__) | st.text(max_size=30).map("https://".__add__))
def test_an_address_that_passes_has_one_meaning(text: str) -> None:
    """The standard library reads the same host and port out of it, and no part needs repair."""
    made = handed(ANY, text)
    if made is None:
        return
    assert isinstance(made, PinnedClient)
    read = urlsplit(made.url)
    assert (read.scheme in ("http", "https"), read.username, read.password) == (True, None, None)
    sent = urlsplit(text)
    assert (sent.hostname or "") == read.hostname
    assert made.url.isascii()
    assert not set(made.url) & set(" \t\r\n\\\0@") - ({"@"} if "@" in read.path + read.query else set())
    assert all(is_public(address) for address in made.addresses)


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_judged_alike_behind_nat64(number: int) -> None:
    """Never more public than the standard library says, where it knows."""
    plain = IPv4Address(number)
    assert is_public(IPv6Address(int(IPv6Address("64:ff9b::")) + number)) == is_public(plain)
    assert not is_public(IPv6Address(f"::ffff:{plain}"))
    if is_public(plain):
        assert plain.is_global
        assert not plain.is_multicast


@given(st.integers(0, 2**128 - 1) | st.integers(0x2 << 124, (0x4 << 124) - 1))
def test_a_public_ipv6_address_is_global(number: int) -> None:
    address = ip_address(number)
    if isinstance(address, IPv6Address) and is_public(address) and address not in NAT64:
        assert address.is_global


COMMAND = ArgvGuard(
    kind="argv",
    programs={
        "wc": Program(path="/usr/bin/wc", flags={"-l": "none", "--n": "integer"}, operands="text", max_operands=2)
    },
)
wordish = st.sampled_from(
    ["wc", "-l", "--n", "--n=3", "--n=x", "-", "--", "3", "a b", "; id", "-x", "\0", "", "\n"]
) | st.text(max_size=5)


@given(st.lists(wordish, max_size=5).map(lambda rest: ["wc", *rest]))
def test_a_command_that_passes_has_listed_flags_only(command: list[str]) -> None:
    made = handed(COMMAND, command)
    if made is None:
        return
    assert isinstance(made, Argv)
    assert made[0] == "/usr/bin/wc"
    for place, word in enumerate(made[1:], 1):
        assert word in ("-l", "--n") or not word.startswith("-") or (word.startswith("--n=") and word[4:].isdigit())
        assert word.isprintable()
        if word == "--n":
            assert made[place + 1].isdigit()


htmlish = st.lists(
    st.sampled_from(
        [
            "<",
            ">",
            "</",
            "/>",
            "script",
            "img",
            "svg",
            "math",
            "style",
            "a",
            "b",
            "p",
            "template",
            "noscript",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            " href=",
            " onerror=",
            " src=",
            "javascript:",
            "java&#115;cript:",
            "//evil",
            "alert(1)",
            "'",
            '"',
            "&lt;",
            "&#60;",
            "`",
            "<script>",
            "</script>",
            "<a href=",
            "<b>",
            "</b>",
            "<table>",
            "<td>",
            "<title>",
            "<textarea>",
            "<plaintext>",
            "x",
            " ",
            "\n",
        ]
    ),
    max_size=14,
).map("".join)


@given(htmlish)
def test_html_that_passes_is_inert_and_stays_as_it_is(text: str) -> None:
    made = handed(HtmlGuard(kind="html"), text)
    assert isinstance(made, SafeHtml)
    assert Active(made).found == []
    assert handed(HtmlGuard(kind="html"), str(made)) == made


@given(st.text(alphabet=st.characters(min_codepoint=1), max_size=20))
def test_text_that_passes_shows_all_it_has(text: str) -> None:
    made = handed(TextGuard(kind="text"), text)
    if made is not None:
        assert not set(text) & set(
            "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u2060\ufeff\x1b\x7f\u2028\u2029"
        )
    if text.isalnum() and text.isascii():
        assert made == text


@given(st.decimals(min_value=0, max_value=10**6, places=2))
def test_an_amount_is_exact(amount: Decimal) -> None:
    made = handed(MoneyGuard(kind="money", currencies=("EUR",), max="1000000"), f"{amount:f}".removeprefix("-"))
    assert isinstance(made, Money)
    assert (made.amount, made.minor_units) == (abs(amount), int(abs(amount) * 100))


@given(st.text(max_size=12) | st.text(alphabet=string.ascii_letters + string.digits + "_-#'\" ;\n\u0661", max_size=8))
def test_an_identifier_is_ascii_letters_and_digits(text: str) -> None:
    made = handed(IdentifierGuard(kind="identifier"), text)
    assert (made is not None) == (text != "" and text.isascii() and text.isalnum())
