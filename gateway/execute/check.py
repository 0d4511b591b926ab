"""The sandbox check: what the probes of `sandbox/self_check.py` met, kept, and asked before any code runs (C105, C106).

Guarantee: no code runs in a profile of which a row that must hold is known to have failed, or was never looked at, on
this very platform. A result counts for one specification, one daemon, one boot and one version of the suite; anything
else is no result, and then the quick rows are looked at before the first run. `toolgate sandbox check` looks at all.
See docs/adr/0010-sandbox-check.md.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from gateway.domain.errors import SettingsError
from gateway.execute.pins import pinned_image
from gateway.execute.port import Caller, CodeJob, CodeRun, CodeRunner
from gateway.execute.stage import SandboxUnavailable
from sandbox import DockerEngine, ProfileError, SandboxError, SandboxProfile, SandboxSpec
from sandbox.host import HostFacts, host_facts
from sandbox.self_check import Outcome, Probe, quick_check, self_check, suite_digest

FOLDER = "sandbox-checks"
REMEDY = "run `toolgate sandbox check` to see what was met"


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One row: `level` is must or should; `outcome` passed, failed or absent; `seen` is for people."""

    name: str
    level: str
    outcome: str
    seen: str


@final
@dataclass(frozen=True, slots=True)
class Report:
    """What a whole check of one profile met. `problem` says why it could not be made; then there are no rows."""

    profile: str
    runtime: str = ""
    image: str = ""
    rows: tuple[Row, ...] = ()
    problem: str | None = None

    @property
    def failed(self) -> tuple[str, ...]:
        """The rows that must hold and do not."""
        return tuple(row.name for row in self.rows if row.outcome == Outcome.FAILED)


@final
class Checks:
    """The results kept in one folder of the state, a file for each specification."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER

    def failed(self, spec: SandboxSpec, facts: HostFacts) -> tuple[str, ...] | None:
        """The rows that must hold and did not, when last looked at here; None where nobody has looked."""
        try:
            found = json.loads(self._file(spec).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return None  # nobody can say: look again
        if not isinstance(found, dict) or found.get("here") != _here(facts):
            return None
        failed = found.get("failed")
        return tuple(map(str, failed)) if isinstance(failed, list) else None

    def keep(self, spec: SandboxSpec, facts: HostFacts, probes: list[Probe]) -> None:
        """Raises SettingsError where the state folder cannot be written."""
        failed = [probe.name for probe in probes if probe.outcome is Outcome.FAILED]
        text = json.dumps({"here": _here(facts), "profile": spec.profile.name, "failed": failed}, indent=1) + "\n"
        file = self._file(spec)
        draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.replace(file)
        except OSError as error:
            raise SettingsError(f"the result of the sandbox check cannot be kept in {self._folder}: {error}") from error

    def _file(self, spec: SandboxSpec) -> Path:
        return self._folder / f"{spec.digest}.json"


def _here(facts: HostFacts) -> str:
    return f"{facts.digest}:{suite_digest()}"


def _spec(document: Mapping[str, object]) -> SandboxSpec:
    profile = SandboxProfile.from_mapping(document)
    return profile.pinned_to(pinned_image(profile.image))


def check_profiles(profiles: Mapping[str, Mapping[str, object]], state: Path) -> list[Report]:
    """Every probe in every profile, kept for the gateways that share `state`; about ten seconds a profile."""
    return [_checked(name, document, Checks(state)) for name, document in profiles.items()]


def _checked(name: str, document: Mapping[str, object], checks: Checks) -> Report:
    try:
        spec = _spec(document)
        engine = DockerEngine(owner="toolgate-check")
        engine.reap()
        facts = host_facts(engine.host)
        if engine.image_facts(spec.image_id) is None:
            return Report(name, problem=f"the daemon has no image {spec.image_id}; see docs/howto/sandbox-check.md")
        probes = self_check(engine, spec, facts)
    except SandboxError as fault:
        return Report(name, problem=str(fault))
    checks.keep(spec, facts, probes)
    rows = tuple(Row(p.name, "must" if p.required else "should", p.outcome.value, p.seen) for p in probes)
    return Report(name, spec.profile.runtime, spec.image_id, rows)


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one profile without running anything. `problem` is empty where nothing speaks against it."""

    profile: str
    problem: str
    seccomp: bool
    looked_at: bool


