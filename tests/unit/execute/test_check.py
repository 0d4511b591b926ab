"""No code runs where a row that must hold is known to have failed, or was never looked at (C105, C106)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.execute import check
from gateway.execute.check import CheckedRunner, Checks, checked
from gateway.execute.port import Caller, CodeJob, CodeRun
from gateway.execute.stage import SandboxUnavailable
from sandbox.host import HostFacts
from sandbox.self_check import Outcome, Probe
from tests.unit.sandbox.daemon import PROFILE, ROOT, Daemon, daemon_fixture, ready_fixture  # noqa: F401

SPEC = PROFILE.pinned_to("sha256:" + "a" * 64)
DOCUMENT = yaml.safe_load((ROOT / "policies/sandbox/python.yaml").read_text())
FACTS = HostFacts(
    daemon_id="ID",
    boot_id="boot",
    engine="20.10",
    runc="1.2.8",
    kernel="6",
    cgroup_version="2",
    limits={},
    security=(),
    runtimes={},
)
GOOD = Probe("root_read_only", required=True, outcome=Outcome.PASSED, seen="EROFS")
BAD = Probe("memory_bounded", required=True, outcome=Outcome.FAILED, seen="ok (exit code 0)")
LACKING = Probe("apparmor", required=False, outcome=Outcome.ABSENT, seen="unconfined")
CALLER = Caller("ana", None, "c")


class Runner:
    """Counts what would have run."""

    def __init__(self) -> None:
        self.ran = 0
        self.closed = False

    def run(self, job: CodeJob, cancel: threading.Event) -> CodeRun:
        self.ran += 1
        return CodeRun(True, "ok", {}, {})

    def identity(self) -> dict[str, object]:
        return {"profile": "python"}

    def mark(self, caller: Caller) -> dict[str, object] | None:
        return {"id": caller.conversation}

    def artifact(self, sha256: str) -> bytes | None:
        return sha256.encode()

    def close(self) -> None:
        self.closed = True


def run(runner: CheckedRunner) -> CodeRun:
    return runner.run(CodeJob("print(1)", 5, CALLER, stateful=False, inputs={}), threading.Event())


def test_a_result_is_read_back_where_it_was_made(tmp_path: Path) -> None:
    checks = Checks(tmp_path)
    assert checks.failed(SPEC, FACTS) is None
    checks.keep(SPEC, FACTS, [GOOD, LACKING])
    assert Checks(tmp_path).failed(SPEC, FACTS) == ()
    checks.keep(SPEC, FACTS, [GOOD, BAD, LACKING])
    assert Checks(tmp_path).failed(SPEC, FACTS) == ("memory_bounded",)
    assert (tmp_path / check.FOLDER).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"facts": replace(FACTS, boot_id="later")},
        {"facts": replace(FACTS, daemon_id="other")},
        {"facts": replace(FACTS, runtimes={"runc": "other"})},
        {"spec": replace(SPEC, image_id="sha256:" + "b" * 64)},
        {"spec": replace(SPEC, profile=replace(PROFILE, memory_mib=512))},
        {"spec": replace(SPEC, profile=replace(PROFILE, runtime="runsc"))},
        {"suite": "another suite"},
    ],
)
def test_a_result_of_another_place_or_suite_is_no_result(
    tmp_path: Path, elsewhere: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Checks(tmp_path).keep(SPEC, FACTS, [GOOD])
    if "suite" in elsewhere:
        monkeypatch.setattr(check, "suite_digest", lambda: elsewhere["suite"])
    assert Checks(tmp_path).failed(elsewhere.get("spec", SPEC), elsewhere.get("facts", FACTS)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"failed": []}', '{"here": 1, "failed": []}'])
def test_a_file_that_says_nothing_is_no_result(tmp_path: Path, text: str) -> None:
    Checks(tmp_path).keep(SPEC, FACTS, [GOOD])
    next((tmp_path / check.FOLDER).iterdir()).write_text(text)
    assert Checks(tmp_path).failed(SPEC, FACTS) is None


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A platform that the quick rows find as told; says how often they were looked at."""

    def platform(*probes: Probe) -> list[str]:
        seen: list[str] = []
        monkeypatch.setattr(check, "host_facts", lambda host: FACTS)
        monkeypatch.setattr(check, "quick_check", lambda *_: [seen.append("looked"), list(probes)][1])
        return seen

    return platform


