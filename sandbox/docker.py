"""Runs code in single-use containers through the Docker Engine API; the only file that imports `docker`.

Guarantees, in the order of a run:
1. create     the pinned image id, never a tag, never a pull;
2. compare    every requested field with `inspect`; any difference: removed, unstarted;
3. attach     before the start, so nothing is missed and nothing hangs;
4. exchange   code goes by stdin, output is drained up to a cap and a deadline;
5. stop       close the socket, then SIGKILL (an undrained kill stalls);
6. verdict    from the container's State alone: what the program prints is a claim;
7. remove     always. What a dead gateway leaves behind is removed by `reap` after its lease.

An exception means nothing ran; a fault after the start is `Verdict.SANDBOX_FAILED`, never a success.
Measured on Docker 20.10 (create 8, start 62, ready 19, remove 41 ms).
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sandbox import frame as framing
from sandbox.failure import ImageNotPinned, InputRefused, RunCancelled, SandboxRefused, SandboxUnavailable
from sandbox.inspection import differences
from sandbox.result import SandboxResult, Verdict, shown
from sandbox.spec import SandboxSpec
from sandbox.stream import POLL_S, End, Streams, exchange

if TYPE_CHECKING:
    from docker import APIClient

KIND: Final = "python"
LABEL_KIND, LABEL_OWNER, LABEL_LEASE = "toolgate.sandbox", "toolgate.owner", "toolgate.lease"
NAME_PREFIX: Final = "toolgate-sandbox-"
REQUEST_TIMEOUT_S: Final = 30.0  # one Docker request
LOAD_TIMEOUT_S: Final = 300.0
LEASE_GRACE_S: Final = 300.0  # beyond the deadline: create, start, stop and remove at their own bounds
STOP_TIMEOUT_S: Final = 10.0
_NAME_ATTEMPTS: Final = 3
_SIGKILL_EXIT: Final = 128 + 9
_DEFAULT_HOST: Final = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image as the daemon knows it."""

    image_id: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _State:
    """The part of `inspect`'s State that decides."""

    running: bool
    exit_code: int | None
    oom_killed: bool
    error: str


