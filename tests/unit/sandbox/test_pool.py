"""Waiting containers are used once, replaced, and never weaker or other than a cold run's (C110)."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import DockerEngine, Pool, RunCancelled, SandboxSpec, SandboxUnavailable, Verdict
from sandbox import pool as pool_module
from sandbox.docker import Container
from tests.unit.sandbox.daemon import PROFILE, Daemon, Gate, daemon_fixture, gate_fixture, ready_fixture, until  # noqa: F401

pytestmark = pytest.mark.docker


@pytest.fixture
def pool(daemon: Daemon) -> Iterator[Pool]:
    with Pool(daemon.engine, daemon.spec, 2) as made:
        assert made.wait_until_full(30)
        yield made


def ids(daemon: Daemon) -> set[str]:
    return {container["Id"] for container in daemon.ours()}


def test_a_run_uses_a_waiting_container_and_another_takes_its_place(daemon: Daemon, pool: Pool) -> None:
    waiting = ids(daemon)
    assert len(waiting) == 2
    result = pool.run(b"print(6 * 7)")
    assert (result.verdict, result.stdout) == (Verdict.OK, "42\n")
    assert result.container_id in waiting
    assert pool.wait_until_full(30)
    until(lambda: True if len(ids(daemon)) == 2 else None)
    assert result.container_id not in ids(daemon)


def test_c110_no_container_is_used_twice(daemon: Daemon, pool: Pool) -> None:
    code = b"import os\nprint(sorted(os.listdir('/tmp')), 'left' in dir())\nopen('/tmp/left', 'w').write('x')\nleft = 1"
    results = [pool.run(code) for _ in range(6)]  # more than there are: some of them run cold
    assert {result.stdout for result in results} == {"['in', 'out'] False\n"}
    assert len({result.container_id for result in results}) == 6


def test_an_empty_pool_runs_cold_under_the_same_specification(daemon: Daemon) -> None:
    seen: list[SandboxSpec] = []

    class Watched(DockerEngine):
        def open(self, spec: SandboxSpec, lease_s: float, cancel: threading.Event | None = None) -> Container:
            seen.append(spec)
            return super().open(spec, lease_s, cancel)

    with Pool(Watched(owner=daemon.engine.owner), daemon.spec, 0) as none_waiting:
        assert none_waiting.run(b"print(1)").stdout == "1\n"
    assert seen == [daemon.spec]


def test_closing_leaves_nothing_and_refuses_more(daemon: Daemon) -> None:
    pool = Pool(daemon.engine, daemon.spec, 3)
    pool.close()  # while they are still starting
    assert ids(daemon) == set()
    pool.close()
    with pytest.raises(SandboxUnavailable, match="closed"):
        pool.run(b"print(1)")


def test_a_container_that_ended_while_it_waited_is_not_given_code(daemon: Daemon, pool: Pool) -> None:
    for container in ids(daemon):
        daemon.api.kill(container, "SIGKILL")
        daemon.api.wait(container)
    assert pool.run(b"print(1)").stdout == "1\n"


def test_a_container_rests_for_a_bounded_time(daemon: Daemon) -> None:
    now = 0.0
    with Pool(daemon.engine, daemon.spec, 1, clock=lambda: now) as pool:
        assert pool.wait_until_full(30)
        old = ids(daemon)
        now = pool_module.REST_S
        assert pool.run(b"print(1)").container_id not in old
        until(lambda: True if not ids(daemon) & old else None)


def test_the_lease_outlives_the_rest(daemon: Daemon, pool: Pool) -> None:
    later = DockerEngine(owner=daemon.engine.owner, clock=lambda: __import__("time").time() + pool_module.REST_S)
    assert later.reap() == []
    assert pool.run(b"1").verdict is Verdict.OK


def test_a_cancelled_run_ends_its_container(daemon: Daemon, pool: Pool) -> None:
    cancel = threading.Event()
    code = b"import time\nprint('begun', flush=True)\ntime.sleep(600)"
    result = pool.run(code, cancel=cancel, hear=lambda *_: cancel.set())
    assert result.verdict is Verdict.KILLED
    with pytest.raises(RunCancelled):
        pool.run(b"print(1)", cancel=cancel)
    until(lambda: True if result.container_id not in ids(daemon) else None)


def test_c099_a_daemon_that_is_lost_makes_runs_fail_and_is_told(
    daemon: Daemon, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    behind = DockerEngine(gate.host, owner=daemon.engine.owner)
    with Pool(behind, daemon.spec, 1) as pool:
        assert pool.wait_until_full(30)
        left = ids(daemon)
        gate.cut()
        with pytest.raises(SandboxUnavailable):
            pool.run(b"print(1)")
    assert "no container could be made ready" in caplog.text or "was not removed" in caplog.text
    for container in left:
        until(lambda c=container: True if daemon.api.inspect_container(c)["State"]["Status"] == "exited" else None)  # type: ignore[misc]
        daemon.api.remove_container(container, force=True)


def test_c099_who_keeps_the_log_keeps_no_descriptor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    engine = DockerEngine(f"unix://{tmp_path}/nobody-listens")
    before = descriptors()
    with Pool(engine, PROFILE.pinned_to("sha256:" + "0" * 64), 1):
        until(lambda: True if "no container could be made ready" in caplog.text else None)
    engine.tidy()
    assert "could not be looked for" in caplog.text
    assert descriptors() == before


def test_modules_are_loaded_before_the_code_comes(daemon: Daemon) -> None:
    spec = replace(daemon.spec, profile=replace(PROFILE, preload=("json", "csv")))
    with Pool(daemon.engine, spec, 1) as pool:
        assert pool.wait_until_full(30)
        assert pool.run(b"import sys\nprint('csv' in sys.modules, 'csv' in dir())").stdout == "True False\n"


def test_a_module_that_is_not_there_makes_no_container_ready(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    spec = replace(daemon.spec, profile=replace(PROFILE, preload=("no_such_module",)))
    with Pool(daemon.engine, spec, 1) as pool:
        until(lambda: True if "No module named 'no_such_module'" in caplog.text else None)
        assert pool.run(b"print(1)").verdict is not Verdict.OK
