"""`toolgate approvals show` after the end: the parked bytes are gone, and it says where the story is told."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from gateway import Parked, Released
from gateway.cli.app import app
from tests.support import ANA, gateway_with, one, tool, vote


def pay(cents: int) -> str:
    return "paid"


def shown(base: Path, request_id: str) -> str:
    where = ["-p", str(base / "policies"), "--home", str(base / "home")]
    return CliRunner().invoke(app, ["approvals", "show", request_id, *where]).output


def test_an_ended_request_names_the_command_that_tells_its_story(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(pay, risk="high", effect="external", approval={"when": "always"})) as gateway:
        session = gateway.session(ANA)
        parked = one(session, "pay", cents=25)
        assert isinstance(parked, Parked)
        before = shown(tmp_path, parked.request_id)
        assert "cents = 25" in before
        assert "cannot be shown" not in before
        vote(tmp_path, parked.request_id)
        assert isinstance(session.resume_sync(parked.request_id), Released)
        after = shown(tmp_path, parked.request_id)
    assert "what the model asks for" not in after
    assert f"toolgate audit call {parked.request_id}" in after
