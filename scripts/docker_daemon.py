"""Run a command with Docker at hand: a daemon that answers, or a private one for as long as it runs.

Guarantees: the private daemon has its own socket, data, settings and pid file, no bridge and no iptables rule, offers
gVisor's runsc beside runc where that is installed, and is stopped by pid on every way out (end, failure, INT, TERM; if
this process is killed, the kernel tells it).
Nothing that was running before is touched. Two runs at once use two daemons.

The command sees DOCKER_HOST, TOOLGATE_SANDBOX_CACHE and TOOLGATE_DOCKER=present; where Docker cannot be had,
TOOLGATE_DOCKER=absent and TOOLGATE_DOCKER_REASON, and with CI=true it is not run at all (exit 69).

Settings: TOOLGATE_NO_INSTALL=1 (never install), TOOLGATE_DOCKER_DIR (data folder; default
`.cache/docker` in the checkout), TOOLGATE_SANDBOX_CACHE (image archive and lock; default `.cache/toolgate`).
Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
INSTALL_TIMEOUT_S = 600.0
SLOTS = 8  # runs at once that keep their data folder apart
STOPS = (signal.SIGINT, signal.SIGTERM)
EX_UNAVAILABLE = 69  # sysexits.h
# ptrace needs no KVM; --oci-seccomp makes gVisor heed the profile that Docker hands it.
RUNSC_ARGUMENTS = ("--platform=ptrace", "--network=none", "--oci-seccomp")
POLICY_RC = Path("/usr/sbin/policy-rc.d")


class DockerAbsent(Exception):
    """No daemon can be had; the text says why."""


class Interrupted(Exception):
    """INT or TERM arrived; carries its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def say(text: str) -> None:
    print(f"docker: {text}", file=sys.stderr, flush=True)


def answers(host: str) -> bool:
    """True where a Docker daemon answers `GET /_ping` on a unix socket."""
    if not host.startswith("unix://"):
        return False
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(host.removeprefix("unix://"))
            probe.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return probe.recv(64).split(b"\r\n")[0].endswith(b" 200 OK")
    except OSError:
        return False


def as_root() -> list[str]:
    """The prefix that makes a command run as root; `DockerAbsent` where nothing does without a question."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ["sudo", "-n"]
    raise DockerAbsent("no Docker daemon answers, and starting one needs root or sudo without a password")


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")


def find_dockerd() -> str | None:
    return find("dockerd")


def apt(*arguments: str) -> None:
    argv = [*as_root(), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise DockerAbsent(f"apt-get {arguments[0]} took longer than {INSTALL_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise DockerAbsent(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-300:]}")


@contextlib.contextmanager
def no_service_start() -> Iterator[None]:
    """Debian starts a service when it is installed; we want the program, not another daemon."""
    if POLICY_RC.exists():
        yield
        return
    prefix = as_root()
    text = "#!/bin/sh\n# written by toolgate while it installs docker.io\nexit 101\n"
    subprocess.run([*prefix, "tee", str(POLICY_RC)], input=text, text=True, stdout=subprocess.DEVNULL, check=True)
    try:
        subprocess.run([*prefix, "chmod", "755", str(POLICY_RC)], check=True)
        yield
    finally:
        subprocess.run([*prefix, "rm", "-f", str(POLICY_RC)], check=False)


def install(package: str, program: str) -> str:
    """Install a Debian package; the path of the program it brings."""
    if os.environ.get("TOOLGATE_NO_INSTALL") == "1":
        raise DockerAbsent(f"no {program} is installed, and TOOLGATE_NO_INSTALL=1 forbids to install it")
    if shutil.which("apt-get") is None:
        raise DockerAbsent(f"no {program} is installed, and this is not Debian or Ubuntu (no apt-get)")
    as_root()
    say(f"installing {package} with apt-get (TOOLGATE_NO_INSTALL=1 forbids it)")
    with no_service_start():
        apt("update")
        apt("install", "--no-install-recommends", package)
    found = find(program)
    if found is None:
        raise DockerAbsent(f"{package} was installed but brought no {program}")
    return found


def settings(runsc: str | None) -> dict[str, object]:
    """The private daemon's own daemon.json. Cgroups stay on for gVisor: without them nothing bounds its memory."""
    if runsc is None:
        return {}
    return {"runtimes": {"runsc": {"path": runsc, "runtimeArgs": list(RUNSC_ARGUMENTS)}}}


