"""Containers through the Docker Engine API; the only file that imports `docker`.

Guarantees, in the order of a container's life:
1. create     the pinned image id, never a tag, never a pull;
2. compare    every requested field with `inspect`; any difference: removed, unstarted;
3. attach     before the start, so nothing is missed and nothing hangs;
4. perform    code goes by stdin, output is drained up to a cap and a deadline, the verdict is the host's (`run.py`);
5. remove     always. What a dead gateway leaves behind ends itself (its stdin ends, and an alarm of its own rings)
              and is removed by `reap` after its lease.

An exception means nothing ran; a fault after the start is `Verdict.SANDBOX_FAILED`, never a success.
Measured on Docker 20.10 (create 8, start 62, ready 19, end 45, remove 31 ms).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sandbox import frame as framing
from sandbox.failure import ImageNotPinned, RunCancelled, SandboxRefused, SandboxUnavailable
from sandbox.inspection import differences
from sandbox.result import Hear, SandboxResult, shown
from sandbox.run import Lost, State, bounded, perform
from sandbox.spec import SandboxSpec
from sandbox.stream import POLL_S, Channel

if TYPE_CHECKING:
    from docker import APIClient

KIND: Final = "python"
LABEL_KIND, LABEL_OWNER, LABEL_LEASE = "toolgate.sandbox", "toolgate.owner", "toolgate.lease"
NAME_PREFIX: Final = "toolgate-sandbox-"
REQUEST_TIMEOUT_S: Final = 30.0  # one Docker request
LOAD_TIMEOUT_S: Final = 300.0
LEASE_GRACE_S: Final = 300.0  # beyond the deadline: create, start, stop and remove at their own bounds
READY_TIMEOUT_S: Final = 30.0  # start the interpreter and load a profile's modules
_NAME_ATTEMPTS: Final = 3
log = logging.getLogger("toolgate.sandbox")
_DEFAULT_HOST: Final = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image as the daemon knows it."""

    image_id: str
    labels: Mapping[str, str]


