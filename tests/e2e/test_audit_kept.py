"""A log and its checkpoint rolled back together look whole to themselves, and not to who kept a checkpoint (C115)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import Gateway, Principal, ToolCall

STARTER = Path(__file__).parents[2] / "gateway" / "starter_policies"


def get_order_status(order_id: str) -> str:
    return "delivered"


def work(policies: Path, home: Path) -> None:
    with Gateway.from_policies(policies, home=home, origin="desk") as gateway:
        gateway.register(get_order_status)
        call = ToolCall("call_1", "get_order_status", '{"order_id":"A-1001"}')
        gateway.session(Principal("ana")).judge_sync([call])


def verify(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", "audit", "verify", "--home", str(home), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def rolled_back(tmp_path: Path) -> tuple[Path, Path]:
    """A deployment set back to an earlier day, log and checkpoint alike; and the later checkpoint somebody kept."""
    policies = Path(shutil.copytree(STARTER, tmp_path / "policies"))
    home = tmp_path / "home"
    work(policies, home)
    shutil.copytree(home, tmp_path / "earlier")
    work(policies, home)
    kept = Path(shutil.copy(home / "checkpoints" / "desk.ckpt", tmp_path / "kept.ckpt"))
    return tmp_path / "earlier", kept


def test_c115_a_kept_checkpoint_shows_a_roll_back(rolled_back: tuple[Path, Path]) -> None:
    home, kept = rolled_back
    assert verify(home).returncode == 0, "by itself it looks whole"
    done = verify(home, "--from", str(kept))
    assert done.returncode == 1
    assert "rolled-back" in done.stdout


def test_c115_a_witness_folder_shows_a_roll_back(rolled_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, kept = rolled_back
    witness = tmp_path / "witness"
    witness.mkdir()
    shutil.copy(kept, witness / "desk.ckpt")
    done = verify(home, "--witness", str(witness))
    assert done.returncode == 1
    assert "rolled-back" in done.stdout


def test_a_kept_checkpoint_of_a_log_that_only_grew_is_met(rolled_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, _ = rolled_back
    kept = Path(shutil.copy(home / "checkpoints" / "desk.ckpt", tmp_path / "early.ckpt"))
    assert verify(tmp_path / "home", "--from", str(kept)).returncode == 0
