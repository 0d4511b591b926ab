"""Looks at the container from inside and prints one JSON object `{probe: [passed, what was seen]}`.

Sent as code by `sandbox/self_check.py`; expected amounts come on stdin. It is our own program, so its output may be
believed. A probe that fails to look counts as not passed and says why; the others go on. Standard library only.
"""

import ctypes
import errno
import json
import os
import platform
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

Seen = list[object]  # [passed, what was seen]

# x86_64 numbers (arch/x86/entry/syscalls/syscall_64.tbl), aarch64 numbers (include/uapi/asm-generic/unistd.h).
DENIED = {
    "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "bpf": (321, 280), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "pidfd_getfd": (438, 438), "perf_event_open": (298, 241),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "fsopen": (430, 430),
    "move_mount": (429, 429), "open_tree": (428, 428), "pivot_root": (155, 41), "chroot": (161, 51),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "personality": (135, 92), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "splice": (275, 76), "tee": (276, 77), "vmsplice": (278, 75),
    "mknodat": (259, 33), "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273),
    "quotactl": (179, 60), "syslog": (103, 116), "socket": (41, 198), "connect": (42, 203), "bind": (49, 200),
    "execveat": (322, 281), "setuid": (105, 146), "fanotify_init": (300, 262), "io_setup": (206, 0),
}  # fmt: skip
X86_ONLY = {"modify_ldt": 154}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_VSOCK": 40}
CLONE, CLONE3 = (56, 220), 435
NEW_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
DEVICES = {
    "fd",
    "full",
    "mqueue",
    "null",
    "ptmx",
    "pts",
    "random",
    "stderr",
    "stdin",
    "stdout",
    "tty",
    "urandom",
    "zero",
}
PROGRAMS = (
    "/bin/sh",
    "/usr/bin/sh",
    "/bin/bash",
    "/bin/busybox",
    "/usr/bin/apt",
    "/usr/bin/dpkg",
    "/sbin/apk",
    "/usr/bin/curl",
    "/usr/bin/wget",
    "/bin/ip",
    "/usr/bin/su",
    "/usr/bin/sudo",
    "/bin/mount",
)
PR_GET_NO_NEW_PRIVS = 39  # linux/prctl.h
LIBC = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"


def status() -> dict[str, str]:
    with open("/proc/self/status") as lines:
        return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def named(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def refused(action: Callable[[], object], *codes: int) -> Seen:
    """[True, the error] where `action` fails with one of `codes`."""
    try:
        action()
    except OSError as error:
        return [error.errno in codes, named(error)]
    return [False, "succeeded"]


def call(number: int, *arguments: int) -> int:
    """errno of a raw system call, 0 where it succeeded."""
    ctypes.set_errno(0)
    done = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in (*arguments, 0, 0, 0, 0, 0, 0)[:6]))
    return ctypes.get_errno() if done == -1 else 0


def write_file(path: str) -> None:
    with open(path, "wb") as target:
        target.write(b"x")


def run_from_tmp() -> None:
    with open(sys.executable, "rb") as source, open("/tmp/python", "wb") as target:  # noqa: S108
        target.write(source.read())
    os.chmod("/tmp/python", 0o755)  # noqa: S103, S108
    try:
        subprocess.run(["/tmp/python", "-c", "pass"], check=False)  # noqa: S108
    finally:
        os.unlink("/tmp/python")  # noqa: S108


def fill_tmp() -> Seen:
    block = bytes(1 << 20)
    written = 0
    try:
        for number in range(1 << 16):
            with open(f"/tmp/fill{number}", "wb", buffering=0) as target:  # noqa: S108
                for _ in range(8):
                    written += target.write(block)
    except OSError as error:
        return [error.errno == errno.ENOSPC, f"{named(error)} after {written} bytes"]
    finally:
        for name in os.listdir("/tmp"):  # noqa: S108
            if name.startswith("fill"):
                os.unlink(f"/tmp/{name}")  # noqa: S108
    return [False, "no end"]


