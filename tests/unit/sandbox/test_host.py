"""What a daemon says of itself: a weak one is named, and two platforms are never taken for one (C106)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import SandboxProfile, SandboxResult, SandboxUnavailable, Verdict
from sandbox.host import HostFacts, host_facts, masking_mended, numbers
from sandbox.self_check import Outcome, Probe, self_check

GOOD = HostFacts(
    daemon_id="ID",
    boot_id="boot",
    engine="20.10.24+dfsg1",
    runc="1.2.8",
    kernel="6.1.0",
    cgroup_version="2",
    limits={"MemoryLimit": True, "SwapLimit": True, "PidsLimit": True, "CpuCfsQuota": True},
    security=("name=rootless", "name=seccomp,profile=default"),
    runtimes={"runc": "{}"},
)
SPEC = SandboxProfile.from_mapping(
    yaml.safe_load((Path(__file__).parents[3] / "policies/sandbox/python.yaml").read_text())
).pinned_to("sha256:" + "a" * 64)


class Nothing:
    """A backend in which every program ends at once: what is left are the rows about the host."""

    def run(self, *_: Any, **__: Any) -> SandboxResult:
        return SandboxResult(
            verdict=Verdict.CODE_FAILED, exit_code=1, stdout="", stderr="", duration_s=0, image_id="", container_id=""
        )


def rows(facts: HostFacts, **changes: Any) -> dict[str, Probe]:
    spec = replace(SPEC, profile=replace(SPEC.profile, **changes))
    return {probe.name: probe for probe in self_check(Nothing(), spec, facts)}


ABOUT_THE_HOST = {
    "engine_supported",
    "runc_supported",
    "runc_masking",
    "runtime_present",
    "seccomp_offered",
    "memorylimit_offered",
    "swaplimit_offered",
    "pidslimit_offered",
    "cpucfsquota_offered",
    "cgroup_v2",
    "rootless",
}


def test_a_good_host_passes_every_row() -> None:
    found = rows(GOOD)
    assert {name for name in ABOUT_THE_HOST if found[name].outcome is not Outcome.PASSED} == set()


@pytest.mark.parametrize(
    ("facts", "row"),
    [
        (replace(GOOD, engine="19.03.15"), "engine_supported"),
        (replace(GOOD, engine=""), "engine_supported"),
        (replace(GOOD, runc="1.0.0-rc93"), "runc_supported"),
        (replace(GOOD, runc="1.1.4"), "runc_supported"),
        (replace(GOOD, runc=""), "runc_supported"),
        (replace(GOOD, security=()), "seccomp_offered"),
        (replace(GOOD, runtimes={}), "runtime_present"),
        *((replace(GOOD, limits={**GOOD.limits, name: False}), f"{name.lower()}_offered") for name in GOOD.limits),
    ],
)
def test_c106_a_weak_daemon_fails_a_row_that_must_hold(facts: HostFacts, row: str) -> None:
    found = rows(facts)
    assert (found[row].outcome, found[row].required) == (Outcome.FAILED, True)
    assert {name for name, probe in found.items() if probe.outcome is Outcome.FAILED} == {row}  # nothing was run


def test_c104_a_missing_runtime_is_a_failed_row() -> None:
    assert rows(GOOD, runtime="runsc")["runtime_present"].outcome is Outcome.FAILED
    present = replace(GOOD, runtimes={**GOOD.runtimes, "runsc": "{}"})
    assert rows(present, runtime="runsc")["runtime_present"].outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("facts", "row"),
    [
        (replace(GOOD, cgroup_version="1"), "cgroup_v2"),
        (replace(GOOD, security=("name=seccomp",)), "rootless"),
        (replace(GOOD, runc="1.1.5+ds1"), "runc_masking"),
    ],
)
def test_what_a_host_may_lack_is_reported_as_absent(facts: HostFacts, row: str) -> None:
    assert (rows(facts)[row].outcome, rows(facts)[row].required) == (Outcome.ABSENT, False)


@pytest.mark.parametrize(
    ("runc", "mended"),
    [
        ("1.1.15", False),
        ("1.2.7", False),
        ("1.2.8", True),
        ("1.2.10", True),
        ("1.3.0", False),
        ("1.3.3", True),
        ("1.4.0", True),
        ("2.0", True),
        ("", False),
        ("unknown", False),
    ],
)
def test_releases_that_mend_masked_paths(runc: str, mended: bool) -> None:
    assert masking_mended(runc) is mended


def test_versions_are_numbers_not_text() -> None:
    assert numbers("20.10.24+dfsg1") == (20, 10, 24)
    assert numbers("v1.10") > numbers("1.9.9")
    assert numbers("main") == ()


@pytest.mark.parametrize("field", [field.name for field in fields(HostFacts)])
def test_the_digest_covers_every_fact(field: str) -> None:
    other: Any = {"limits": {}, "runtimes": {"runc": "other"}, "security": ()}.get(field, "other")
    assert replace(GOOD, **{field: other}).digest != GOOD.digest
    assert replace(GOOD).digest == GOOD.digest


@contextmanager
def daemon_saying(answer: bytes, folder: Path) -> Iterator[str]:
    """A socket that gives this answer to everything."""
    path = folder / "d.sock"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):  # closed by the other side, or at the end
                while True:
                    connection, _address = listener.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        yield f"unix://{path}"
        listener.shutdown(socket.SHUT_RDWR)
        server.join()


def said(body: object, status: str = "200 OK") -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status.encode(), len(text), text)


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", said({}, "500 No"), said([]), b""])
def test_a_daemon_that_gives_no_facts_is_unavailable(answer: bytes, tmp_path: Path) -> None:
    with daemon_saying(answer, tmp_path) as host, pytest.raises(SandboxUnavailable):
        host_facts(host)
    with pytest.raises(SandboxUnavailable):
        host_facts(f"unix://{tmp_path}/none")


def test_c106_what_a_daemon_does_not_say_counts_against_it(tmp_path: Path) -> None:
    with daemon_saying(said({}), tmp_path) as host:
        found = rows(host_facts(host))
    assert {name for name in ABOUT_THE_HOST if found[name].outcome is Outcome.PASSED} == set()
