"""`toolgate audit reveal`: sealed data can be read by the keys' holder, never unseen, and not after an erasure."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

from typer.testing import CliRunner, Result

from gateway import Parked
from gateway.cli.app import app
from gateway.office import verify_home
from gateway.settings import locate
from tests.support import ANA, gateway_with, one, records, result, tool

NAME = "Dana Reyes \u202e"


def mail(to: str, text: str) -> str:
    return f"sent to {to}"


MAIL = tool(mail, personal=["to"], result={"keep": True})
SHUT = tool(mail, name="shut", risk="high", effect="external", secrets=["text"])


def _run(base: Path, *words: str) -> Result:
    where = ["--policies", str(base / "policies"), "--home", str(base / "home")]
    return CliRunner().invoke(app, [*words, *where])


def _sent(base: Path) -> str:
    with gateway_with(base, MAIL) as gateway:
        result(one(gateway.session(ANA), "mail", to=NAME, text="hello"))
    return str(records(base, "call.intent")[0]["call"]["call_id"])


def test_what_is_sealed_is_shown_escaped_and_the_look_is_recorded(tmp_path: Path) -> None:
    call_id = _sent(tmp_path)
    done = _run(tmp_path, "audit", "reveal", call_id)
    assert done.exit_code == 0, done.output
    assert "gw#2 personal" in done.stdout
    assert "Dana Reyes" in done.stdout
    assert "\u202e" not in done.stdout
    shown = json.loads(_run(tmp_path, "audit", "reveal", "gw#3", "--json").stdout)
    assert [(each["place"], each["what"]) for each in shown] == [
        ("gw#2", "personal"), ("gw#3", "personal"), ("gw#3", "result"),
    ]  # fmt: skip
    assert shown[0]["content"]["arguments"] == {"to": NAME}
    assert "sent to Dana Reyes" in shown[2]["content"]
    looks = records(tmp_path, "secret.revealed", origin="command-line")
    assert [(each["call_id"], each["request_id"], each["by"]) for each in looks] == [
        (call_id, None, getpass.getuser())
    ] * 2
    assert verify_home(locate(tmp_path / "policies", tmp_path / "home")).ok


def test_after_an_erasure_or_an_exchange_it_says_that_nothing_can_be_read(tmp_path: Path) -> None:
    _sent(tmp_path)
    (kept,) = (locate(tmp_path / "policies", tmp_path / "home").state / "results").iterdir()
    kept.write_bytes(b"{}")
    exchanged = _run(tmp_path, "audit", "reveal", "gw#2")
    assert exchanged.exit_code == 1
    assert "cannot be read" in exchanged.stdout
    assert "Dana Reyes" in exchanged.stdout  # the rest can
    assert _run(tmp_path, "audit", "erase", "ana", "--by", "max", "--why", "she asked").exit_code == 0
    erased = _run(tmp_path, "audit", "reveal", "gw#2")
    assert erased.exit_code == 1
    assert "Dana" not in erased.stdout
    assert "erased" in erased.stdout


def test_where_nothing_is_sealed_nothing_is_recorded(tmp_path: Path) -> None:
    with gateway_with(tmp_path, SHUT) as gateway:
        parked = one(gateway.session(ANA), "shut", to="x", text="4821")
        assert isinstance(parked, Parked)
    for named in ("gw#2", "call_nobody"):
        assert _run(tmp_path, "audit", "reveal", named).exit_code == 1
    assert not (tmp_path / "home" / "audit" / "command-line").exists()
    shown = _run(tmp_path, "approvals", "show", parked.request_id, "--reveal")
    assert "4821" in shown.stdout
    (look,) = records(tmp_path, "secret.revealed", origin="command-line")
    assert (look["request_id"], look["call_id"]) == (parked.request_id, None)
