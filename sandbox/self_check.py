"""Behavioural probes of a sandbox: does it really give what its `inspect` claims?

One result for each row of the container table and for what hostile programs do (C091-C110, C140). `must` rows hold on
every supported backend, and a failure means that nothing may run there; `should` rows depend on how the host is set
up, and are `absent` where it has not got them. The suite asks only for the `Backend` protocol, so it is the same for
any backend and any runtime.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Final

from sandbox import hostile
from sandbox.failure import SandboxError
from sandbox.host import MENDED_RUNC, OLDEST_ENGINE, OLDEST_RUNC, HostFacts, masking_mended, numbers
from sandbox.hostile import Backend
from sandbox.result import Verdict
from sandbox.spec import MIB, SandboxSpec

SHOULD: Final = frozenset({"user_namespace", "apparmor", "own_kernel", "cgroup_v2", "rootless", "runc_masking"})
# What a look from inside cannot show under gVisor: its devices are its own, no OOM score is told, and its count of CPU
# time runs ahead of what the host gave.
SHOULD_UNDER: Final = {"runsc": frozenset({"few_devices", "oom_score", "cpu_bounded"})}
_PROBE_DEADLINE_S: Final = 30.0


class Outcome(StrEnum):
    """Of one probe; closed."""

    PASSED = "passed"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Probe:
    """One row: `required` rows decide; `seen` is what the probe met, for people."""

    name: str
    required: bool
    outcome: Outcome
    seen: str


def suite_digest() -> str:
    """SHA-256 (hex) of the suite itself: a result of another suite is no result of this one."""
    digest = hashlib.sha256()
    for file in (Path(__file__), Path(__file__).with_name("hostile.py"), Path(__file__).with_name("host.py")):
        digest.update(file.read_bytes())
    digest.update(_program())
    return digest.hexdigest()


def quick_check(backend: Backend, spec: SandboxSpec, facts: HostFacts | None = None) -> list[Probe]:
    """The rows that only a look from inside can show, and the memory bound: two seconds, three containers."""
    probes = _platform(spec, facts)
    if _fails(probes):
        return probes  # it says itself that it is too weak: nothing is run there
    return [*probes, *_from_inside(backend, spec, facts), *_memory(backend, spec)]


def self_check(backend: Backend, spec: SandboxSpec, facts: HostFacts | None = None) -> list[Probe]:
    """Every probe, in a fixed order. Raises `SandboxError` where the backend cannot be asked at all.

    `facts` is what the host says of itself; without it those rows are left out, and with a row failed there they are
    all there is.
    """
    probes = quick_check(backend, spec, facts)
    if _fails(_platform(spec, facts)):
        return probes
    probes += [_row(spec, name, *look(backend, spec)) for name, look in hostile.PROBES.items()]
    probes += [_refused(name, backend, changed) for name, changed in _impossible(spec).items()]
    return probes


def _fails(probes: list[Probe]) -> bool:
    return any(probe.outcome is Outcome.FAILED for probe in probes)


def _platform(spec: SandboxSpec, facts: HostFacts | None) -> list[Probe]:
    if facts is None:
        return []
    runtime = spec.profile.runtime
    masks = " or ".join(".".join(map(str, mend)) for mend in MENDED_RUNC)
    rows: list[tuple[str, bool, str]] = [
        ("engine_supported", numbers(facts.engine) >= OLDEST_ENGINE, facts.engine),
        ("runc_supported", numbers(facts.runc) >= OLDEST_RUNC, facts.runc or "unknown"),
        ("runc_masking", masking_mended(facts.runc), f"{facts.runc}: below {masks}, ask your distribution"),
        ("runtime_present", runtime in facts.runtimes, runtime),
        ("seccomp_offered", any("name=seccomp" in option for option in facts.security), ", ".join(facts.security)),
        *((f"{name.lower()}_offered", offered, str(offered).lower()) for name, offered in facts.limits.items()),
        ("cgroup_v2", facts.cgroup_version == "2", f"v{facts.cgroup_version}"),
        ("rootless", any("name=rootless" in option for option in facts.security), ", ".join(facts.security)),
    ]
    return [_row(spec, name, passed, seen) for name, passed, seen in rows]


def _program() -> bytes:
    return resources.files("sandbox.image").joinpath("probe.py").read_bytes()


def _from_inside(backend: Backend, spec: SandboxSpec, facts: HostFacts | None) -> list[Probe]:
    amounts = spec.profile
    tmp_bytes = amounts.tmp_mib * MIB
    expected = {
        "cpus": amounts.cpus,
        "host_kernel": facts.kernel if facts else "",
        "ulimits": {
            "nofile": [amounts.open_files, amounts.open_files],
            "fsize": [tmp_bytes, tmp_bytes],
            "core": [0, 0],
        },
    }
    result = backend.run(spec, _program(), stdin=json.dumps(expected).encode(), deadline_s=_PROBE_DEADLINE_S)
    if result.verdict is not Verdict.OK:
        said = (result.detail or result.stderr.strip())[-400:]
        return [Probe("probe_program", required=True, outcome=Outcome.FAILED, seen=f"{result.verdict}: {said}")]
    found: Mapping[str, tuple[bool, object]] = json.loads(result.stdout)
    return [_row(spec, name, passed, seen) for name, (passed, seen) in found.items()]


def _memory(backend: Backend, spec: SandboxSpec) -> list[Probe]:
    hungry = f"held = bytearray({spec.profile.memory_mib * MIB * 2}); print(len(held))"
    child = f"import os\nif os.fork() == 0:\n    {hungry}\n    os._exit(0)\nos.wait()"
    # Under gVisor its whole kernel is killed for memory, and Docker does not always see why: a kill is told then.
    wanted = {Verdict.OOM, Verdict.KILLED} if spec.profile.runtime == "runsc" else {Verdict.OOM}
    found = []
    for name, code in (("memory_bounded", hungry), ("memory_of_children_flagged", child)):
        result = backend.run(spec, code.encode())
        found.append(_row(spec, name, result.verdict in wanted, hostile.ended(result)))
    return found


def _impossible(spec: SandboxSpec) -> dict[str, SandboxSpec]:
    """Specifications that nothing may be run under."""
    found = {"missing_image_refused": replace(spec, image_id="sha256:" + secrets.token_hex(32))}
    if spec.profile.runtime != "runsc":  # gVisor refuses too, at the start, and Docker 20.10 then leaves a shim behind
        found["broken_seccomp_refused"] = replace(spec, seccomp='{"defaultAction": "SCMP_ACT_NOPE"}')
    return found


def _refused(name: str, backend: Backend, spec: SandboxSpec) -> Probe:
    try:
        result = backend.run(spec, b"print('ran')")
    except SandboxError as refusal:
        return _row(spec, name, True, type(refusal).__name__)
    return _row(spec, name, False, f"ran: {hostile.ended(result)}")


def _row(spec: SandboxSpec, name: str, passed: bool, seen: object) -> Probe:
    required = name not in SHOULD | SHOULD_UNDER.get(spec.profile.runtime, frozenset())
    worst = Outcome.FAILED if required else Outcome.ABSENT
    text = seen if isinstance(seen, str) else json.dumps(seen)
    return Probe(name, required, Outcome.PASSED if passed else worst, text)
