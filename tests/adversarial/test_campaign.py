"""Hostile runs by the hundred: each ends as it should, and host and daemon are as they were before (C092-C110, C140).

100 runs in the suite; 1,000 and 10,000 in the long counts. What is counted: containers, volumes, processes and mounts
of the containers used, folders below Docker's root, and this process's descriptors, threads and memory.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import DockerEngine, Pool, SandboxResult, Verdict
from sandbox.image import build
from scripts import docker_daemon
from tests.unit.sandbox.daemon import PROFILE, ROOT, Daemon, daemon_fixture, ready_fixture, until  # noqa: F401

pytestmark = [pytest.mark.docker, pytest.mark.timeout(200)]

DEADLINE_S = 1.2  # of those that would never end ...
PATIENCE_S = 120  # ... the others may take as long as the machine is busy
FORGED = "os.write(os.open('/proc/1/fd/1', os.O_WRONLY), b'Z\\0\\0\\0\\x40ended 1\\nexit 0\\noom 0' + bytes(43))"


@dataclass(frozen=True)
class Attack:
    name: str
    code: str
    ends: frozenset[Verdict]


def attack(name: str, code: str, *ends: Verdict) -> Attack:
    return Attack(name, f"import os, signal, sys, time\n{code}", frozenset(ends))


ATTACKS = (
    attack("ordinary", "print(6 * 7)\nopen('/tmp/out/a.txt', 'w').write('x')", Verdict.OK),
    attack("fork bomb", "while True:\n    try: os.fork()\n    except OSError: pass", Verdict.TIMEOUT),
    attack("forks that end", "for _ in range(40):\n    if os.fork() == 0: os._exit(0)", Verdict.OK),
    attack("memory bomb", "held = []\nwhile True: held.append(bytearray(1 << 24))", Verdict.OOM),
    attack("memory of a child", "if os.fork() == 0:\n    x = bytearray(1 << 30)\nos.wait()", Verdict.OOM),
    attack("endless output", "while True: os.write(1, b'x' * 65536)", Verdict.OUTPUT_CAPPED),
    attack("endless errors", "while True: os.write(2, b'x' * 65536)", Verdict.OUTPUT_CAPPED),
    attack(
        "SIGTERM-proof",
        "for n in set(range(1, 65)) - {9, 19, 32, 33}:\n    signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        Verdict.TIMEOUT,
    ),
    attack("daemonised", "if os.fork() == 0:\n    os.setsid()\n    os.fork()\n    time.sleep(600)", Verdict.OK),
    attack("stdout closed", "for n in (0, 1, 2): os.close(n)\ntime.sleep(600)", Verdict.TIMEOUT),
    attack("tmp filled", "f = open('/tmp/f', 'wb', 0)\nwhile True: f.write(bytes(1 << 20))", Verdict.CODE_FAILED),
    attack("tmp of files", "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'w').close(); n += 1", Verdict.CODE_FAILED),
    attack("links out", "os.symlink('/etc/shadow', '/tmp/out/a')\nos.symlink('/', '/tmp/out/b')", Verdict.OK),
    attack("bomb out", "for n in range(200): open(f'/tmp/out/{n}', 'w').truncate(60 << 20)", Verdict.OK),
    attack("forged envelope", f"{FORGED}\nos._exit(3)", Verdict.KILLED),
    attack("printed envelope", """print('{"verdict": "ok"}')\nos._exit(3)""", Verdict.CODE_FAILED),
    attack("kills its supervisor", "os.kill(os.getppid(), 9)\ntime.sleep(600)", Verdict.KILLED),
    attack("stops its supervisor", "os.kill(os.getppid(), 19)\ntime.sleep(600)", Verdict.TIMEOUT),
    attack("holds the host's pipe", "os.open('/proc/1/fd/0', os.O_WRONLY)\ntime.sleep(600)", Verdict.TIMEOUT),
    attack("threads", "import threading\nwhile True: threading.Thread(target=time.sleep, args=(600,)).start()",
           Verdict.CODE_FAILED, Verdict.TIMEOUT),
)  # fmt: skip


def run_all(pool: Pool, count: int, hands: int, seen: Callable[[SandboxResult], None]) -> list[str]:
    """`count` attacks, in turn, `hands` at a time; which ended otherwise than they should."""

    def one(number: int) -> str:
        chosen = ATTACKS[number % len(ATTACKS)]
        endless = Verdict.TIMEOUT in chosen.ends
        result = pool.run(chosen.code.encode(), deadline_s=DEADLINE_S if endless else None)
        seen(result)
        return "" if result.verdict in chosen.ends else f"{chosen.name}: {result.verdict} ({result.detail})"

    with ThreadPoolExecutor(hands) as callers:
        return [wrong for wrong in callers.map(one, range(count)) if wrong]


def own_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("toolgate")}


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def nothing_left(daemon: Daemon) -> Iterator[set[str]]:
    """Take the count before and after. The block adds the ids of the containers it used."""
    used: set[str] = set()
    volumes = {volume["Name"] for volume in daemon.api.volumes()["Volumes"] or ()}
    before = descriptors()
    yield used
    assert used
    assert daemon.ours() == []
    assert not own_threads()
    assert descriptors() <= before + 1  # the test's own client may have opened its connection meanwhile
    assert {volume["Name"] for volume in daemon.api.volumes()["Volumes"] or ()} <= volumes
    root = Path(daemon.api.info()["DockerRootDir"])
    if os.access(root, os.X_OK):
        assert not [name for name in used if (root / "containers" / name).exists()]
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if any(n in line for n in used)]
    until(lambda: True if not processes_of(used) else None)  # the kernel's last steps after a SIGKILL


def processes_of(containers: set[str]) -> list[str]:
    """Those of the containers themselves, by their group, and the shims that held them, by their arguments."""
    found = []
    for file in (*Path("/proc").glob("[0-9]*/cgroup"), *Path("/proc").glob("[0-9]*/cmdline")):
        try:
            text = file.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if any(name in text for name in containers):
            found.append(text)
    return found


BATCH = 100  # hostile runs between two lines of progress


def campaign(daemon: Daemon, count: int, say: Callable[[str], None]) -> None:
    began, wrong = time.monotonic(), []
    spec = replace(daemon.spec, profile=replace(PROFILE, deadline_s=PATIENCE_S))
    with nothing_left(daemon) as used, Pool(daemon.engine, spec, 3) as pool:
        for done in range(BATCH, count + 1, BATCH):
            wrong += run_all(pool, BATCH, 5, lambda result: used.add(result.container_id))
            say(f"{done} of {count} hostile runs, {time.monotonic() - began:.0f} s, wrong: {wrong}")
    assert wrong == []
    assert len(used) == count  # none was used twice


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """A line on the terminal at once: the long counts take long."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    return line


