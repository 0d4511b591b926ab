"""`make demo` shows everything it promises, on real parts; without Docker it says what it leaves out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.unit.sandbox.daemon import ready_fixture

__all__ = ["ready_fixture"]  # the fixture `ready`


def _demo(**changes: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")} | changes
    return subprocess.run(
        [sys.executable, "-m", "examples.support_desk"], capture_output=True, text=True, check=False, env=env
    )


@pytest.mark.docker
@pytest.mark.usefixtures("ready")
def test_everything_promised_is_shown() -> None:
    done = _demo()
    assert done.returncode == 0, done.stdout + done.stderr
    shown, of = done.stdout.rstrip().rpartition("\n")[2].split(" things")[0].split(" of ")
    assert shown == of
    assert int(of) >= 25
    assert "SCRIPTED" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_without_docker_the_demo_runs_and_says_why_code_is_denied() -> None:
    done = _demo(DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run_python is denied here" in done.stdout
    assert "needs Docker, so not shown here: no network in the sandbox" in done.stdout
