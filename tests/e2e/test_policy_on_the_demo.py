"""`policy impact`, `explain` and `unused` on the log that the demonstration itself leaves behind, after a real edit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import ROOT


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run: policies and log. Without Docker, so that code is denied and everything else happens."""
    base = tmp_path_factory.mktemp("demo")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "TOOLGATE_"))}
    more = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "TOOLGATE_KEEP_DEMO": "1", "TMPDIR": str(base)}
    done = subprocess.run(
        [sys.executable, "-m", "examples.support_desk"],
        capture_output=True, text=True, check=False, env=kept | more, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = base.glob("toolgate-demo-*")
    return folder


def policy(desk: Path, *words: str, code: int = 0) -> str:
    log = ["--log", str(desk / "toolgate/audit")] if words[0] != "diff" else []
    command = [sys.executable, "-m", "gateway.cli", "policy", *words, *log]
    where = ["-p", str(desk / "policies")] if words[0] != "diff" else []
    done = subprocess.run([*command, *where], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def candidate(desk: Path, tmp_path: Path, **edits: tuple[str, str]) -> Path:
    """A copy of the demo's policy with one text replaced in each contract named."""
    folder = Path(shutil.copytree(desk / "policies", tmp_path / "candidate"))
    for tool, (old, new) in edits.items():
        path = folder / f"tools/{tool}.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    return folder


@pytest.mark.timeout(600)
def test_the_policy_that_decided_changes_nothing(desk: Path) -> None:
    found = json.loads(policy(desk, "impact", str(desk / "policies"), "--json"))
    assert found["changes"] == []
    assert found["judged"] == found["same"] > 30
    assert any("secret" in why for why in found["undecidable"])
    assert any("personal" in why for why in found["undecidable"])


@pytest.mark.timeout(600)
def test_a_real_edit_shows_what_it_would_have_let_through_first(desk: Path, tmp_path: Path) -> None:
    looser = candidate(
        desk, tmp_path, initiate_refund=("<= facts.order.refundable_cents", "<= facts.order.refundable_cents + 50000")
    )
    (looser / "policy.csv").write_text(
        (looser / "policy.csv").read_text().replace("p, role:support, get_weather, call, allow\n", "")
    )
    shown = policy(desk, "impact", str(looser), code=1).splitlines()
    groups = [line.split("  ") for line in shown[1:] if "->" in line]
    assert "deny ->" in shown[1], shown
    assert any("get_weather by support" in line and "allow -> deny" in line for line in shown[2:]), shown
    assert "within_rest" in shown[1]
    assert len(groups) >= 2
    found: dict[str, Any] = json.loads(policy(desk, "impact", str(looser), "--json", code=1))
    changed = found["changes"][0]
    assert (changed["before"], changed["tool"], changed["roles"]) == ("deny", "initiate_refund", ["support"])
    told = policy(desk, "explain", changed["call"])
    assert "recorded: DENY rule" in told
    assert "(within_rest)" in told
    assert "it would be allowed if" in told


@pytest.mark.timeout(600)
def test_what_nobody_used_is_named(desk: Path) -> None:
    found = json.loads(policy(desk, "unused", "--json"))
    assert "export_customers" in found["tools"]
    assert not any("get_order_status" in grant for grant in found["grants"])
