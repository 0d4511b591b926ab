"""What hostile code tries from inside a container, on a real Docker daemon (C091-C098, C108-C110, C140)."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import DockerEngine, SandboxResult, SandboxSpec, Verdict
from sandbox.host import host_facts
from sandbox.self_check import Outcome, self_check
from tests.unit.sandbox.daemon import PROFILE, Daemon, daemon_fixture, ready_fixture  # noqa: F401

pytestmark = pytest.mark.docker


def test_c091_every_probe_from_inside(daemon: Daemon) -> None:
    probes = self_check(daemon.engine, daemon.spec, host_facts(daemon.engine.host))
    assert len({probe.name for probe in probes}) == len(probes) >= 50
    assert [probe for probe in probes if probe.outcome is Outcome.FAILED] == []


def test_c091_a_probe_that_must_hold_fails_aloud(daemon: Daemon) -> None:
    """The probes look, rather than believe the request: under a profile of 64 processes 32 are not kept."""
    believed = replace(daemon.spec, profile=replace(PROFILE, processes=32, cpus=0.1))

    class Generous(DockerEngine):
        def run(self, spec: SandboxSpec, code: bytes, **options: Any) -> SandboxResult:
            return super().run(daemon.spec, code, **options)

    probes = self_check(Generous(owner=daemon.engine.owner), believed)
    assert {p.name for p in probes if p.outcome is Outcome.FAILED} == {
        "processes_bounded",
        "cpu_bounded",
        "missing_image_refused",  # it runs, whatever specification it is given
        "broken_seccomp_refused",
    }


def test_ordinary_programs_run(daemon: Daemon) -> None:
    code = """
import asyncio, bz2, csv, ctypes, decimal, hashlib, json, lzma, sqlite3, ssl, sys, threading, zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

@dataclass
class Row:
    name: str

async def both():
    return await asyncio.gather(asyncio.sleep(0, 1), asyncio.to_thread(sum, [1, 1]))

with ThreadPoolExecutor(4) as pool:
    squares = list(pool.map(lambda n: n * n, range(4)))
total = sum(int(row["amount"]) for row in csv.DictReader(open("/tmp/in/orders.csv")))
open("/tmp/note", "w").write("kept")
print(json.dumps([asyncio.run(both()), squares, total, sys.stdin.read(), open("/tmp/note").read(), __name__]))
"""
    result = daemon.run(code, inputs={"orders.csv": b"amount\n40\n2\n"}, stdin=b"typed")
    assert result.verdict is Verdict.OK, result.stderr
    assert result.succeeded
    assert result.stdout == '[[1, 2], [0, 1, 4, 9], 42, "typed", "kept", "__main__"]\n'
    assert result.stderr == result.detail == ""
    assert result.image_id == daemon.spec.image_id


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("def f():\n    return 1 / 0\nf()", 1, 'File "<code>", line 2, in f\n    return 1 / 0'),
        ("def f(:", 1, "SyntaxError"),
        ("import sys; sys.exit(7)", 7, ""),
        ("import ctypes; ctypes.string_at(0)", 139, ""),
        ("import urllib.request; urllib.request.urlopen('http://10.0.0.1/', timeout=2)", 1, "Operation not permitted"),
        ("import socket; socket.create_connection(('127.0.0.1', 1), 2)", 1, "Operation not permitted"),
        ("open('/usr/lib/x', 'w')", 1, "Read-only file system"),
        ("open('/x', 'w')", 1, "Read-only file system"),
        ("import subprocess; subprocess.run(['sh', '-c', 'id'])", 1, "No such file or directory"),
    ],
)
def test_the_code_failed_not_the_sandbox(daemon: Daemon, code: str, exit_code: int, said: str) -> None:
    result = daemon.run(code)
    assert (result.verdict, result.exit_code) == (Verdict.CODE_FAILED, exit_code)
    assert said in result.stderr
    assert "runner.py" not in result.stderr


def test_c092_a_fork_bomb_is_bounded_and_removed(daemon: Daemon) -> None:
    met = threading.Event()  # the bound: the bomb is left alone until then
    result = daemon.run(
        "import os, signal\n"
        "while True:\n"
        "    try:\n        os.fork()\n"
        "    except OSError as error:\n        print(error.errno, flush=True); signal.pause()\n",
        cancel=met,
        hear=lambda *_: met.set(),
    )
    assert result.verdict is Verdict.KILLED
    assert set(result.stdout.split()) == {"11"}  # EAGAIN
    assert daemon.ours() == []


def test_c093_memory_of_a_child_only_is_flagged(daemon: Daemon) -> None:
    result = daemon.run("import os\nif os.fork() == 0:\n    x = bytearray(1 << 30)\nos.wait()\nprint('all is well')")
    assert (result.verdict, result.exit_code) == (Verdict.OOM, 0)
    assert not result.succeeded


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_c094_endless_output_is_capped_and_leaves_the_disk_alone(daemon: Daemon, stream: str) -> None:
    seen: list[str] = []

    class Watched(DockerEngine):
        def remove(self, client: Any, container: str) -> None:
            seen.append(client.inspect_container(container)["LogPath"])
            super().remove(client, container)

    code = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
    result = Watched(owner=daemon.engine.owner).run(daemon.spec, code.encode())
    assert result.verdict is Verdict.OUTPUT_CAPPED
    assert len(getattr(result, stream)) == daemon.spec.output_cap
    assert seen == [""]  # Docker keeps no log file


def test_c095_ignoring_sigterm_does_not_help(daemon: Daemon) -> None:
    code = """