class DockerEngine:
    """A connection to one Docker daemon; usable from many threads at once.

    `host` is a `unix://` address (default: `DOCKER_HOST`, then the system's socket). `owner` names the
    deployment: only containers of the same owner are ever reaped. `clock` gives wall time for leases.
    """

    def __init__(
        self, host: str | None = None, *, owner: str = "toolgate", clock: Callable[[], float] = time.time
    ) -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or _DEFAULT_HOST
        if not self.host.startswith("unix://"):
            raise SandboxUnavailable(f"only a unix:// Docker socket is supported, DOCKER_HOST is {self.host!r}")
        self.owner = owner
        self._clock = clock
        self._api_version: str | None = None

    # -- the daemon -------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Raise `SandboxUnavailable` unless the daemon answers."""
        with self._client("ping") as client:
            client.ping()

    def image_facts(self, image: str) -> ImageFacts | None:
        """What the daemon holds under a name or id; None where it holds nothing. Never pulls."""
        import docker.errors

        with self._client("inspect image") as client:
            try:
                found = client.inspect_image(image)  # type: ignore[no-untyped-call]
            except docker.errors.ImageNotFound:
                return None
            return ImageFacts(found["Id"], (found.get("Config") or {}).get("Labels") or {})

    def load_image(self, archive: Path) -> None:
        """Load a `docker save` archive from a local file."""
        with self._client("load image", LOAD_TIMEOUT_S) as client, archive.open("rb") as data:
            for line in client.load_image(data):  # type: ignore[no-untyped-call]
                if isinstance(line, dict) and "error" in line:
                    raise SandboxUnavailable(f"the daemon did not load {archive.name}: {shown(str(line).encode())}")

    def reap(self) -> list[str]:
        """Remove containers of this owner whose lease is over; the ids removed. Others are never touched."""
        removed = []
        with self._client("reap") as client:
            labels = [f"{LABEL_KIND}={KIND}", f"{LABEL_OWNER}={self.owner}"]
            for found in client.containers(all=True, filters={"label": labels}):
                if self._is_ours_and_over(found):
                    self.remove(client, found["Id"])
                    removed.append(str(found["Id"]))
        return removed

    def tidy(self) -> None:
        """`reap`, for those who do it again and again: a daemon that is away is told of, and the next turn looks."""
        try:
            self.reap()
        except SandboxUnavailable as fault:
            log.warning("leftover containers could not be looked for: %s", str(fault))  # not its frames' sockets

    def _is_ours_and_over(self, found: Mapping[str, Any]) -> bool:
        labels = found.get("Labels") or {}
        named = all(name.startswith(f"/{NAME_PREFIX}") for name in found.get("Names") or ["?"])
        lease = labels.get(LABEL_LEASE, "")
        return (
            named
            and labels.get(LABEL_KIND) == KIND
            and labels.get(LABEL_OWNER) == self.owner
            and lease.isascii()
            and lease.isdigit()
            and int(lease) < self._clock()
        )

    # -- a container ------------------------------------------------------------------------------------

    def run(
        self,
        spec: SandboxSpec,
        code: bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
        cancel: threading.Event | None = None,
        hear: Hear | None = None,
    ) -> SandboxResult:
        """Run `code` (Python source) once, in a container made for it, and wait for its end; blocking.

        `inputs` become files `/tmp/in/<name>`; `stdin` is what the program reads. `deadline_s` may only
        shorten the profile's, in seconds from the start. Setting `cancel` kills the container; `hear` is told
        what the program prints as it comes. Raises a `SandboxError` where nothing ran.
        """
        deadline = bounded(spec, deadline_s)
        request = framing.encoded(spec, framing.Request(code, inputs or {}, stdin), deadline)
        container = self.open(spec, deadline, cancel)
        try:
            result = perform(container, request, deadline_s=deadline, cancel=cancel, hear=hear)
        except BaseException:
            container.dispose()  # the first fault is the one to report
            raise
        fault = container.dispose()
        return replace(result, detail="; ".join(filter(None, (result.detail, fault))))

    def open(self, spec: SandboxSpec, lease_s: float, cancel: threading.Event | None = None) -> Container:
        """A started container that was found to be what was asked for; it may not be ready yet.

        `lease_s` is how long nobody else may think it left behind. Raises a `SandboxError`; then nothing is left.
        """
        import docker

        try:
            client = docker.APIClient(self.host, version=self._api_version or "auto", timeout=int(REQUEST_TIMEOUT_S))
        except _faults() as error:
            raise SandboxUnavailable(f"Docker at {self.host} failed to answer: {_said(error)}") from error
        self._api_version = client.api_version
        container: str | None = None
        made: Container | None = None
        try:
            container = self._create(client, spec, lease_s)
            unlike = differences(spec, client.inspect_container(container))
            if unlike:
                raise SandboxRefused(unlike)
            hijacked = client.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            made = Container(self, client, spec, container, hijacked)
            if cancel is not None and cancel.is_set():
                raise RunCancelled("cancelled before the container started")
            made.greet()
            client.start(container)
        except BaseException as error:
            if container is not None:
                with contextlib.suppress(*_faults()):  # the first fault is the one to report; `reap` is the net
                    self.remove(client, container)
            client.close()
            if made is not None:
                made.disconnect()
            if isinstance(error, _faults()):
                raise SandboxUnavailable(f"Docker at {self.host} failed to run: {_said(error)}") from error
            raise
        return made

    def _create(self, client: APIClient, spec: SandboxSpec, lease_s: float) -> str:
        import docker.errors

        lease = str(int(self._clock() + lease_s + LEASE_GRACE_S))
        labels = {LABEL_KIND: KIND, LABEL_OWNER: self.owner, LABEL_LEASE: lease}
        config = {**spec.container_config(), "Labels": labels}
        for attempt in range(_NAME_ATTEMPTS):
            name = NAME_PREFIX + secrets.token_hex(8)
            try:
                made = client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
                return str(made["Id"])
            except docker.errors.ImageNotFound as error:
                raise ImageNotPinned(spec.profile.image, f"the daemon has no {spec.image_id}") from error
            except docker.errors.APIError as error:
                if error.status_code != 409 or attempt == _NAME_ATTEMPTS - 1:  # 409: the name is taken
                    raise
        raise AssertionError("unreachable")

    def remove(self, client: APIClient, container: str) -> None:
        """Remove, running or not. One that is gone, or whose removal is under way, is no error."""
        import docker.errors

        try:
            client.remove_container(container, force=True, v=True)
        except docker.errors.NotFound:
            return  # gone already: what we wanted
        except docker.errors.APIError as error:
            if error.status_code != 409:  # 409: its removal is under way
                raise

    @contextlib.contextmanager
    def _client(self, doing: str, timeout: float = REQUEST_TIMEOUT_S) -> Iterator[APIClient]:
        import docker

        try:
            client = docker.APIClient(self.host, version=self._api_version or "auto", timeout=int(timeout))
            self._api_version = client.api_version
            with contextlib.closing(client):
                yield client
        except _faults() as error:
            raise SandboxUnavailable(f"Docker at {self.host} failed to {doing}: {_said(error)}") from error


