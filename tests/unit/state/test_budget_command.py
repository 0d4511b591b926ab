"""`toolgate budget`: what people see of a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from tests.support import ANA, gateway_with, one, result, tool

BUDGET = {"max": "99.5", "window_s": 3600, "per": ["principal.id", "args.customer"]}


def pay(customer: int, amount: float) -> float:
    return amount


@pytest.fixture
def spent(tmp_path: Path) -> Path:
    charged = tool(pay, effect="external", charges={"refunds": "args.amount"})
    with gateway_with(tmp_path, charged, settings={"budgets": {"refunds": BUDGET}}) as gateway:
        for customer, amount in ((17, 0.1), (17, 0.2), (18, 50)):
            result(one(gateway.session(ANA), "pay", customer=customer, amount=amount))
    return tmp_path


def run(base: Path, *words: str) -> Result:
    return CliRunner().invoke(
        app, ["budget", *words, "--policies", str(base / "policies"), "--home", str(base / "home")]
    )


def test_accounts_most_used_first(spent: Path) -> None:
    said: dict[str, Any] = json.loads(run(spent, "refunds", "--json").stdout)
    assert (said["max"], said["window_s"]) == ("99.5", 3600)
    assert [(each["spent"], each["left"]) for each in said["accounts"]] == [("50", "49.5"), ("0.3", "99.2")]
    lines = run(spent, "refunds").stdout.splitlines()
    assert lines[0] == "refunds: 99.5 in 3600 s"
    assert lines[1].split() == ["account", "spent", "running", "unknown", "left"]
    assert max(map(len, lines)) <= 80


def test_one_account_by_what_names_it(spent: Path) -> None:
    one_of = ("--of", "principal.id=ana", "--of")
    said = json.loads(run(spent, "refunds", *one_of, "args.customer=17", "--json").stdout)
    assert [each["spent"] for each in said["accounts"]] == ["0.3"]
    assert "nothing is spent of this account" in run(spent, "refunds", *one_of, "args.customer=19").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("refund",), "It has: refunds."),
        (("refunds", "--of", "args.customer=17"), "named by principal.id, args.customer"),
    ],
)
def test_what_cannot_be_shown_says_what_to_do(spent: Path, words: tuple[str, ...], said: str) -> None:
    done = run(spent, *words)
    assert done.exit_code != 0
    assert said in str(done.exception)


def test_a_pair_that_is_none_is_refused(spent: Path) -> None:
    assert "PATH=VALUE" in run(spent, "refunds", "--of", "lea").output
