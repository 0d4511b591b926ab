"""A real Docker daemon for tests: fixtures `ready`, `daemon` (a fresh owner, nothing left behind) and `gate`.

Without Docker they skip and say why; with CI=true they fail. Import the `*_fixture` names to use them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from sandbox import DockerEngine, SandboxProfile, SandboxResult, SandboxSpec, SandboxUnavailable
from sandbox import docker as engine_module
from sandbox.image import lock
from sandbox.image.build import ensure

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
PROFILE = SandboxProfile.from_mapping(yaml.safe_load((ROOT / "policies/sandbox/python.yaml").read_text()))


@dataclass
class Daemon:
    """The daemon of this test run, our own containers on it, and the specification that runs there."""

    spec: SandboxSpec
    lock: Path
    engine: DockerEngine
    api: Any
    made: list[str] = field(default_factory=list)

    def run(self, code: str | bytes, **options: Any) -> SandboxResult:
        return self.engine.run(self.spec, code if isinstance(code, bytes) else code.encode(), **options)

    def ours(self) -> list[dict[str, Any]]:
        wanted = {"label": f"{engine_module.LABEL_OWNER}={self.engine.owner}"}
        found: list[dict[str, Any]] = self.api.containers(all=True, filters=wanted)
        return found

    def wait_for_one(self, state: str = "running") -> dict[str, Any]:
        return until(lambda: next((c for c in self.ours() if c["State"] == state), None))


def until(look: Callable[[], T | None]) -> T:
    """The first answer that is not None; polls, bounded."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("did not happen within 30 s")


@pytest.fixture(scope="module", name="ready")
def ready_fixture() -> tuple[str, Path]:
    """The pinned image id and its lock file; without Docker a skip, and in CI a failure."""
    reason = os.environ.get("TOOLGATE_DOCKER_REASON", "")
    cache = Path(os.environ.get("TOOLGATE_SANDBOX_CACHE") or ROOT / ".cache/toolgate")
    try:
        if os.environ.get("TOOLGATE_DOCKER") == "absent":
            raise SandboxUnavailable(reason)
        engine = DockerEngine()
        engine.ping()
    except SandboxUnavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a Docker daemon: {error}")
        pytest.skip(f"no Docker: {error}")
    return ensure(engine, cache, cache / lock.LOCK_NAME), cache / lock.LOCK_NAME


@pytest.fixture(name="daemon")
def daemon_fixture(ready: tuple[str, Path]) -> Iterator[Daemon]:
    """A fresh owner for each test; every test must leave no container behind."""
    import docker

    engine = DockerEngine(owner=f"test-{secrets.token_hex(6)}")
    with contextlib.closing(docker.APIClient(engine.host, version="auto")) as api:
        here = Daemon(PROFILE.pinned_to(ready[0]), ready[1], engine, api)
        try:
            yield here
            assert here.ours() == [], "a container was left behind"
        finally:
            for container in [*here.made, *(c["Id"] for c in here.ours())]:
                with contextlib.suppress(docker.errors.NotFound):
                    api.remove_container(container, force=True)


class Gate:
    """A socket in front of the daemon that can be cut, as when dockerd is killed."""

    def __init__(self, host: str, folder: Path) -> None:
        self.host = f"unix://{folder / 'g.sock'}"
        self._target = host.removeprefix("unix://")
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.host.removeprefix("unix://"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        Path(self.host.removeprefix("unix://")).unlink()
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture(name="gate")
def gate_fixture(daemon: Daemon) -> Iterator[Gate]:
    folder = Path(f"/tmp/tg-{secrets.token_hex(4)}")  # a socket's path has at most 107 bytes
    folder.mkdir(mode=0o700)
    made = Gate(daemon.engine.host, folder)
    yield made
    with contextlib.suppress(FileNotFoundError):
        made.cut()
    folder.rmdir()