def set_id_files() -> Seen:
    found = []
    for folder, _, names in os.walk("/"):
        if folder.startswith(("/proc", "/sys")):
            continue
        for name in names:
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(os.path.join(folder, name))
    return [not found, found]


def cpu_share(limit: float) -> Seen:
    """Two burners; the CPU time they got over the wall time must stay near the quota."""
    began = time.monotonic()
    for _ in range(2):
        if os.fork() == 0:
            while time.monotonic() - began < 0.6:
                pass
            os._exit(0)
    used = 0.0
    for _ in range(2):
        times = os.wait3(0)[2]
        used += times.ru_utime + times.ru_stime
    share = used / (time.monotonic() - began)
    return [share <= limit * 1.3, round(share, 2)]  # a period's rest may be used at the end


def open_socket(family: int) -> Seen:
    return refused(lambda: socket.socket(family, socket.SOCK_DGRAM).close(), errno.EPERM)


def interfaces() -> list[str]:
    with open("/proc/net/dev") as lines:
        return sorted(line.split(":")[0].strip() for line in lines.readlines()[2:])


def mount_options(path: str) -> set[str]:
    with open("/proc/mounts") as lines:
        found = [line.split() for line in lines]
    return next((set(fields[3].split(",")) for fields in reversed(found) if fields[1] == path), set())


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


Probe = Callable[[dict[str, Any]], Seen]
PROBES: dict[str, Probe] = {}


def probe(look: Probe) -> Probe:
    PROBES[look.__name__] = look
    return look


@probe
def root_read_only(_: dict[str, Any]) -> Seen:
    # Nobody may not write there in any case, so only EROFS or the mount's own flag shows that it is read-only.
    passed, seen = refused(lambda: write_file("/x"), errno.EROFS)
    return [passed or (seen == "EACCES" and "ro" in mount_options("/")), seen]


@probe
def tmp_noexec(_: dict[str, Any]) -> Seen:
    return refused(run_from_tmp, errno.EACCES, errno.EPERM)


@probe
def tmp_bounded(_: dict[str, Any]) -> Seen:
    return fill_tmp()