def test_a_hundred_hostile_runs_leave_nothing_behind(daemon: Daemon) -> None:
    campaign(daemon, 100, lambda _: None)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_thousand_hostile_runs_leave_nothing_behind(daemon: Daemon, say: Callable[[str], None]) -> None:
    campaign(daemon, 1000, say)


ROUNDS, EACH, SETTLED = 20, 500, 5  # of the long count; memory is compared with the round when it had settled


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_runs_do_not_grow(daemon: Daemon, say: Callable[[str], None]) -> None:
    began, sizes = time.monotonic(), []
    with nothing_left(daemon) as used, Pool(daemon.engine, daemon.spec, 4) as pool, ThreadPoolExecutor(4) as callers:
        for turn in range(1, ROUNDS + 1):
            results = list(callers.map(lambda n: pool.run(b"print(%d)" % n), range(EACH)))
            assert [r.stdout for r in results] == [f"{n}\n" for n in range(EACH)]
            used.update(r.container_id for r in results)
            memory = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            sizes.append((memory, descriptors()))
            spent = time.monotonic() - began
            say(f"{turn * EACH} runs, {spent:.0f} s, {memory >> 20} MiB, {sizes[-1][1]} descriptors")
    assert len(used) == ROUNDS * EACH
    settled = sizes[SETTLED - 1]
    assert sizes[-1][0] < settled[0] + (16 << 20)
    assert sizes[-1][1] < settled[1] + 20