def test_the_first_run_looks_and_the_next_do_not(tmp_path: Path, looked: Callable[..., list[str]]) -> None:
    seen = looked(GOOD, LACKING)
    for inner in (Runner(), Runner()):  # the second stands for the next process
        runner = CheckedRunner(inner, SPEC, Checks(tmp_path), "owner")
        assert [run(runner).ok for _ in range(3)] == [True] * 3
        assert inner.ran == 3
    assert seen == ["looked"]


def test_c106_nothing_runs_where_a_row_that_must_hold_does_not(
    tmp_path: Path, looked: Callable[..., list[str]]
) -> None:
    seen = looked(GOOD, BAD)
    inner = Runner()
    runner = CheckedRunner(inner, SPEC, Checks(tmp_path), "owner")
    for _ in range(2):
        with pytest.raises(SandboxUnavailable, match=r"memory_bounded.*toolgate sandbox check"):
            run(runner)
    assert (inner.ran, seen) == (0, ["looked"])
    Checks(tmp_path).keep(SPEC, FACTS, [GOOD])  # mended, and looked at again from the command line
    assert run(runner).ok


def test_nothing_runs_where_nobody_could_look(tmp_path: Path, looked: Callable[..., list[str]]) -> None:
    looked(GOOD)
    (tmp_path / check.FOLDER).write_text("in the way")
    inner = Runner()
    with pytest.raises(SandboxUnavailable, match="could not be checked"):
        run(CheckedRunner(inner, SPEC, Checks(tmp_path), "owner"))
    assert inner.ran == 0


def test_what_is_not_a_run_passes_through(tmp_path: Path) -> None:
    inner = Runner()
    runner = CheckedRunner(inner, SPEC, Checks(tmp_path), "owner")
    assert runner.identity() == {"profile": "python"}
    assert runner.mark(CALLER) == {"id": "c"}
    assert runner.artifact("d") == b"d"
    runner.close()
    assert inner.closed


def test_c105_a_start_refuses_a_profile_whose_last_check_failed(
    tmp_path: Path, looked: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = looked(GOOD)
    monkeypatch.setattr(check, "pinned_image", lambda image: SPEC.image_id)
    profiles = {"python": DOCUMENT, "small": {**DOCUMENT, "memory_mib": 128}}
    Checks(tmp_path).keep(SPEC, FACTS, [BAD])
    runners = {name: Runner() for name in profiles}
    kept, refused = checked(runners, {"gone": "no image"}, profiles, state=tmp_path, owner="owner")
    assert set(kept) == {"small"}
    assert refused["gone"] == "no image"
    assert "memory_bounded" in refused["python"]
    assert runners["python"].closed
    assert seen == []  # a start looks at nothing


def toolgate(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "gateway.cli", "sandbox", "check", *words]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.docker
def test_the_command_shows_every_row_and_gateways_go_by_its_result(daemon: Daemon, tmp_path: Path) -> None:
    done = toolgate("--profile", "python", "--home", str(tmp_path / "home"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = json.loads(done.stdout)
    assert report["ok"] is True
    assert (report["profile"], report["runtime"], report["image"]) == ("python", "runc", daemon.spec.image_id)
    assert len(report["rows"]) >= 50
    assert {row["level"] for row in report["rows"]} == {"must", "should"}
    state = tmp_path / "home/state"
    assert Checks(state).failed(daemon.spec, check.host_facts(daemon.engine.host)) == ()


@pytest.mark.docker
def test_the_quick_rows_are_looked_at_for_real_before_the_first_run(daemon: Daemon, tmp_path: Path) -> None:
    inner = Runner()
    assert run(CheckedRunner(inner, daemon.spec, Checks(tmp_path), daemon.engine.owner)).ok
    assert Checks(tmp_path).failed(daemon.spec, check.host_facts(daemon.engine.host)) == ()
    missing = replace(daemon.spec, profile=replace(PROFILE, runtime="no-such-runtime"))
    with pytest.raises(SandboxUnavailable, match="runtime_present"):  # C104
        run(CheckedRunner(inner, missing, Checks(tmp_path), daemon.engine.owner))
    assert inner.ran == 1


def test_a_profile_that_cannot_be_checked_is_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLGATE_SANDBOX_CACHE", str(tmp_path / "empty"))
    done = toolgate("--profile", "python", "--home", str(tmp_path / "home"))
    assert done.returncode == 2
    assert "not checked" in done.stdout
    assert "no lock file" in done.stdout
    assert toolgate("--profile", "none", "--home", str(tmp_path / "home")).returncode == 2
