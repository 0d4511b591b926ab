"""Model-written code into `sandbox`: the only file that opens that door (I8).

A run without a session takes a container that waits already, once the profile has been used for the first time: a
process that runs no code holds none. Turns are shared out fairly between principals, and who would have to wait too
long is refused at once. A session belongs to one principal in one conversation and to nobody else.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from typing import BinaryIO, final

import sandbox
from gateway.execute.files import Files
from gateway.execute.pins import pinned_image
from gateway.execute.port import Caller, CodeJob, CodeRun
from gateway.execute.stage import SandboxBusy, SandboxInput, SandboxMoved, SandboxUnavailable

PREVIEW_CHARS = 512
INLINE_TEXT_BYTES = 2048  # a small text is worth more to the model than its digest
WARM = 2  # containers that wait, per profile in use: 8 MiB each (`python`), what its modules need (`python-data`)
RUNNING = 8  # runs at once, per profile; each may use the profile's CPUs and memory
WAITING, WAITING_EACH = 64, 8
TURN_S = 10.0
SESSIONS, SESSIONS_EACH = 16, 8  # open in a profile: in all, and of one principal, so that none has them all


@final
class SandboxRunner:
    """Runs code in one profile, pinned to one image."""

    def __init__(self, engine: sandbox.DockerEngine, spec: sandbox.SandboxSpec) -> None:
        self._engine = engine
        self._spec = spec
        self._files = Files()
        self._turns = sandbox.FairQueue(RUNNING, waiting=WAITING, waiting_each=WAITING_EACH)
        self._guard = threading.Lock()
        self._pool: sandbox.Pool | None = None
        self._sessions: sandbox.Sessions | None = None
        self._closed = False

    def identity(self) -> dict[str, object]:
        spec = self._spec
        return {"profile": spec.profile.name, "image": spec.image_id, "spec_digest": f"sha256:{spec.digest}"}

    def mark(self, caller: Caller) -> dict[str, object] | None:
        found = self._sessions.mark(_key(caller)) if self._sessions is not None else None
        return None if found is None else {"id": found.session, "generation": found.generation}

    def artifact(self, sha256: str) -> bytes | None:
        return self._files.get(sha256)

    def run(self, job: CodeJob, cancel: threading.Event) -> CodeRun:
        try:
            with self._turns.place(job.caller.principal, patience_s=TURN_S, cancel=cancel):
                inputs = {name: _content(name, file) for name, file in job.inputs.items()}
                result = self._result(job, inputs, cancel)
        except sandbox.InputRefused as refused:
            raise SandboxInput(str(refused)) from refused
        except sandbox.SessionMoved as moved:
            raise SandboxMoved(str(moved)) from moved
        except sandbox.SandboxOverloaded as full:
            raise SandboxBusy(str(full)) from full
        except sandbox.SandboxError as fault:
            raise SandboxUnavailable(str(fault)) from fault
        files = [self._described(artifact) for artifact in result.artifacts]
        return CodeRun(
            result.succeeded,
            f"code_{result.verdict.value.removeprefix('code_')}",
            _told(result, files, stateful=job.stateful),
            {
                **self.identity(),
                **_evidence(result, files),
                "inputs": [_named(name, content) for name, content in inputs.items()],
                "session": self.mark(job.caller) if job.stateful else None,
            },
        )

    def _result(self, job: CodeJob, inputs: Mapping[str, bytes], cancel: threading.Event) -> sandbox.SandboxResult:
        code, limit = job.code.encode("utf-8"), job.deadline_s
        if not job.stateful:
            return self._waiting().run(code, inputs=inputs, deadline_s=limit, cancel=cancel, hear=job.hear)
        return self._in_session().run(
            _key(job.caller),
            code,
            inputs=inputs,
            deadline_s=limit,
            cancel=cancel,
            hear=job.hear,
            if_match=_state(job.approved),
            whose=job.caller.principal,
        )

    def _described(self, artifact: sandbox.Artifact) -> dict[str, object]:
        described: dict[str, object] = {
            "name": artifact.name,
            "media_type": artifact.media_type,
            "bytes": artifact.size,
            "sha256": self._files.keep(artifact.content),
        }
        if artifact.media_type.startswith("text/") and artifact.size <= INLINE_TEXT_BYTES:
            described["text"] = sandbox.shown(artifact.content)
        return described

    def _waiting(self) -> sandbox.Pool:
        with self._guard:
            if self._closed:
                raise SandboxUnavailable("this process is closing")
            if self._pool is None:
                self._pool = sandbox.Pool(self._engine, self._spec, WARM)
            return self._pool

    def _in_session(self) -> sandbox.Sessions:
        with self._guard:
            if self._closed:
                raise SandboxUnavailable("this process is closing")
            if self._sessions is None:
                self._sessions = sandbox.Sessions(self._engine, self._spec, most=SESSIONS, most_each=SESSIONS_EACH)
            return self._sessions

    def close(self) -> None:
        with self._guard:
            self._closed = True
        for each in (self._pool, self._sessions):
            if each is not None:
                each.close()


def _told(result: sandbox.SandboxResult, files: list[dict[str, object]], *, stateful: bool) -> dict[str, object]:
    """For the model: no container, no image, nothing of the host."""
    told: dict[str, object] = {"stdout": result.stdout, "stderr": result.stderr, "exit_code": result.exit_code}
    if result.value is not None:
        told["value"] = result.value
    if files:
        told["files"] = files
    if result.left_out:
        told["files_left_out"] = list(result.left_out)
    if stateful and not result.alive:
        told["session"] = "ended: variables and files are gone"
    return told


def _evidence(result: sandbox.SandboxResult, files: list[dict[str, object]]) -> dict[str, object]:
    return {
        "verdict": result.verdict.value,
        "exit_code": result.exit_code,
        "container": result.container_id,
        "duration_ms": round(result.duration_s * 1000),
        "cpu_ms": None if result.cpu_s is None else round(result.cpu_s * 1000),
        "peak_bytes": result.peak_bytes,
        "stdout_chars": len(result.stdout),
        "stderr_chars": len(result.stderr),
        "files": [{key: value for key, value in each.items() if key != "text"} for each in files],
        "detail": result.detail[:PREVIEW_CHARS],
    }


def _content(name: str, file: BinaryIO) -> bytes:
    try:
        return file.read()
    except (OSError, ValueError) as error:  # it grew beyond the guard's bound, or the call was given up meanwhile
        raise SandboxInput(f"{name}: {error}") from error


def _named(name: str, content: bytes) -> dict[str, object]:
    return {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _key(caller: Caller) -> str:
    """Written so that no two callers have one key, whatever their names hold."""
    return json.dumps([caller.principal, caller.on_behalf_of, caller.conversation])


def _state(approved: str | None) -> sandbox.Mark | None:
    """The state of the session that people agreed to; None where nobody was asked."""
    if approved is None:
        return None
    found = json.loads(approved)["session"]
    return sandbox.FRESH if found is None else sandbox.Mark(found["id"], found["generation"])


def open_runners(
    profiles: Mapping[str, Mapping[str, object]], owner: str
) -> tuple[dict[str, SandboxRunner], dict[str, str]]:
    """A runner for each profile whose daemon and pinned image are there; for the others, why not.

    Containers that a dead gateway of this owner left behind are removed first.
    """
    runners: dict[str, SandboxRunner] = {}
    missing: dict[str, str] = {}
    if not profiles:
        return runners, missing
    try:
        engine = sandbox.DockerEngine(owner=owner)
        engine.reap()
    except sandbox.SandboxError as fault:
        return runners, dict.fromkeys(profiles, str(fault))
    for name, document in profiles.items():
        try:
            profile = sandbox.SandboxProfile.from_mapping(document)
            image_id = pinned_image(profile.image)
            if engine.image_facts(image_id) is None:
                raise sandbox.ImageNotPinned(profile.image, f"the daemon has no {image_id}")
            runners[name] = SandboxRunner(engine, profile.pinned_to(image_id))
        except sandbox.ProfileError:
            raise
        except sandbox.SandboxError as fault:
            missing[name] = str(fault)
    return runners, missing