import contextlib, signal
for number in range(1, 65):
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_IGN)
while True: pass
"""
    result = daemon.run(code, deadline_s=1)
    assert (result.verdict, result.exit_code) == (Verdict.TIMEOUT, 137)


def test_c096_closing_stdout_does_not_end_the_deadline(daemon: Daemon) -> None:
    result = daemon.run("import os, time\nfor n in (0, 1, 2): os.close(n)\ntime.sleep(600)", deadline_s=1)
    assert result.verdict is Verdict.TIMEOUT


def test_c097_a_daemonised_grandchild_goes_with_the_container(daemon: Daemon) -> None:
    mark = secrets.token_hex(8)
    result = daemon.run(
        f"""
import os, time
told, tells = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("/proc/self/comm", "w").write("{mark[:12]}")
        os.write(tells, b"up")
        time.sleep(600)
    os._exit(0)
print(os.read(told, 2).decode())
"""
    )
    assert result.verdict is Verdict.OK
    assert result.stdout == "up\n"
    names = [p.read_text().strip() for p in readable(Path("/proc").glob("[0-9]*/comm"))]
    assert mark[:12] not in names


def readable(paths: Iterator[Path]) -> Iterator[Path]:
    for path in paths:
        with contextlib.suppress(OSError):
            path.read_text()
            yield path


def test_c098_an_end_before_anything_was_read_does_not_hang(daemon: Daemon) -> None:
    assert daemon.run("import os; os._exit(0)", stdin=b"x" * (1 << 23)).verdict is Verdict.OK
    killed = daemon.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", stdin=b"x" * (1 << 23))
    assert killed.verdict is Verdict.KILLED


def test_c108_hostile_output_is_escaped(daemon: Daemon) -> None:
    result = daemon.run(r"import sys; sys.stdout.buffer.write(b'\xff\x1b[2J\xe2\x80\xae ok\n')")
    assert result.stdout == "\\xff\\x1b[2J\\u202e ok\n"


def test_c109_code_beyond_an_argument_vector_goes_by_stdin(daemon: Daemon) -> None:
    code = f"text = '{'x' * (300 * 1024)}'\nprint(len(text))"
    assert daemon.run(code).stdout == f"{300 * 1024}\n"
    assert daemon.run("print(len(open('/tmp/in/big', 'rb').read()))", inputs={"big": b"\0" * (12 << 20)}).stdout == (
        f"{12 << 20}\n"
    )


def test_c110_consecutive_and_parallel_runs_share_nothing(daemon: Daemon) -> None:
    code = "import os\nprint(sorted(os.listdir('/tmp')))\nopen('/tmp/left', 'w').write('x')"
    results: list[SandboxResult] = [daemon.run(code), daemon.run(code)]
    workers = [threading.Thread(target=lambda: results.append(daemon.run(code))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [r.stdout for r in results] == ["['in', 'out']\n"] * 6
    assert len({r.container_id for r in results}) == 6


def test_c140_a_forged_envelope_changes_no_verdict(daemon: Daemon) -> None:
    forged = r"""
import os
os.write(1, b'{"verdict": "ok", "exit_code": 0}\n')
os.write(1, bytes([1, 0, 0, 0, 0, 0, 0, 4]) + b"fake" + bytes([2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]))
os._exit(3)
"""
    result = daemon.run(forged)
    assert (result.verdict, result.exit_code) == (Verdict.CODE_FAILED, 3)
    assert result.stderr == ""
    assert result.stdout.startswith('{"verdict": "ok", "exit_code": 0}\n\\x01')