def take_slot() -> tuple[Path, TextIO]:
    """A data folder that no other run uses, and the lock that says so."""
    base = Path(os.environ.get("TOOLGATE_DOCKER_DIR") or ROOT / ".cache/docker").absolute()
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DockerAbsent(f"cannot make the data folder {base}: {error.strerror}") from error
    for number in range(SLOTS):
        lock = (base / f"{number}.lock").open("a+")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return base / str(number), lock
        lock.close()
    raise DockerAbsent(f"{SLOTS} runs are using {base} already")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (OSError, IndexError):
        return True


def read_pid(path: Path) -> int | None:
    """A pid file's number; through sudo where the folder is root's."""
    reader = subprocess.run([*as_root(), "cat", str(path)], capture_output=True, text=True, check=False)
    return int(reader.stdout) if reader.stdout.strip().isdigit() else None


def stop(pids: list[int]) -> None:
    """TERM, wait, KILL: exactly these processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            if not gone(pid):
                subprocess.run([*as_root(), "kill", f"-{number.value}", str(pid)], capture_output=True, check=False)
        end = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < end:
            if all(gone(pid) for pid in pids):
                return
            time.sleep(0.05)
    say(f"could not stop {pids}")


def left_behind(run: Path) -> list[int]:
    """Shims of our own containerd, which name its folder, and the containers beneath them."""
    shims, parents = set[int](), dict[int, int]()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):  # gone meanwhile
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if f"{run}/".encode() in (entry / "cmdline").read_bytes():
                shims.add(int(entry.name))
    mine = {os.getpid(), os.getppid()}
    return sorted((shims | {pid for pid, parent in parents.items() if parent in shims}) - mine)


def tidy_after_a_kill(lock: TextIO, data: Path, run: Path) -> None:
    """The slot's lock names its run folder: one that a killed run left behind is removed by the next."""
    lock.seek(0)
    left = Path(lock.read().strip() or "/nonexistent")
    if left.name.startswith("toolgate-docker-") and left.is_dir():
        stop(left_behind(left))
        leave_nothing(left, data)
    lock.truncate(0)
    lock.write(str(run))
    lock.flush()


@contextlib.contextmanager
def private_daemon() -> Iterator[str]:
    """A daemon of our own; its address."""
    prefix = as_root()
    dockerd = find_dockerd() or install("docker.io", "dockerd")
    data, lock = take_slot()
    # The folder of the socket stays short: a unix socket's path has at most 107 bytes (unix(7)).
    short = tempfile.gettempdir() if len(tempfile.gettempdir()) < 40 else "/tmp"  # noqa: S108
    run = Path(tempfile.mkdtemp(prefix="toolgate-docker-", dir=short))
    run.chmod(0o755)
    tidy_after_a_kill(lock, data, run)
    address = f"unix://{run}/d.sock"
    argv = [*prefix, "setpriv", "--pdeathsig", "TERM", dockerd, "--data-root", str(data), "--exec-root", str(run / "x")]
    argv += ["--pidfile", str(run / "pid"), "-H", address, "--bridge=none", "--iptables=false", "--ip-forward=false"]
    (run / "daemon.json").write_text(json.dumps(settings(find("runsc"))))
    argv += ["--config-file", str(run / "daemon.json")]
    # Not the folder's own name: containerd takes no `_` at the end of a namespace, and mkdtemp gives one now and then.
    argv += ["--containerd-namespace", f"toolgate-{secrets.token_hex(4)}", "--shutdown-timeout", "3"]
    if os.geteuid() != 0:
        argv += ["--group", str(os.getgid())]
    log = run / "log"
    shims = Path("/run/containerd")  # containerd's fixed place for its shims' sockets
    had_shims = shims.exists()
    process: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb") as out, unheard():
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=heard,  # noqa: PLW1509  this program has one thread
            )
        end = time.monotonic() + READY_TIMEOUT_S
        while not answers(address):
            if process.poll() is not None or time.monotonic() > end:
                last = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise DockerAbsent("the private dockerd did not start: " + " | ".join(line[-200:] for line in last))
            time.sleep(0.05)
        yield address
    finally:
        if process is not None:
            # In this order: dockerd ends its containers through containerd, and hangs where that is gone already.
            containerd = read_pid(run / "x/containerd/containerd.pid")
            stop([read_pid(run / "pid") or process.pid])
            stop([] if containerd is None else [containerd])
            stop(left_behind(run))
            process.wait(STOP_TIMEOUT_S)
        leave_nothing(run, data)
        if not had_shims:
            subprocess.run([*prefix, "rmdir", str(shims / "s"), str(shims)], capture_output=True, check=False)
        lock.close()