class Container:
    """A started container, attached; used by one thread at a time.

    It has a client of its own: a hijacked or stuck connection then belongs to one container only.
    """

    def __init__(self, engine: DockerEngine, client: APIClient, spec: SandboxSpec, name: str, hijacked: Any) -> None:
        self._engine, self._client, self._hijacked = engine, client, hijacked
        self.spec, self.id = spec, name
        self._socket = hijacked._sock  # SocketIO of a unix connection: the SDK has no public way
        self.channel = Channel(self._socket)

    def greet(self) -> None:
        """Before the start: the runner finds this when it first reads."""
        self.channel.exchange(
            framing.greeting(self.spec), cap=0, until=time.monotonic() + REQUEST_TIMEOUT_S, only_send=True
        )

    def wait_until_ready(self) -> None:
        """Until the interpreter and the profile's modules are loaded. Raises `SandboxUnavailable`."""
        until = time.monotonic() + READY_TIMEOUT_S
        streams = self.channel.exchange(b"", cap=self.spec.output_cap, until=until, to_ready=True)
        if not streams.ready:
            said = shown(bytes(streams.stderr))[-400:] or f"no answer ({streams.end.name.lower()})"
            raise SandboxUnavailable(f"a container of {self.spec.profile.name!r} did not become ready: {said}")

    def waits(self) -> bool:
        """True where the stream is open and silent, as it must be until code is sent."""
        return self.channel.silent()

    def ended(self, until: float) -> bool:
        """Wait in slices; `wait` past its timeout raises like a lost daemon, so `inspect` decides."""
        import requests.exceptions

        left = max(0.01, min(5 * POLL_S, until - time.monotonic()))
        with self._asked():
            try:
                self._client.wait(self.id, timeout=left)  # type: ignore[arg-type]  # requests takes a float
            except (requests.exceptions.Timeout, requests.exceptions.ConnectionError):
                return not self.state().running
            return True

    def kill(self) -> None:
        """SIGKILL; one that runs no longer is no error."""
        import docker.errors

        with self._asked():
            try:
                self._client.kill(self.id, "SIGKILL")
            except docker.errors.APIError as error:
                if error.status_code not in {404, 409}:
                    raise

    def state(self) -> State:
        """What Docker says of it now. Raises `Lost`."""
        with self._asked():
            state = self._client.inspect_container(self.id)["State"]
        return State(
            running=bool(state["Running"]),
            exit_code=None if state["Running"] else int(state["ExitCode"]),
            oom_killed=bool(state["OOMKilled"]),
            error=str(state.get("Error") or ""),
        )

    def dispose(self) -> str:
        """End and remove it, and give every descriptor back; what went wrong, for operators. `reap` is the net."""
        try:
            self.disconnect()
            self._engine.remove(self._client, self.id)
        except _faults() as error:
            return f"container {self.id[:12]} was not removed, `reap` will: {_said(error)}"
        finally:
            self._client.close()
        return ""

    def disconnect(self) -> None:
        """Close the stream: the program sees the end of its stdin."""
        self.channel.close()
        self._hijacked._response.close()
        self._socket.close()

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except _faults() as error:
            raise Lost(_said(error)) from error


def _faults() -> tuple[type[Exception], ...]:
    """Docker's own errors and those of the connection; `requests`' errors are OSErrors."""
    import docker.errors

    return (docker.errors.DockerException, OSError)


def _said(error: BaseException) -> str:
    return shown(str(error).encode("utf-8", "backslashreplace"))[:400]
