"""`email`, `identifier`, `money`: put to use as a careless tool would, in a header, a query, a page, a path, a sum."""

from __future__ import annotations

import json
import math
import re
import shlex
import sqlite3
from decimal import Decimal, InvalidOperation
from email.utils import getaddresses

from benchmarks.guards.pages import Page
from benchmarks.guards.trial import Data, Guarded, Result, attack, serve
from gateway.policy.guard_documents import EmailGuard, IdentifierGuard, MoneyGuard
from gateway.validate.guards import Money

MOST = Decimal(500)


def measure(data: Data) -> list[Result]:
    """One result a guard."""
    return [_email(data), _identifier(data), _money(data)]


def _email(data: Data) -> Result:
    result = Result("email")
    found = dict.fromkeys(one for text in data.harmless for one in re.findall(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", text))
    good = [one.rstrip(".") for one in found]
    domains = tuple(sorted({one.partition("@")[2].lower() for one in good}))
    guarded = Guarded(EmailGuard(kind="email", domains=domains))
    evil = "eve@evil.test"
    forms = (
        "{0}, {1}",
        "{0};{1}",
        "{0} {1}",
        "{0}\r\nBcc: {1}",
        "{0}\nCc: {1}",
        "{0}%0aBcc:{1}",
        "<{1}>{0}",
        "{0} <{1}>",
        '"{0}" <{1}>',
        "{0}@evil.test",
        "{0}.evil.test",
        "{1}({0})",
        "{1}\0{0}",
        "{1}#{0}",
        "{1}?x={0}",
        "@evil.test:{0}",
        "{0}\u2028Bcc: {1}",
        "{1}",
    )

    def elsewhere(value: object) -> str:
        text = str(value)
        if any(one in text for one in "\r\n\0\u2028"):
            return "another header"
        to = [address for _, address in getaddresses([text.replace(";", ",")]) if address]
        lost = [one for one in to if one.rpartition("@")[2].lower() not in domains]
        return ", ".join(lost) or ("several" if len(to) != 1 else "")

    hostile: list[object] = [form.format(one, evil) for one in good for form in forms]
    attack(result, guarded, [*hostile, *data.hostile], elsewhere, elsewhere)
    serve(result, guarded, good, lambda value, got: "" if value == got else "changed")
    return result


def _identifier(data: Data) -> Result:
    result = Result("identifier")
    plain = Guarded(IdentifierGuard(kind="identifier", separators="_-", max_chars=64))
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE things (id TEXT)")
    database.execute("INSERT INTO things VALUES ('a thing')")

    def bends(value: object) -> str:
        """Does it change the meaning of what it is put into?"""
        text = str(value)
        try:
            if json.loads(f'{{"id": "{text}"}}') != {"id": text}:
                return "a document"
            if database.execute(f"SELECT id FROM things WHERE id = '{text}'").fetchall():
                return "a query"
        except (ValueError, sqlite3.Error):
            return "a query"
        if Page(f"<p>{text}</p>").active or shlex.quote(text) != text or text.startswith("-"):
            return "a page or a command"
        return "a path" if "/" in text or text in (".", "..") else ""

    attack(result, plain, data.hostile, bends, bends)
    orders = [one for one in data.harmless if one.startswith("#")]
    serve(result, Guarded(IdentifierGuard(kind="identifier", prefix="#W", chars="digits", min_chars=7)), orders, _same)
    digits = [one for one in data.retail if one.isdecimal()]
    serve(result, Guarded(IdentifierGuard(kind="identifier", chars="digits")), digits, _same)
    names = [one for one in data.harmless if "_" in one and not any(part in one for part in " /.,()[]{}'=:*")]
    serve(result, plain, names, _same)
    return result


def _money(data: Data) -> Result:
    result = Result("money")
    guarded = Guarded(MoneyGuard(kind="money", currencies=("EUR", "USD"), max=str(MOST)))
    numbers = sorted({int(one) % 50_000 for one in data.retail if one.isdecimal()})
    forms = (
        "-{0}",
        "1e{0}",
        "{0}e9",
        "{0}000000",
        "{0}.001",
        "0x{0}",
        "{0},000",
        "{0}_000",
        "+{0}",
        "{0} JPY",
        "NaN",
        "Infinity",
        "1{0}",
    )
    texts = [form.format(one) + (" EUR" if "JPY" not in form else "") for one in numbers for form in forms]

    def harm(value: object) -> str:
        """What a tool that reads a number in front of the currency would pay."""
        number, _, currency = str(value).partition(" ")
        try:
            amount = Decimal(number)
        except InvalidOperation:
            return ""
        return (
            "" if currency in ("EUR", "USD") and amount.is_finite() and _fits(amount) else f"pays {number} {currency}"
        )

    def through(got: object) -> str:
        assert isinstance(got, Money)
        return "" if _fits(got.amount) and got.currency in ("EUR", "USD") else f"pays {got}"

    attack(result, guarded, [*texts, *data.hostile], harm, through)
    amounts: list[object] = [f"{one // 100}.{one % 100:02} {code}" for one in numbers for code in ("EUR", "USD")]

    def wrong(value: object, got: object) -> str:
        assert isinstance(got, Money)
        number, _, currency = str(value).partition(" ")
        exact = got.amount == Decimal(number) and math.isclose(got.minor_units, float(number) * 100)
        return "" if exact and got.currency == currency else f"became {got}"

    serve(result, guarded, amounts, wrong)
    return result


def _fits(amount: Decimal) -> bool:
    return 0 <= amount <= MOST and amount == amount.quantize(Decimal("0.01"))


def _same(value: object, got: object) -> str:
    return "" if value == got else "changed"