class DockerEngine:
    """A connection to one Docker daemon; usable from many threads at once (each run has its own client).

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
                    self._remove(client, found["Id"])
                    removed.append(str(found["Id"]))
        return removed

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

    # -- a run ------------------------------------------------------------------------------------------

    def run(
        self,
        spec: SandboxSpec,
        code: bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
        cancel: threading.Event | None = None,
    ) -> SandboxResult:
        """Run `code` (Python source) once and wait for its end; blocking, for a worker thread.

        `inputs` become files `/tmp/in/<name>`; `stdin` is what the program reads. `deadline_s` may only
        shorten the profile's, in seconds from the start. Setting `cancel` kills the container. Raises a
        `SandboxError` where nothing ran.
        """
        preamble = framing.frame(spec, code, inputs or {})
        deadline = spec.profile.deadline_s if deadline_s is None else deadline_s
        if not 0 < deadline < math.inf:  # also refuses NaN, which no comparison would ever end
            raise InputRefused(f"deadline_s must be a positive number of seconds, not {deadline}")
        deadline = min(deadline, spec.profile.deadline_s)
        with self._client("run") as client:
            container = self._create(client, spec, deadline)
            try:
                unlike = differences(spec, client.inspect_container(container))
                if unlike:
                    raise SandboxRefused(unlike)
                with self._attach(client, container) as connection:
                    if cancel is not None and cancel.is_set():
                        raise RunCancelled("cancelled before the container started")
                    client.start(container)
                    started = time.monotonic()
                    streams = exchange(
                        connection, preamble + stdin, cap=spec.output_cap, until=started + deadline, cancel=cancel
                    )
                state, stopped, fault = self._settle(client, container, streams, started + deadline, cancel)
                took = time.monotonic() - started
            except BaseException:
                with contextlib.suppress(SandboxUnavailable):  # the first fault is the one to report
                    self._remove_or_say(client, container)
                raise
            fault = fault or self._remove_or_say(client, container)
        verdict, detail = _judge(state, stopped, streams, len(preamble))
        return SandboxResult(
            verdict=verdict,
            exit_code=state.exit_code if state else None,
            stdout=shown(bytes(streams.stdout)),
            stderr=shown(bytes(streams.stderr)),
            duration_s=took,
            image_id=spec.image_id,
            container_id=container,
            detail="; ".join(filter(None, (detail, fault))),
        )

    def _create(self, client: APIClient, spec: SandboxSpec, deadline: float) -> str:
        import docker.errors

        lease = str(int(self._clock() + deadline + LEASE_GRACE_S))
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

    @contextlib.contextmanager
    def _attach(self, client: APIClient, container: str) -> Iterator[socket.socket]:
        hijacked: Any = client.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        connection: socket.socket = hijacked._sock  # SocketIO of a unix connection: the SDK has no public way
        try:
            yield connection
        finally:
            with contextlib.suppress(OSError):  # already closed by the daemon
                connection.shutdown(socket.SHUT_RDWR)
            hijacked._response.close()

    def _settle(
        self, client: APIClient, container: str, streams: Streams, until: float, cancel: threading.Event | None
    ) -> tuple[_State | None, End, str]:
        """Wait for, or bring about, the container's end: its State (None: lost), why, and what went wrong."""
        end = streams.end
        try:
            while end is End.CLOSED and not self._ended(client, container, until):
                if cancel is not None and cancel.is_set():
                    end = End.CANCELLED
                elif time.monotonic() >= until:
                    end = End.DEADLINE
            if end is not End.CLOSED:
                killed = self._kill(client, container)
                self._ended(client, container, time.monotonic() + STOP_TIMEOUT_S, patience=STOP_TIMEOUT_S)
                if not killed and end is End.DEADLINE:
                    end = End.CLOSED  # it ended by itself at the last moment: State has the verdict
            return self._state(client, container), end, ""
        except _faults() as error:
            return None, end, f"Docker was lost during the run: {_said(error)}"

    def _ended(self, client: APIClient, container: str, until: float, *, patience: float = 5 * POLL_S) -> bool:
        """Wait in slices; `wait` past its timeout raises like a lost daemon, so `inspect` decides."""
        import requests.exceptions

        left = max(0.01, min(patience, until - time.monotonic()))
        try:
            client.wait(container, timeout=left)  # type: ignore[arg-type]  # requests takes a float
        except (requests.exceptions.Timeout, requests.exceptions.ConnectionError):
            return not self._state(client, container).running
        return True

    def _kill(self, client: APIClient, container: str) -> bool:
        """SIGKILL; False where it was no longer running."""
        import docker.errors

        try:
            client.kill(container, "SIGKILL")
        except docker.errors.APIError as error:
            if error.status_code not in {404, 409}:
                raise
            return False
        return True

    def _state(self, client: APIClient, container: str) -> _State:
        state = client.inspect_container(container)["State"]
        return _State(
            running=bool(state["Running"]),
            exit_code=None if state["Running"] else int(state["ExitCode"]),
            oom_killed=bool(state["OOMKilled"]),
            error=str(state.get("Error") or ""),
        )

    def _remove(self, client: APIClient, container: str) -> None:
        import docker.errors

        try:
            client.remove_container(container, force=True, v=True)
        except docker.errors.NotFound:
            return  # gone already: what we wanted
        except docker.errors.APIError as error:
            if error.status_code != 409:  # 409: its removal is under way
                raise

    def _remove_or_say(self, client: APIClient, container: str) -> str:
        """Remove; a failure is told in the result and left to `reap`."""
        try:
            self._remove(client, container)
        except _faults() as error:
            return f"container {container[:12]} was not removed, `reap` will: {_said(error)}"
        return ""

    @contextlib.contextmanager
    def _client(self, doing: str, timeout: float = REQUEST_TIMEOUT_S) -> Iterator[APIClient]:
        """A client of its own: a hijacked or stuck connection then belongs to one run only."""
        import docker

        try:
            client = docker.APIClient(self.host, version=self._api_version or "auto", timeout=int(timeout))
            self._api_version = client.api_version
            with contextlib.closing(client):
                yield client
        except _faults() as error:
            raise SandboxUnavailable(f"Docker at {self.host} failed to {doing}: {_said(error)}") from error


def _faults() -> tuple[type[Exception], ...]:
    """Docker's own errors and those of the connection; `requests`' errors are OSErrors."""
    import docker.errors

    return (docker.errors.DockerException, OSError)


def _said(error: BaseException) -> str:
    return shown(str(error).encode("utf-8", "backslashreplace"))[:400]


def _judge(state: _State | None, end: End, streams: Streams, needed: int) -> tuple[Verdict, str]:
    """The verdict and, for operators, its reason. Order: what the host knows, then what State says."""
    if state is None:
        return Verdict.SANDBOX_FAILED, ""
    if state.running:
        return Verdict.SANDBOX_FAILED, "the container survived SIGKILL"
    if state.error:
        return Verdict.SANDBOX_FAILED, shown(state.error.encode())
    match end:
        case End.CAPPED:
            return Verdict.OUTPUT_CAPPED, "stopped at the output cap"
        case End.CANCELLED:
            return Verdict.KILLED, "cancelled by the caller"
        case End.DEADLINE:
            return Verdict.TIMEOUT, "stopped at the deadline"
        case End.CLOSED:
            pass
    if state.oom_killed:
        return Verdict.OOM, "a process of the container was killed for memory"
    if streams.sent < needed:
        return Verdict.SANDBOX_FAILED, "the container ended before it had received the code"
    if state.exit_code == _SIGKILL_EXIT:
        return Verdict.KILLED, "killed from outside, or by itself"
    if state.exit_code == 0:
        return Verdict.OK, ""
    return Verdict.CODE_FAILED, ""
