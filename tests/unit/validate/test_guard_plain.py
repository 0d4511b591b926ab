"""Identifiers and money: grammars from end to end, exact amounts (C048)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.policy.guard_documents import IdentifierGuard, MoneyGuard
from gateway.validate.guards import GuardRefused, Guards, Money

ORDER = {"prefix": "#W", "chars": "digits", "min_chars": 7, "max_chars": 7}
ACCOUNT = {"separators": "_-", "max_chars": 20}


def identified(value: object, **options: Any) -> bool:
    try:
        return Guards({"i": IdentifierGuard(kind="identifier", **options)}, {}).apply({"i": value}) == {}
    except GuardRefused:
        return False


@pytest.mark.parametrize(
    ("options", "value", "fits"),
    [
        (ORDER, "#W1234567", True),
        (ORDER, "#W123456", False),
        (ORDER, "#W12345678", False),
        (ORDER, "W1234567", False),
        (ORDER, "#w1234567", False),
        (ORDER, "x#W1234567", False),
        (ACCOUNT, "gift_card-1", True),
        (ACCOUNT, "_a", False),
        (ACCOUNT, "a_", False),
        (ACCOUNT, "a__b", False),
        (ACCOUNT, "a-_b", False),
        (ACCOUNT, "a.b", False),
        (ACCOUNT, "a" * 21, False),
        (ACCOUNT, "", False),
        (ACCOUNT, "a b", False),
        (ACCOUNT, ["a", "b"], True),
        (ACCOUNT, ["a", "b;"], False),
        (ACCOUNT, 7, False),
        ({"chars": "hex"}, "0af", True),
        ({"chars": "hex"}, "0AF", False),
        ({"chars": "letters"}, "aZ", True),
        ({"chars": "letters"}, "a1", False),
    ],
)
def test_an_identifier(options: dict[str, Any], value: object, fits: bool) -> None:
    assert identified(value, **options) is fits


@pytest.mark.parametrize(
    "value", ["#W1234567\n", "#W123456\u0667", "#W\uff11234567", "#W1234567\0", "#W1234567' OR 1=1", "#W1234567\r\n"]
)
def test_from_end_to_end_and_ascii_only(value: str) -> None:
    assert not identified(value, **ORDER)


def test_c044_a_long_near_miss_is_quick() -> None:
    assert not identified("a-" * 5_000_000 + "!", separators="._-", max_chars=256)
    assert not identified("a" * 255 + "!", separators="._-", max_chars=256)


def paid(value: object, **options: Any) -> Money:
    given = {"currencies": ("EUR",), "max": "1000"} | options
    found = Guards({"m": MoneyGuard(kind="money", **given)}, {}).apply({"m": value})["m"]
    assert isinstance(found, Money)
    return found


def test_an_exact_amount() -> None:
    assert paid("12.50 EUR") == paid("12.5") == paid("12.50") == Money(Decimal("12.50"), "EUR")
    assert str(paid("12.5")) == "12.50 EUR"
    assert paid("0.1").minor_units + paid("0.2").minor_units == paid("0.3").minor_units == 30
    assert paid("7 JPY", currencies=("EUR", "JPY")).minor_units == 7
    assert paid("1.234 KWD", currencies=("KWD",)).minor_units == 1234
    assert paid("1000").amount == 1000
    assert paid("999999999999999.99", max="999999999999999.99").minor_units == 99999999999999999


@pytest.mark.parametrize(
    "value",
    [
        "",
        " 1",
        "1 ",
        "-1",
        "+1",
        "1,5",
        "1.",
        ".5",
        "01",
        "00",
        "1e3",
        "1E3",
        "0x1",
        "Infinity",
        "NaN",
        "1_000",
        "1'000",
        "\u0661",
        "\uff11",
        "1.234",
        "1.2.3",
        "1 eur",
        "1EUR",
        "1  EUR",
        "EUR 1",
        "1 USD",
        "\u20ac1",
        "1 EUR\n",
        "1\n",
        "1000.01",
        "9" * 16,
        "9" * 400,
        12.5,
        12,
        True,
        ["1"],
        {"amount": 1},
    ],
)
def test_what_is_no_amount(value: object) -> None:
    with pytest.raises(GuardRefused):
        paid(value)


def test_c048_places_bounds_and_currency() -> None:
    for value, options in (
        ("1.5 JPY", {"currencies": ("JPY",)}),
        ("1", {"currencies": ("EUR", "USD")}),
        ("4.99", {"min": "5"}),
        ("5.01", {"max": "5.00"}),
        ("1 EUR", {"currencies": ("USD",)}),
    ):
        with pytest.raises(GuardRefused):
            paid(value, **options)
    assert paid("5.00", min="5", max="5").amount == 5
