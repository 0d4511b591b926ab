"""The script that makes Docker available: says what it met, passes the exit code on, leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scripts import docker_daemon

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts/with_docker.sh"
NO_DAEMON = not docker_daemon.answers("unix:///var/run/docker.sock")
needs_private = pytest.mark.skipif(
    os.geteuid() != 0 or docker_daemon.find_dockerd() is None or not NO_DAEMON,
    reason="needs root and dockerd, and no daemon on the system's socket",
)


def environment(**changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOOLGATE_DOCKER", "DOCKER_")) and k != "CI"}
    return {**kept, "TOOLGATE_NO_INSTALL": "1", "TOOLGATE_PYTHON": sys.executable, **changes}


def run(*command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *command], env=environment(**changes), capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.skipif(not NO_DAEMON, reason="a daemon answers on the system's socket")
def test_without_docker_the_command_runs_and_is_told_why(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run("sh", "-c", "echo $TOOLGATE_DOCKER: $TOOLGATE_DOCKER_REASON; exit 3", TOOLGATE_DOCKER_DIR=f"{file}/x")
    assert done.returncode == 3
    assert done.stdout.startswith("absent: ")
    assert len(done.stdout) > len("absent: \n")
    assert done.stdout.removeprefix("absent: ").strip() in done.stderr


@pytest.mark.skipif(not NO_DAEMON, reason="a daemon answers on the system's socket")
def test_without_docker_ci_fails_and_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run("touch", str(tmp_path / "ran"), CI="true", TOOLGATE_DOCKER_DIR=f"{file}/x")
    assert done.returncode == docker_daemon.EX_UNAVAILABLE
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(not NO_DAEMON, reason="a daemon answers on the system's socket")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_with_the_start_reaches_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """The command asks for it itself, at once: often before its parent has learnt that it runs."""
    (tmp_path / "file").touch()
    pid_file = tmp_path / "pid"
    ask = f"echo $$ > {pid_file}; kill -{number.value} $PPID; exec sleep 600"
    for _ in range(15):
        done = run("sh", "-c", ask, TOOLGATE_DOCKER_DIR=f"{tmp_path}/file/x")
        assert done.returncode == 128 + number
        assert docker_daemon.gone(int(pid_file.read_text()))


def test_a_socket_that_is_no_docker_does_not_answer(tmp_path: Path) -> None:
    assert not docker_daemon.answers(f"unix://{tmp_path}/none")
    assert not docker_daemon.answers("tcp://127.0.0.1:2375")


@pytest.mark.docker
@needs_private
@pytest.mark.parametrize("end", ["exit", "TERM", "INT"])
def test_a_private_daemon_is_gone_afterwards(tmp_path: Path, end: str) -> None:
    data = Path(tempfile.mkdtemp(prefix="tg-data-"))
    say = 'echo "$TOOLGATE_DOCKER ${DOCKER_HOST#unix://}"; [ -S "${DOCKER_HOST#unix://}" ] && echo up; '
    process = subprocess.Popen(
        [str(SCRIPT), "sh", "-c", say + ("read _; exit 5" if end == "exit" else "exec sleep 600")],
        env=environment(TOOLGATE_DOCKER_DIR=str(data)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline().split()
        assert first[:1] == ["present"], process.stderr.read()
        run_folder = Path(first[1]).parent
        daemons = [int(p.read_text()) for p in (run_folder / "pid", run_folder / "x/containerd/containerd.pid")]
        assert process.stdout.readline() == "up\n"
        if end == "exit":
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        else:
            process.send_signal(getattr(signal, f"SIG{end}"))
        expected = 5 if end == "exit" else 128 + getattr(signal, f"SIG{end}")
        assert process.wait(60) == expected
        assert all(docker_daemon.gone(pid) for pid in daemons)
        assert not run_folder.exists()
        assert str(data) not in Path("/proc/self/mounts").read_text()
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(data, ignore_errors=True)
