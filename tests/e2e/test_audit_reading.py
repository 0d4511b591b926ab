"""`toolgate audit` over what a real gateway left behind, as people type it; a receipt in another pair of hands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.domain.call import Parked
from tests.architecture.source import ROOT
from tests.support import ANA, ORIGIN, gateway_with, one, records, tool, vote


def pay(order: str, cents: int) -> str:
    return f"paid {cents} for {order}"


def look(order: str) -> str:
    return f"{order} is on its way\x1b[2J\u202e"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment in which a look-up ran, a call was denied, and a payment was approved and ran."""
    base = tmp_path_factory.mktemp("desk")
    paying = tool(pay, effect="external", risk="high", approval={"when": "always"})
    with gateway_with(base, tool(look), paying) as gateway:
        session = gateway.session(ANA, conversation="talk")
        one(session, "look", order="A-1")
        one(session, "look", order=7)
        parked = one(session, "pay", order="A-2", cents=500)
        assert isinstance(parked, Parked)
        vote(base, parked.request_id)
        session.resume_sync(parked.request_id)
    return base


def toolgate(base: Path, *words: str, home: bool = True, code: int = 0) -> str:
    place = ("--policies", str(base / "policies"), "--home", str(base / "home")) if home else ()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "audit", *words, *place],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\u202e" not in done.stdout
    return done.stdout


def paid(base: Path) -> str:
    return str(next(r["call"]["call_id"] for r in records(base, "call.outcome") if r["call"]["tool"] == "pay"))


def test_search_by_what_people_know(desk: Path) -> None:
    assert "schema" in toolgate(desk, "search", "--decision", "denied")
    found = json.loads(toolgate(desk, "search", "--text", "A-2", "--tool", "pay", "--json"))
    assert {each["record"]["kind"] for each in found} == {"approval.requested", "call.intent", "call.outcome"}
    assert all(each["enrolled"] for each in found)
    assert "no record fits" in toolgate(desk, "search", "--principal", "nobody", code=1)
    assert toolgate(desk, "search", "--since", "1h") == toolgate(desk, "search")
    toolgate(desk, "search", "--since", "yesterday", code=2)
    toolgate(desk, "search", "--decision", "perhaps", code=2)


def test_the_story_of_a_call_at_80_columns(desk: Path) -> None:
    told = toolgate(desk, "call", paid(desk))
    assert max(map(len, told.splitlines())) <= 80
    order = [told.index(kind) for kind in ("approval.requested", "approval.voted", "call.intent", "call.outcome")]
    assert order == sorted(order)
    assert "rests on: approve by bob" in told
    assert "execute" in told
    toolgate(desk, "call", "call_unknown", code=1)


def test_a_conversation_figures_and_the_newest(desk: Path) -> None:
    timeline = toolgate(desk, "conversation", "talk")
    assert timeline.count("call.intent") == 2
    assert "bob approve" in timeline
    told = toolgate(desk, "stats")
    assert "3 calls: 2 ran, 1 denied" in told
    assert max(map(len, told.splitlines())) <= 80
    assert json.loads(toolgate(desk, "stats", "--json"))["denials"] == {"schema": 1}
    assert len(toolgate(desk, "tail", "-n", "3").splitlines()) == 3


@pytest.mark.parametrize("form", ["jsonl", "csv", "ocsf"])
def test_exports(desk: Path, form: str) -> None:
    lines = toolgate(desk, "export", "--format", form, "--conversation", "talk").splitlines()
    assert len(lines) == 6 + (form == "csv")
    if form != "csv":
        assert all(json.loads(line) for line in lines)


def test_following_shows_what_comes(desk: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "gateway.cli",
        "audit",
        "tail",
        "-f",
        "-n",
        "1",
        "--json",
        "--home",
        str(desk / "home"),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        assert first["enrolled"]
        stranger = desk / "home" / "audit" / "stranger"
        stranger.mkdir()
        (stranger / "00000000.jsonl").write_bytes(
            b'{"seq":0,"origin":"stranger","kind":"call.denied","reason":"\xe2\x80\xae"}\n'
        )
        came = json.loads(following.stdout.readline())
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0
    assert (came["origin"], came["enrolled"]) == ("stranger", False)
    assert "!stranger#0" in toolgate(desk, "search", "--decision", "denied")


def test_a_receipt_in_other_hands(desk: Path, tmp_path: Path) -> None:
    """The third party has the receipt and a public key, and no log."""
    receipt, key = tmp_path / "receipt.json", tmp_path / "gw.pub"
    toolgate(desk, "receipt", paid(desk), "-o", str(receipt))
    key.write_bytes((desk / "home" / "trust" / "origins" / f"{ORIGIN}.pub").read_bytes())
    told = toolgate(tmp_path, "check-receipt", str(receipt), "--key", str(key), home=False)
    assert told.startswith("proved: call_")
    assert "approve by bob: signature good" in told
    assert toolgate(tmp_path, "check-receipt", str(receipt), "--key", key.read_text().strip(), home=False) == told
    text = receipt.read_text()
    changed = text.replace('cents\\":500', 'cents\\":900')
    assert changed != text
    receipt.write_text(changed)
    refused = toolgate(tmp_path, "check-receipt", str(receipt), "--key", str(key), home=False, code=1)
    assert refused.startswith("REFUSED")
    assert "is not the line that was signed" in refused or "their digests differ" in refused
    toolgate(desk, "receipt", "call_unknown", code=2)


def test_no_index_no_state_no_matter(desk: Path, tmp_path: Path) -> None:
    """Evidence alone: the audit and trust folders, and nothing else."""
    for name in ("audit", "trust"):
        subprocess.run(["cp", "-r", str(desk / "home" / name), str(tmp_path / name)], check=True)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "audit", "search", "--tool", "pay", "--home", str(tmp_path)],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "for this time only" in done.stderr
    assert not (tmp_path / "state").exists()
