"""A session keeps its state for its own key, within its own life, and dies with whatever goes wrong in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from sandbox import FRESH, RunCancelled, SandboxOverloaded, SessionMoved, Sessions, Verdict
from tests.unit.sandbox.daemon import ROOT, Daemon, daemon_fixture, ready_fixture  # noqa: F401

pytestmark = pytest.mark.docker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(daemon: Daemon, clock: Clock) -> Iterator[Sessions]:
    with Sessions(daemon.engine, daemon.spec, most=2, idle_s=100, life_s=1000, clock=clock) as made:
        yield made


def test_variables_files_and_functions_live_on(sessions: Sessions) -> None:
    first = sessions.run("ana", b"x = 20\ndef twice(n):\n    return n * 2\nopen('/tmp/note', 'w').write('kept')")
    assert (first.verdict, first.alive) == (Verdict.OK, True)
    second = sessions.run("ana", b"print(open('/tmp/note').read())\ntwice(x) + 2")
    assert (second.stdout, second.value, second.alive) == ("kept\n", "42", True)
    assert second.container_id == first.container_id


def test_two_keys_share_nothing(sessions: Sessions) -> None:
    one = sessions.run("ana", b"secret = 1\nopen('/tmp/s', 'w').write('x')")
    other = sessions.run("bob", b"import os\nprint('secret' in dir(), os.path.exists('/tmp/s'))")
    assert other.stdout == "False False\n"
    assert one.container_id != other.container_id


def test_every_run_is_a_generation_whatever_becomes_of_it(sessions: Sessions) -> None:
    assert sessions.mark("ana") is None
    marks = []
    for code in (b"x = 1", b"1 / 0", b"x"):
        result = sessions.run("ana", code)
        assert result.alive
        marks.append(sessions.mark("ana"))
    assert [mark.generation for mark in marks if mark] == [1, 2, 3]
    assert len({mark.session for mark in marks if mark}) == 1
    sessions.end("ana")
    assert sessions.mark("ana") is None
    sessions.run("ana", b"1")
    again = sessions.mark("ana")
    assert again is not None
    assert again not in marks


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (b"while True: pass", Verdict.TIMEOUT),
        (b"held = bytearray(1 << 30)", Verdict.OOM),
        (b"import os\nif os.fork() == 0:\n    held = bytearray(1 << 30)\nos.wait()", Verdict.OOM),
        (b"while True: print('x' * 65536)", Verdict.OUTPUT_CAPPED),
        (b"import os; os._exit(3)", Verdict.CODE_FAILED),
        (b"import os, signal; os.kill(os.getppid(), signal.SIGKILL)", Verdict.KILLED),
        (b"import os; os.write(os.open('/proc/1/fd/1', os.O_WRONLY), b'forged')", Verdict.KILLED),
    ],
    ids=["deadline", "memory", "memory_of_child", "output", "exit", "supervisor", "forged"],
)
def test_what_goes_wrong_ends_the_session(sessions: Sessions, daemon: Daemon, code: bytes, verdict: Verdict) -> None:
    sessions.run("ana", b"x = 1")
    result = sessions.run("ana", code, deadline_s=1 if verdict is Verdict.TIMEOUT else None)
    assert (result.verdict, result.alive) == (verdict, False)
    assert daemon.ours() == []
    assert sessions.run("ana", b"print('x' in dir())").stdout == "False\n"


def test_sys_exit_ends_the_run_and_not_the_session(sessions: Sessions) -> None:
    assert sessions.run("ana", b"x = 1\nimport sys; sys.exit(4)").exit_code == 4
    assert sessions.run("ana", b"x").value == "1"


def test_an_idle_session_ends_and_so_does_an_old_one(sessions: Sessions, daemon: Daemon, clock: Clock) -> None:
    sessions.run("ana", b"x = 1")
    clock.now = 99
    assert sessions.run("ana", b"x").value == "1"
    clock.now = 199
    assert sessions.mark("ana") is None
    assert "NameError" in sessions.run("ana", b"x").stderr
    for clock.now in range(250, 1150, 50):
        sessions.run("ana", b"x = 1")
    clock.now = 1199
    assert "NameError" in sessions.run("ana", b"x").stderr
    clock.now = 5000
    sessions.expire()
    assert daemon.ours() == []


def test_there_are_only_so_many_and_idle_ones_make_room(sessions: Sessions, clock: Clock) -> None:
    sessions.run("a", b"1")
    clock.now = 50
    sessions.run("b", b"1")
    with pytest.raises(SandboxOverloaded, match="2 sessions"):
        sessions.run("c", b"1")
    clock.now = 120
    assert sessions.run("c", b"1").alive


def test_one_owner_does_not_have_them_all(daemon: Daemon) -> None:
    with Sessions(daemon.engine, daemon.spec, most=3, most_each=2) as sessions:
        for key in ("a1", "a2"):
            assert sessions.run(key, b"1", whose="ana").alive
        with pytest.raises(SandboxOverloaded, match="2 sessions of this caller"):
            sessions.run("a3", b"1", whose="ana")
        assert sessions.run("b1", b"1", whose="bob").alive
        assert sessions.run("a1", b"1", whose="ana").alive  # what is open goes on


def test_runs_of_one_session_queue_up_and_a_wait_is_bounded(sessions: Sessions) -> None:
    sessions.run("ana", b"1")
    done: list[object] = []
    begun, go_on = threading.Event(), threading.Event()

    def hear(*_: str) -> None:  # holds the run up where its output is drained
        begun.set()
        go_on.wait(8)

    code = b"print('begun', flush=True)\nx = 1"
    worker = threading.Thread(target=lambda: done.append(sessions.run("ana", code, hear=hear)))
    worker.start()
    assert begun.wait(30)
    with pytest.raises(SandboxOverloaded, match="still going on"):
        sessions.run("ana", b"x", deadline_s=0.2)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(RunCancelled):
        sessions.run("ana", b"x", cancel=cancel)
    assert done == []
    go_on.set()
    assert sessions.run("ana", b"x").value == "1"
    worker.join()


def test_a_run_wanted_in_one_state_of_the_session_runs_in_no_other(sessions: Sessions) -> None:
    assert sessions.run("ana", b"x = 1", if_match=FRESH).alive
    before = sessions.mark("ana")
    assert sessions.run("ana", b"x = 2", if_match=before).alive
    for wanted in (before, FRESH):
        with pytest.raises(SessionMoved):
            sessions.run("ana", b"x = 3", if_match=wanted)
    assert sessions.run("ana", b"x", if_match=sessions.mark("ana")).value == "2"
    sessions.end("ana")
    with pytest.raises(SessionMoved):
        sessions.run("ana", b"x", if_match=before)
    assert sessions.mark("ana") is None


def test_cancelling_ends_the_session(sessions: Sessions, daemon: Daemon) -> None:
    sessions.run("ana", b"x = 1")
    cancel = threading.Event()
    code = b"import time\nprint('begun', flush=True)\ntime.sleep(600)"
    assert sessions.run("ana", code, cancel=cancel, hear=lambda *_: cancel.set()).verdict is Verdict.KILLED
    assert daemon.ours() == []


def test_outputs_come_once_and_again_when_they_change(sessions: Sessions) -> None:
    def names(code: bytes) -> list[str]:
        return [artifact.name for artifact in sessions.run("ana", code).artifacts]

    assert names(b"open('/tmp/out/a.txt', 'w').write('1')") == ["a.txt"]
    assert names(b"open('/tmp/out/b.txt', 'w').write('1')") == ["b.txt"]
    assert names(b"open('/tmp/out/a.txt', 'w').write('22')") == ["a.txt"]
    assert names(b"1") == []


def test_inputs_of_each_run_replace_those_of_the_same_name(sessions: Sessions) -> None:
    read = b"import os\nprint(sorted((n, open('/tmp/in/' + n).read()) for n in os.listdir('/tmp/in')))"
    assert sessions.run("ana", read, inputs={"a": b"1", "b": b"2"}).stdout == "[('a', '1'), ('b', '2')]\n"
    assert sessions.run("ana", read, inputs={"a": b"3"}).stdout == "[('a', '3'), ('b', '2')]\n"
    assert sessions.run("ana", b"import sys\nsys.stdin.read()", stdin=b"typed").value == "'typed'"


def test_c100_a_killed_host_ends_the_session_at_once(daemon: Daemon) -> None:
    program = (
        "import sys, time, yaml\n"
        "from sandbox import DockerEngine, SandboxProfile, Sessions\n"
        "profile = SandboxProfile.from_mapping(yaml.safe_load(open('policies/sandbox/python.yaml')))\n"
        "held = Sessions(DockerEngine(owner=sys.argv[1]), profile.pinned_to(sys.argv[2]))\n"
        "held.run('ana', b'x = 1')\nprint('up', flush=True)\ntime.sleep(600)\n"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", program, daemon.engine.owner, daemon.spec.image_id],
        cwd=ROOT,
        env={**os.environ, "DOCKER_HOST": daemon.engine.host},
        stdout=subprocess.PIPE,
    )
    assert host.stdout is not None
    assert host.stdout.readline() == b"up\n"
    left = daemon.wait_for_one()["Id"]
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdout.close()
    assert daemon.wait_for_one("exited")["Id"] == left  # by itself: its stdin has ended
    daemon.api.remove_container(left)
