"""gVisor as the runtime: held to the same rows as runc, and never replaced by it (C104)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import DockerEngine, SandboxSpec, SandboxUnavailable, Sessions, Verdict
from sandbox.host import host_facts
from sandbox.image.build import ensure
from sandbox.self_check import Outcome, Probe, quick_check, self_check
from scripts import docker_daemon
from tests.unit.sandbox.daemon import PROFILE, ROOT, Daemon, daemon_fixture, ready_fixture  # noqa: F401

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
GVISOR = replace(PROFILE, runtime="runsc", deadline_s=30)


@contextmanager
def daemon_with_gvisor(folder: Path) -> Iterator[tuple[DockerEngine, SandboxSpec]]:
    """A private daemon that has runsc, installed if need be; without root or apt a skip, and in CI a failure."""
    cache = Path(os.environ.get("TOOLGATE_SANDBOX_CACHE") or ROOT / ".cache/toolgate")
    try:
        if docker_daemon.find("runsc") is None:
            docker_daemon.install("runsc", "runsc")
        with docker_daemon.private_daemon() as host:
            engine = DockerEngine(host, owner="test-gvisor")
            yield engine, GVISOR.pinned_to(ensure(engine, cache, folder / "lock"))
    except docker_daemon.DockerAbsent as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs gVisor: {reason}")
        pytest.skip(f"no gVisor: {reason}")


@pytest.fixture(scope="module")
def gvisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DockerEngine, SandboxSpec]]:
    with daemon_with_gvisor(tmp_path_factory.mktemp("gvisor")) as found:
        yield found


def failed(probes: list[Probe]) -> set[str]:
    return {probe.name for probe in probes if probe.outcome is Outcome.FAILED}


def test_every_row_that_must_hold_holds_under_gvisor(gvisor: tuple[DockerEngine, SandboxSpec]) -> None:
    engine, spec = gvisor
    probes = self_check(engine, spec, host_facts(engine.host))
    assert failed(probes) == set()
    by_name = {probe.name: probe for probe in probes}
    assert by_name["own_kernel"].outcome is Outcome.PASSED
    assert by_name["runtime_present"].seen == "runsc"
    assert not by_name["oom_score"].required  # gVisor does not show the host's


def test_ordinary_programs_run_under_gvisor(gvisor: tuple[DockerEngine, SandboxSpec]) -> None:
    engine, spec = gvisor
    result = engine.run(
        spec,
        b"""
import asyncio, json, os, shutil, sqlite3, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    squares = list(pool.map(lambda n: n * n, range(4)))
async def both():
    return await asyncio.gather(asyncio.sleep(0, 1), asyncio.to_thread(sum, [1, 1]))
child = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True)
open("/tmp/a", "w").write("x")
shutil.copy2("/tmp/a", "/tmp/b")
one = sqlite3.connect(":memory:").execute("select 1").fetchone()
print(json.dumps([squares, asyncio.run(both()), child.stdout, one]))
""",
    )
    assert (result.verdict, result.stderr) == (Verdict.OK, "")
    assert json.loads(result.stdout) == [[0, 1, 4, 9], [1, 2], "42\n", [1]]


def test_a_session_lives_on_under_gvisor_and_ends_with_its_memory(gvisor: tuple[DockerEngine, SandboxSpec]) -> None:
    """gVisor's kernel does not count who was killed for memory, so each run is followed by a look at Docker's State."""
    engine, spec = gvisor
    with Sessions(engine, spec) as sessions:
        assert sessions.run("ana", b"x = 41").alive
        again = sessions.run("ana", b"x + 1")
        assert (again.value, again.alive, again.verdict) == ("42", True, Verdict.OK)
        failed = sessions.run("ana", b"1 / 0")
        assert (failed.verdict, failed.alive) == (Verdict.CODE_FAILED, True)
        over = sessions.run("ana", b"held = bytearray(1 << 30)\nprint('all of it')")
        assert over.verdict in {Verdict.OOM, Verdict.KILLED}
        assert not over.alive
        assert sessions.run("ana", b"'x' in dir()").value == "False"


def test_gvisor_that_ignores_cgroups_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request is granted in every field, and yet nothing bounds its memory: only a look from inside shows it."""
    monkeypatch.setattr(docker_daemon, "RUNSC_ARGUMENTS", (*docker_daemon.RUNSC_ARGUMENTS, "--ignore-cgroups"))
    with daemon_with_gvisor(tmp_path) as (engine, spec):
        probes = quick_check(engine, spec, host_facts(engine.host))
    assert failed(probes) == {"memory_bounded", "memory_of_children_flagged"}


def test_c104_a_runtime_that_is_missing_refuses_and_runs_nothing(daemon: Daemon) -> None:
    missing = replace(daemon.spec, profile=replace(PROFILE, runtime="no-such-runtime"))
    with pytest.raises(SandboxUnavailable, match="no-such-runtime"):
        daemon.engine.run(missing, b"print('ran')")
    assert daemon.ours() == []
