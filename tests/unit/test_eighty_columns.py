"""What `policy check`, `lint`, `explain` and `doctor` print fits 80 columns; `audit show` does on a terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import Denied
from gateway.audit_tools.index import Index
from gateway.audit_tools.query import Query
from gateway.cli.app import app
from gateway.cli.audit_read import lines
from gateway.settings import locate
from tests.support import ANA, gateway_with, one, open_gateway, tool

LONG = "the amount is more than anybody in this house may pay back without being asked " * 3
NAME = "pay_back_what_was_paid_too_much_for_an_order_that_never_arrived"
PERSON = "somebody_with_a_very_long_name_who_works_for_the_customers_of_this_house"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A deployment in a deep folder with a long name of everything, and one denial in its log."""
    base = tmp_path / "-".join(["deep"] * 20)
    rule = {"id": "never", "require": f"args.why == {LONG!r}", "tell_model": LONG, "tell_people": LONG}

    def pay(why: str) -> str:
        return why

    made = tool(pay, name=NAME, risk="high", effect="external", authority=["why"], rules=[rule])
    with gateway_with(base, made, rows=[f"g, user:{PERSON}, role:nobody_ever_held"]) as gateway:
        assert isinstance(one(gateway.session(ANA), NAME, why=LONG * 2), Denied)
    return base


def told(base: Path, *words: str) -> str:
    done = CliRunner().invoke(app, [*words, "-p", str(base / "policies")], env={"COLUMNS": "80"})
    assert done.exit_code in (0, 1), done
    return done.stdout


def commands(base: Path) -> dict[str, list[str]]:
    home = ["--home", str(base / "home")]
    log = next((base / "home" / "audit").rglob("*.jsonl")).read_text()
    call_id = log[log.index('"call_id":"') :].split('"')[3]
    return {
        "check": ["policy", "check"],
        "lint": ["policy", "lint"],
        "doctor": ["doctor", *home],
        "explain": ["policy", "explain", NAME, f'{{"why": "{LONG * 2}"}}', "--as", "ana"],
        "explain a record": ["policy", "explain", call_id, *home],
    }


@pytest.mark.parametrize("name", ["check", "lint", "doctor", "explain", "explain a record"])
def test_a_long_line_goes_on_in_the_next(desk: Path, name: str) -> None:
    said = told(desk, *commands(desk)[name])
    assert said.strip()
    assert max(map(len, said.splitlines())) <= 80, said


def test_what_is_folded_is_whole(desk: Path) -> None:
    said: Any = told(desk, *commands(desk)["explain"])
    assert LONG.strip() in " ".join(said.split())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_place_of_a_record_goes_on_in_the_next(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped, a record stays one line, for `grep`."""
    origin = "a-host-with-a-name-as-long-as-a-name-of-an-origin-may-be"
    open_gateway(desk, origin=origin).close()
    where = locate(desk / "policies", desk / "home")
    with Index.open(where.state, where.audit, frozenset({"gw", origin})) as index, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", terminal := Terminal())
        patch.setenv("COLUMNS", "80")
        lines(index.newest(Query(), 40))
    said = terminal.getvalue()
    for style in ("\x1b[2m", "\x1b[31m", "\x1b[0m"):
        said = said.replace(style, "")
    assert f"{origin}#0" in said
    assert NAME in said
    assert max(map(len, said.splitlines())) <= 80