def standing(profiles: Mapping[str, Mapping[str, object]], state: Path) -> list[Standing]:
    """Daemon, image, seccomp and the last check of each profile: a second at most, and no container."""
    return [_standing(name, document, Checks(state)) for name, document in profiles.items()]


def _standing(name: str, document: Mapping[str, object], checks: Checks) -> Standing:
    try:
        engine = DockerEngine(owner="toolgate-check")
        facts = host_facts(engine.host)
        seccomp = any("name=seccomp" in option for option in facts.security)
        spec = _spec(document)
        if engine.image_facts(spec.image_id) is None:
            return Standing(name, f"the daemon has no image {spec.image_id}", seccomp, looked_at=False)
        failed = checks.failed(spec, facts)
    except SandboxError as fault:
        return Standing(name, str(fault), seccomp=False, looked_at=False)
    return Standing(name, _why(spec, failed) if failed else "", seccomp, looked_at=failed is not None)


@final
class CheckedRunner:
    """A runner that runs nothing until the quick rows hold; what was found here before counts."""

    def __init__(self, inner: CodeRunner, spec: SandboxSpec, checks: Checks, owner: str) -> None:
        self._inner = inner
        self._spec = spec
        self._checks = checks
        self._owner = owner
        self._guard = threading.Lock()
        self._holds = False

    def run(self, job: CodeJob, cancel: threading.Event) -> CodeRun:
        if not self._holds:
            self._look()
        return self._inner.run(job, cancel)

    def identity(self) -> dict[str, object]:
        return self._inner.identity()

    def mark(self, caller: Caller) -> dict[str, object] | None:
        return self._inner.mark(caller)

    def artifact(self, sha256: str) -> bytes | None:
        return self._inner.artifact(sha256)

    def close(self) -> None:
        self._inner.close()

    def _look(self) -> None:
        with self._guard:
            if self._holds:
                return
            try:
                engine = DockerEngine(owner=self._owner)
                facts = host_facts(engine.host)
                failed = self._checks.failed(self._spec, facts)
                if failed is None:
                    probes = quick_check(engine, self._spec, facts)
                    self._checks.keep(self._spec, facts, probes)
                    failed = tuple(probe.name for probe in probes if probe.outcome is Outcome.FAILED)
            except (SandboxError, SettingsError) as fault:
                raise SandboxUnavailable(f"the sandbox could not be checked: {fault}") from fault
            if failed:
                raise SandboxUnavailable(_why(self._spec, failed))
            self._holds = True


def checked(
    runners: Mapping[str, CodeRunner],
    missing: Mapping[str, str],
    profiles: Mapping[str, Mapping[str, object]],
    *,
    state: Path,
    owner: str,
) -> tuple[dict[str, CodeRunner], dict[str, str]]:
    """As given, but for profiles whose last check failed: those are refused at the start, with the reason."""
    checks = Checks(state)
    kept: dict[str, CodeRunner] = {}
    refused = dict(missing)
    for name, runner in runners.items():
        try:
            spec = _spec(profiles[name])
            failed = checks.failed(spec, host_facts(DockerEngine(owner=owner).host))
        except ProfileError:
            raise
        except SandboxError as fault:
            refused[name] = str(fault)
            continue
        if failed:
            refused[name] = _why(spec, failed)
            runner.close()
        else:
            kept[name] = CheckedRunner(runner, spec, checks, owner)
    return kept, refused


def _why(spec: SandboxSpec, failed: tuple[str, ...]) -> str:
    return f"the sandbox check of profile {spec.profile.name} failed ({', '.join(failed)}); {REMEDY}"


def report_json(report: Report) -> dict[str, object]:
    """For programs: the report, and `ok`."""
    return {**asdict(report), "ok": report.problem is None and not report.failed, "failed": list(report.failed)}