def leave_nothing(run: Path, data: Path) -> None:
    """Unmount what the daemon left under its two folders, and remove the run folder."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        mount = line.split()[1]
        if mount == str(data) or mount.startswith((f"{run}/", f"{data}/")):
            subprocess.run([*as_root(), "umount", mount], capture_output=True, check=False)
    subprocess.run([*as_root(), "rm", "-rf", "--one-file-system", str(run)], check=False)


@contextlib.contextmanager
def some_daemon() -> Iterator[str]:
    """A daemon that answers already, or a private one."""
    for host in (os.environ.get("DOCKER_HOST", ""), "unix:///var/run/docker.sock"):
        if host and answers(host):
            say(f"using the daemon at {host}")
            yield host
            return
    with private_daemon() as host:
        say(f"started a private daemon at {host}")
        yield host


def build_image(environment: dict[str, str]) -> None:
    """The image, where it is missing; the package lists, where the machine has none."""
    if shutil.which("apt-cache"):
        known = subprocess.run(["apt-cache", "show", "python3-minimal"], capture_output=True, check=False)
        if known.returncode != 0 and os.environ.get("TOOLGATE_NO_INSTALL") != "1":
            apt("update")
    argv = [sys.executable, "-m", "sandbox.image.build", "--cache", environment["TOOLGATE_SANDBOX_CACHE"]]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DockerAbsent(f"the sandbox image could not be built: {done.stderr.strip()[-600:]}")


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """INT and TERM arrive after the block, not in it: what is started in it is known before they are heard."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def heard() -> None:
    """In the child: what it was started with is heard again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def run(command: list[str], environment: dict[str, str]) -> int:
    """The command's exit code; an interruption is passed on and waited for."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with unheard():
            process = subprocess.Popen(command, env=environment, preexec_fn=heard)  # noqa: PLW1509
        code = process.wait()
    except Interrupted as stopped:
        if process is None:
            raise
        process.send_signal(stopped.number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return code if code >= 0 else 128 - code


def interrupted(number: int, _frame: FrameType | None) -> None:
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)  # once is enough: what follows is the tidying
    raise Interrupted(number)


def main(command: list[str]) -> int:
    if not command:
        print("usage: scripts/with_docker.sh CMD...", file=sys.stderr)
        return 64
    for number in STOPS:
        signal.signal(number, interrupted)
    cache = os.environ.get("TOOLGATE_SANDBOX_CACHE") or str(ROOT / ".cache/toolgate")
    environment = {**os.environ, "TOOLGATE_SANDBOX_CACHE": cache}
    try:
        with contextlib.ExitStack() as stack:
            try:
                environment["DOCKER_HOST"] = stack.enter_context(some_daemon())
                build_image(environment)
                environment["TOOLGATE_DOCKER"] = "present"
            except DockerAbsent as reason:
                say(str(reason))
                if os.environ.get("CI") == "true":
                    say("CI=true: a missing daemon is a failure")
                    return EX_UNAVAILABLE
                environment |= {"TOOLGATE_DOCKER": "absent", "TOOLGATE_DOCKER_REASON": str(reason)}
            return run(command, environment)
    except Interrupted as stopped:
        return 128 + stopped.number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
