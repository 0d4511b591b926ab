"""Behavioural probes of a sandbox from inside: does the daemon really give what its `inspect` claims?

One result for each row of the container table. `must` rows hold on every supported daemon, and a failure
means that nothing may run; `should` rows depend on how the host is set up, and are `absent` where it has
not got them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Final

from sandbox.docker import DockerEngine
from sandbox.result import SandboxResult, Verdict
from sandbox.spec import MIB, SandboxSpec

SHOULD: Final = frozenset({"user_namespace", "apparmor", "own_kernel"})
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


def self_check(engine: DockerEngine, spec: SandboxSpec) -> list[Probe]:
    """Every probe, in a fixed order; takes about two seconds and three containers. Raises `SandboxError`."""
    probes = _from_inside(engine, spec)
    hungry = f"held = bytearray({spec.profile.memory_mib * MIB * 2}); print(len(held))"
    probes.append(_ends_in(engine.run(spec, hungry.encode()), "memory_bounded", Verdict.OOM))
    child = f"import os\nif os.fork() == 0:\n    {hungry}\n    os._exit(0)\nos.wait()"
    probes.append(_ends_in(engine.run(spec, child.encode()), "memory_of_children_flagged", Verdict.OOM))
    return probes


def _from_inside(engine: DockerEngine, spec: SandboxSpec) -> list[Probe]:
    program = resources.files("sandbox.image").joinpath("probe.py").read_bytes()
    amounts = spec.profile
    tmp_bytes = amounts.tmp_mib * MIB
    expected = {
        "processes": amounts.processes,
        "cpus": amounts.cpus,
        "ulimits": {
            "nofile": [amounts.open_files, amounts.open_files],
            "fsize": [tmp_bytes, tmp_bytes],
            "core": [0, 0],
        },
    }
    result = engine.run(spec, program, stdin=json.dumps(expected).encode(), deadline_s=_PROBE_DEADLINE_S)
    if result.verdict is not Verdict.OK:
        said = (result.detail or result.stderr.strip())[-400:]
        return [Probe("probe_program", required=True, outcome=Outcome.FAILED, seen=f"{result.verdict}: {said}")]
    found: Mapping[str, tuple[bool, object]] = json.loads(result.stdout)
    return [_row(name, passed, seen) for name, (passed, seen) in found.items()]


def _row(name: str, passed: bool, seen: object) -> Probe:
    required = name not in SHOULD
    worst = Outcome.FAILED if required else Outcome.ABSENT
    return Probe(name, required, Outcome.PASSED if passed else worst, json.dumps(seen))


def _ends_in(result: SandboxResult, name: str, wanted: Verdict) -> Probe:
    return _row(name, result.verdict is wanted, f"{result.verdict} (exit code {result.exit_code})")