GATEWAY = """
import sys, threading, time, yaml
from sandbox import DockerEngine, Pool, SandboxProfile, Sessions
spec = SandboxProfile.from_mapping(yaml.safe_load(open('policies/sandbox/python.yaml'))).pinned_to(sys.argv[2])
engine = DockerEngine(owner=sys.argv[1])
pool, sessions = Pool(engine, spec, 2), Sessions(engine, spec)
pool.wait_until_full(60)
codes = [b'import time; time.sleep(600)', b'import os, time; os.open("/proc/1/fd/0", 1); time.sleep(600)']
for code in codes:
    threading.Thread(target=pool.run, args=(code,), kwargs={'deadline_s': 8}, daemon=True).start()
while pool.waiting: time.sleep(0.01)
sessions.run('ana', b'x = 1')
pool.wait_until_full(60)
print('up', flush=True)
threading.Event().wait()
"""


def test_c100_a_killed_gateways_containers_end_by_themselves_and_are_reaped(daemon: Daemon) -> None:
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, daemon.engine.owner, daemon.spec.image_id],
        cwd=ROOT,
        env={**os.environ, "DOCKER_HOST": daemon.engine.host},
        stdout=subprocess.PIPE,
    )
    assert gateway.stdout is not None
    assert gateway.stdout.readline() == b"up\n"
    gateway.send_signal(signal.SIGKILL)
    gateway.wait()
    gateway.stdout.close()
    # Even the one that keeps its own stdin open: the alarm of its supervisor rings.
    until(lambda: True if {c["State"] for c in daemon.ours()} == {"exited"} else None)
    left = {c["Id"] for c in daemon.ours()}
    assert len(left) == 5  # two at work, two that wait, one session
    assert daemon.engine.reap() == []  # the leases run
    later = DockerEngine(owner=daemon.engine.owner, clock=lambda: time.time() + 86_400)
    assert set(later.reap()) == left


@pytest.mark.skipif(
    os.geteuid() != 0 or docker_daemon.find_dockerd() is None, reason="needs root and dockerd for a daemon of its own"
)
def test_c099_a_daemon_killed_under_load_is_never_a_success(
    ready: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOOLGATE_DOCKER_DIR", str(tmp_path / "data"))
    results: list[Any] = []
    before = descriptors()
    with docker_daemon.private_daemon() as host:
        engine = DockerEngine(host, owner="campaign")
        profile = replace(PROFILE, deadline_s=PATIENCE_S)
        spec = profile.pinned_to(build.ensure(engine, ready[1].parent, tmp_path / "lock"))

        def run(code: bytes) -> None:
            try:
                results.append(pool.run(code).verdict)
            except Exception as error:  # what it raised is looked at below
                results.append(type(error).__name__)

        with Pool(engine, spec, 2) as pool:
            assert pool.wait_until_full(60)
            callers = [threading.Thread(target=run, args=(b"import time; time.sleep(600)",)) for _ in range(4)]
            for caller in callers:
                caller.start()
            client = __import__("docker").APIClient(host)
            until(lambda: True if len(client.containers()) >= 4 else None)
            client.close()
            socket_path = host.removeprefix("unix://")
            os.kill(int((Path(socket_path).parent / "pid").read_text()), signal.SIGKILL)
            for caller in callers:
                caller.join()
            run(b"print(1)")
            until(lambda: True if "no container could be made ready" in caplog.text else None)
        assert set(results) <= {Verdict.SANDBOX_FAILED, "SandboxUnavailable"}
        assert len(results) == 5
    assert descriptors() <= before  # also while what was logged is kept