@probe
def no_capabilities(_: dict[str, Any]) -> Seen:
    facts = status()
    caps = {key: facts[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd")}
    caps |= {key: facts[key] for key in ("CapAmb",) if key in facts}  # gVisor has no ambient set
    held = {key: value for key, value in caps.items() if int(value, 16)}
    return [not held, held or "none"]


@probe
def no_new_privileges(_: dict[str, Any]) -> Seen:
    set_ = LIBC.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
    return [set_ == 1, set_]


@probe
def not_root(_: dict[str, Any]) -> Seen:
    own = os.getresuid() == (65534,) * 3 and set(os.getgroups()) <= {65534}
    return [own, [os.getuid(), os.getgroups()]]


@probe
def only_loopback(_: dict[str, Any]) -> Seen:
    return [set(interfaces()) <= {"lo"}, interfaces()]


@probe
def no_sockets(_: dict[str, Any]) -> Seen:
    opened = {name: open_socket(number) for name, number in FAMILIES.items()}
    wrong = {name: seen for name, (refused_, seen) in opened.items() if not refused_}
    return [not wrong, wrong or f"EPERM for {len(opened)} families"]


@probe
def no_shared_memory(_: dict[str, Any]) -> Seen:
    if not os.path.exists("/dev/shm"):  # noqa: S108
        return [True, "absent"]
    return refused(lambda: write_file("/dev/shm/x"), errno.EACCES, errno.EROFS)  # noqa: S108


@probe
def seccomp(_: dict[str, Any]) -> Seen:
    wrong: dict[str, object] = {}
    for name, numbers in DENIED.items():
        got = call(numbers[ARM])
        if got != errno.EPERM:
            wrong[name] = got
    if not ARM:
        wrong |= {name: got for name, number in X86_ONLY.items() if (got := call(number)) != errno.EPERM}
    wrong |= {
        f"clone({flag:#x})": got for flag in NEW_NAMESPACES if (got := call(CLONE[ARM], flag | 17)) != errno.EPERM
    }
    if (got := call(CLONE3)) != errno.ENOSYS:
        wrong["clone3"] = got
    return [status().get("Seccomp") == "2" and not wrong, wrong or f"{len(DENIED) + 9} calls refused"]


@probe
def ulimits(expected: dict[str, Any]) -> Seen:
    limits = {"nofile": resource.RLIMIT_NOFILE, "fsize": resource.RLIMIT_FSIZE, "core": resource.RLIMIT_CORE}
    got = {name: list(resource.getrlimit(number)) for name, number in limits.items()}
    return [got == expected["ulimits"], got]


@probe
def oom_score(_: dict[str, Any]) -> Seen:
    score = read("/proc/self/oom_score_adj").strip()
    return [score == "1000", score]


@probe
def init_is_first(_: dict[str, Any]) -> Seen:
    first = read("/proc/1/comm").strip()
    return [os.getpid() != 1 and "python" not in first, first]


@probe
def kernel_keys_masked(_: dict[str, Any]) -> Seen:
    if not os.path.exists("/proc/keys"):
        return [True, "absent"]
    return [not read("/proc/keys"), f"{len(read('/proc/keys'))} characters"]


@probe
def kernel_settings_read_only(_: dict[str, Any]) -> Seen:
    return refused(lambda: write_file("/proc/sys/kernel/core_pattern"), errno.EROFS, errno.EACCES)


@probe
def few_devices(_: dict[str, Any]) -> Seen:
    odd = sorted(set(os.listdir("/dev")) - DEVICES)
    return [not odd, odd or "only the usual"]


@probe
def no_docker_socket(_: dict[str, Any]) -> Seen:
    doors = [path for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd") if os.path.exists(path)]
    return [not doors, doors or "absent"]


@probe
def cgroup_private(_: dict[str, Any]) -> Seen:
    if not os.path.exists("/proc/self/cgroup"):
        return [True, "absent"]
    paths = sorted({line.strip().split(":", 2)[2] for line in read("/proc/self/cgroup").splitlines()})
    return [paths in ([], ["/"]), paths]


@probe
def cgroup_read_only(_: dict[str, Any]) -> Seen:
    return refused(lambda: os.mkdir("/sys/fs/cgroup/x"), errno.EROFS, errno.EACCES, errno.ENOENT)


@probe
def environment_empty(_: dict[str, Any]) -> Seen:
    return [not os.environ, sorted(os.environ)]


@probe
def fixed_hostname(_: dict[str, Any]) -> Seen:
    return [os.uname().nodename == "sandbox", os.uname().nodename]


@probe
def no_shell(_: dict[str, Any]) -> Seen:
    there = [path for path in PROGRAMS if os.path.exists(path)]
    return [not there, there or "absent"]


@probe
def no_set_id_files(_: dict[str, Any]) -> Seen:
    return set_id_files()


@probe
def cpu_bounded(expected: dict[str, Any]) -> Seen:
    return cpu_share(expected["cpus"])


@probe
def user_namespace(_: dict[str, Any]) -> Seen:
    mapping = read("/proc/self/uid_map").split()
    return [mapping[:2] != ["0", "0"], " ".join(mapping)]


@probe
def apparmor(_: dict[str, Any]) -> Seen:
    profile = read("/proc/self/attr/current").strip("\0\n")
    return ["unconfined" not in profile and bool(profile), profile]


@probe
def own_kernel(expected: dict[str, Any]) -> Seen:
    release = os.uname().release
    return [bool(expected["host_kernel"]) and release != expected["host_kernel"], release]


def main(expected: dict[str, Any]) -> None:
    seen: dict[str, Seen] = {}
    for name, look in PROBES.items():
        try:
            seen[name] = look(expected)
        except Exception as error:  # a probe that could not look is a probe that did not pass
            seen[name] = [False, f"could not look: {type(error).__name__}: {error}"]
    print(json.dumps(seen))


main(json.load(sys.stdin))
