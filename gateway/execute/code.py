"""Model-written code into `sandbox`: the only file that opens that door (I8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import sandbox
from gateway.execute.port import CodeRun
from gateway.execute.stage import SandboxUnavailable

PREVIEW_CHARS = 512


@final
class SandboxRunner:
    """Runs code in one profile, pinned to one image."""

    def __init__(self, engine: sandbox.DockerEngine, spec: sandbox.SandboxSpec) -> None:
        self._engine = engine
        self._spec = spec

    def identity(self) -> dict[str, object]:
        spec = self._spec
        return {"profile": spec.profile.name, "image": spec.image_id, "spec_digest": f"sha256:{spec.digest}"}

    def run(self, code: str, deadline_s: float) -> CodeRun:
        try:
            result = self._engine.run(self._spec, code.encode("utf-8"), deadline_s=deadline_s)
        except sandbox.SandboxError as fault:
            raise SandboxUnavailable(str(fault)) from fault
        evidence: dict[str, object] = {
            **self.identity(),
            "verdict": result.verdict.value,
            "exit_code": result.exit_code,
            "container": result.container_id,
            "duration_ms": round(result.duration_s * 1000),
            "stdout_chars": len(result.stdout),
            "stderr_chars": len(result.stderr),
            "detail": result.detail[:PREVIEW_CHARS],
        }
        if result.verdict is sandbox.Verdict.SANDBOX_FAILED:
            raise SandboxUnavailable(result.detail or "the sandbox failed after the code had started")
        value: dict[str, object] = {"stdout": result.stdout, "stderr": result.stderr, "exit_code": result.exit_code}
        return CodeRun(result.succeeded, f"code_{result.verdict.value.removeprefix('code_')}", value, evidence)


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
            image_id = sandbox.pinned(sandbox.default_lock(), profile.image)
            if engine.image_facts(image_id) is None:
                raise sandbox.ImageNotPinned(profile.image, f"the daemon has no {image_id}")
            runners[name] = SandboxRunner(engine, profile.pinned_to(image_id))
        except sandbox.ProfileError:
            raise
        except sandbox.SandboxError as fault:
            missing[name] = str(fault)
    return runners, missing
