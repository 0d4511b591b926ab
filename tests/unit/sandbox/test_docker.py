"""The life of a container when the daemon, the gateway or the caller fails (C076, C099-C105)."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
import requests.exceptions

from sandbox import (
    DockerEngine,
    ImageNotPinned,
    InputRefused,
    Pool,
    RunCancelled,
    Sandbox,
    SandboxRefused,
    SandboxResult,
    SandboxSpec,
    SandboxUnavailable,
    Sessions,
    Verdict,
)
from sandbox import docker as engine_module
from sandbox.image import lock
from sandbox.image.build import IMAGE_NAME
from tests.unit.sandbox.daemon import (  # noqa: F401
    PROFILE,
    ROOT,
    Daemon,
    Gate,
    daemon_fixture,
    gate_fixture,
    ready_fixture,
    until,
)

pytestmark = pytest.mark.docker


def test_c099_a_lost_daemon_is_a_failure_never_an_empty_success(daemon: Daemon, gate: Gate) -> None:
    behind = DockerEngine(gate.host, owner=daemon.engine.owner)
    results: list[SandboxResult] = []
    worker = threading.Thread(target=lambda: results.append(behind.run(daemon.spec, b"import time; time.sleep(600)")))
    worker.start()
    left = daemon.wait_for_one()["Id"]
    gate.cut()
    worker.join()
    assert [r.verdict for r in results] == [Verdict.SANDBOX_FAILED]
    assert results[0].exit_code is None
    assert "lost" in results[0].detail
    with pytest.raises(SandboxUnavailable):
        behind.run(daemon.spec, b"print(1)")
    daemon.api.remove_container(left, force=True)


def test_c100_a_killed_gateway_leaves_a_container_that_is_reaped_after_its_lease(daemon: Daemon) -> None:
    program = (
        "import sys, yaml\n"
        "from sandbox import DockerEngine, SandboxProfile\n"
        "profile = SandboxProfile.from_mapping(yaml.safe_load(open('policies/sandbox/python.yaml')))\n"
        "DockerEngine(owner=sys.argv[1]).run(profile.pinned_to(sys.argv[2]), b'import time; time.sleep(600)')\n"
    )
    gateway = subprocess.Popen(
        [sys.executable, "-c", program, daemon.engine.owner, daemon.spec.image_id],
        cwd=ROOT,
        env={**os.environ, "DOCKER_HOST": daemon.engine.host},
    )
    left = daemon.wait_for_one()["Id"]
    gateway.send_signal(signal.SIGKILL)
    gateway.wait()
    assert daemon.engine.reap() == []  # the lease runs: it might be a live neighbour's
    later = DockerEngine(owner=daemon.engine.owner, clock=lambda: time.time() + 3600)
    assert later.reap() == [left]
    assert later.reap() == []


def foreign(daemon: Daemon, name: str, labels: Mapping[str, str]) -> str:
    made = daemon.api.create_container_from_config({"Image": daemon.spec.image_id, "Labels": dict(labels)}, name)
    daemon.made.append(made["Id"])
    return str(made["Id"])


def test_c101_foreign_containers_with_similar_labels_stay(daemon: Daemon) -> None:
    owner, mark = daemon.engine.owner, secrets.token_hex(6)
    labels = {"toolgate.sandbox": "python", "toolgate.owner": owner, "toolgate.lease": "1"}
    ours = foreign(daemon, f"{engine_module.NAME_PREFIX}{mark}", labels)
    others = [
        foreign(daemon, f"{engine_module.NAME_PREFIX}{mark}-{number}", {**labels, **change})
        for number, change in enumerate(
            (
                {"toolgate.owner": f"{owner}2"},
                {"toolgate.owner": ""},
                {"toolgate.sandbox": "other"},
                {"toolgate.lease": "soon"},
                {"toolgate.lease": "-1"},
                {"toolgate.lease": str(int(time.time()) + 600)},
            )
        )
    ]
    others.append(foreign(daemon, f"someone-{mark}", labels))
    assert daemon.engine.reap() == [ours]
    assert {c["Id"] for c in daemon.api.containers(all=True)} >= set(others)
    for container in others:
        daemon.api.remove_container(container, force=True)


def test_c101_a_taken_name_is_chosen_anew(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = secrets.token_hex(8), secrets.token_hex(8)
    blocking = foreign(daemon, engine_module.NAME_PREFIX + taken, {})
    draws = iter([taken, taken, free])
    monkeypatch.setattr(engine_module.secrets, "token_hex", lambda _: next(draws))
    result = daemon.run("print(1)")
    assert result.verdict is Verdict.OK
    assert result.container_id != blocking
    assert daemon.api.inspect_container(blocking)["State"]["Status"] == "created"


def test_c101_names_that_stay_taken_are_a_fault(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = secrets.token_hex(8)
    foreign(daemon, engine_module.NAME_PREFIX + taken, {})
    monkeypatch.setattr(engine_module.secrets, "token_hex", lambda _: taken)
    with pytest.raises(SandboxUnavailable, match="in use"):
        daemon.run("print(1)")


def test_c102_a_container_that_is_already_gone_at_removal_is_no_error(daemon: Daemon) -> None:
    class Preceded(DockerEngine):
        def remove(self, client: Any, container: str) -> None:
            client.remove_container(container, force=True)
            super().remove(client, container)

    result = Preceded(owner=daemon.engine.owner).run(daemon.spec, b"print(1)")
    assert (result.verdict, result.stdout, result.detail) == (Verdict.OK, "1\n", "")


def test_c102_a_container_removed_under_a_running_program_is_no_success(daemon: Daemon) -> None:
    results: list[SandboxResult] = []
    worker = threading.Thread(target=lambda: results.append(daemon.run("import time; time.sleep(600)")))
    worker.start()
    daemon.api.remove_container(daemon.wait_for_one()["Id"], force=True)
    worker.join()
    assert results[0].verdict in {Verdict.KILLED, Verdict.SANDBOX_FAILED}  # State is there, or is gone already
    assert not results[0].succeeded


def test_c103_a_missing_image_is_never_pulled(daemon: Daemon) -> None:
    before = {image["Id"] for image in daemon.api.images()}
    missing = replace(daemon.spec, image_id="sha256:" + secrets.token_hex(32))
    with pytest.raises(ImageNotPinned, match=re.escape("python -m sandbox.image.build")):
        daemon.engine.run(missing, b"print(1)")
    assert {image["Id"] for image in daemon.api.images()} == before


@pytest.mark.parametrize("text", ['{"defaultAction": "SCMP_ACT_NOPE"}', "{"])
def test_c105_a_bad_seccomp_profile_runs_nothing(daemon: Daemon, text: str) -> None:
    # (A profile that kills by default is not tried: runc 1.1 hangs on it, and holds the daemon's lock.)
    with pytest.raises(SandboxUnavailable, match="seccomp"):
        daemon.engine.run(replace(daemon.spec, seccomp=text), b"print('ran')")


def test_a_weaker_container_than_asked_for_is_removed_unstarted(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Weak(SandboxSpec):
        """Asks for a network at create, and expects none at the comparison."""

        __slots__ = ()

        def container_config(self) -> dict[str, object]:
            return {**super().container_config(), "HostConfig": {**self.host_config(), "CapDrop": [], "Init": False}}

    spec = Weak(daemon.spec.profile, daemon.spec.image_id, daemon.spec.seccomp)
    with pytest.raises(SandboxRefused) as refused:
        daemon.engine.run(spec, b"print(1)")
    assert set(refused.value.differences) == {"HostConfig.CapDrop", "HostConfig.Init"}
    assert daemon.ours() == []


def test_cancelling_kills_and_removes(daemon: Daemon) -> None:
    cancel = threading.Event()
    results: list[SandboxResult] = []
    worker = threading.Thread(target=lambda: results.append(daemon.run("import time; time.sleep(600)", cancel=cancel)))
    worker.start()
    daemon.wait_for_one()
    cancel.set()
    worker.join()
    assert [r.verdict for r in results] == [Verdict.KILLED]
    with pytest.raises(RunCancelled):
        daemon.run("print(1)", cancel=cancel)


def test_a_cancelled_task_leaves_no_container(daemon: Daemon) -> None:
    async def scene() -> None:
        async with Sandbox(PROFILE, lock=daemon.lock, engine=daemon.engine) as box:
            assert (await box.run("print(6 * 7)")).stdout == "42\n"
            task = asyncio.create_task(box.run("import time; time.sleep(600)"))
            await asyncio.to_thread(daemon.wait_for_one)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert daemon.ours() == []

    asyncio.run(scene())


def test_c103_another_image_than_the_pinned_one_does_not_open(daemon: Daemon, tmp_path: Path) -> None:
    async def scene(file: Path) -> None:
        async with Sandbox(PROFILE, lock=file, engine=daemon.engine) as box:
            await box.run("print(1)")

    with pytest.raises(ImageNotPinned):
        asyncio.run(scene(tmp_path / "none"))
    lock.pin(tmp_path / "other", IMAGE_NAME, "sha256:" + "0" * 64)
    with pytest.raises(ImageNotPinned):
        asyncio.run(scene(tmp_path / "other"))


@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), float("inf")])
def test_a_deadline_that_never_ends_is_refused(daemon: Daemon, deadline_s: float) -> None:
    with pytest.raises(InputRefused, match="deadline_s"):
        daemon.run("print(1)", deadline_s=deadline_s)


def test_a_caller_cannot_lengthen_the_deadline(daemon: Daemon) -> None:
    short = replace(daemon.spec, profile=replace(PROFILE, deadline_s=0.5))
    assert daemon.engine.run(short, b"import time; time.sleep(600)", deadline_s=600).verdict is Verdict.TIMEOUT


def creating(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """The daemon makes the container; before its answer is used, `then` happens."""
    real = docker.APIClient.create_container_from_config

    def create(self: docker.APIClient, config: Any, name: str) -> Any:
        made = real(self, config, name)
        then()
        return made

    monkeypatch.setattr(docker.APIClient, "create_container_from_config", create)


def test_c076_cancelled_during_create_nothing_starts_and_nothing_stays(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = threading.Event()
    started: list[str] = []
    creating(monkeypatch, cancel.set)
    monkeypatch.setattr(docker.APIClient, "start", lambda self, container: started.append(container))
    with pytest.raises(RunCancelled):
        daemon.run("print('ran')", cancel=cancel)
    assert (started, daemon.ours()) == ([], [])


def test_c076_a_task_cancelled_during_create_leaves_no_container(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use() -> None:
        loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def then() -> None:
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(30)

        async with Sandbox(PROFILE, lock=daemon.lock, engine=daemon.engine) as box:
            creating(monkeypatch, then)
            task = asyncio.ensure_future(box.run("print('ran')"))
            await begun.wait()
            task.cancel()
            loop.call_later(0, go_on.set)
            with pytest.raises(asyncio.CancelledError):
                await task
        assert daemon.ours() == []

    asyncio.run(use())


def test_c076_a_container_whose_create_was_never_answered_is_reaped_after_its_lease(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon made it and the connection broke: nobody knows its id, but its labels say whose it is."""

    def lost() -> None:
        raise requests.exceptions.ConnectionError("connection reset")

    creating(monkeypatch, lost)
    with pytest.raises(SandboxUnavailable, match="connection reset"):
        daemon.run("print('ran')")
    (left,) = daemon.ours()
    assert left["State"] == "created"  # never started
    assert daemon.engine.reap() == []  # its lease runs: it might be another process's that is just starting
    later = DockerEngine(owner=daemon.engine.owner, clock=lambda: time.time() + 86_400)
    assert later.reap() == [left["Id"]]


@pytest.mark.parametrize("whose", ["pool", "session"])
def test_c076_what_a_broken_create_left_is_reaped_on_a_period(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    failed: list[None] = []

    def lost_once() -> None:
        if not failed:
            failed.append(None)
            raise requests.exceptions.ConnectionError("connection reset")

    creating(monkeypatch, lost_once)
    monkeypatch.setattr(f"sandbox.{whose}.TICK_S", 0.05)
    engine = DockerEngine(owner=daemon.engine.owner, clock=lambda: time.time() - 86_400)  # its leases are over
    with pytest.raises(SandboxUnavailable):
        engine.run(daemon.spec, b"1")
    assert len(daemon.ours()) == 1
    with Pool(daemon.engine, daemon.spec, 0) if whose == "pool" else Sessions(daemon.engine, daemon.spec):
        until(lambda: True if daemon.ours() == [] else None)
