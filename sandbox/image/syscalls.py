"""The sandbox's seccomp profile: an allowlist, each group with its reason; everything else is EPERM.

`seccomp.json` is generated from this list (`python -m sandbox.image.syscalls`), and a test holds that it is fresh.
It was tried with CPython's own tests; docs/howto/sandbox-check.md says which fail under it, and why. Guarantee: no
call that opens a network or a kernel interface beyond files, memory, threads and time reaches the kernel, whatever
the daemon's own default profile would allow. Format: Docker's seccomp profile (moby `profiles/seccomp`, OCI
runtime-spec `linux.seccomp`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

EPERM, ENOSYS = 1, 38

# CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET} of linux/sched.h; clone() cannot take CLONE_NEWTIME (clone(2))
CLONE_NEW = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000


@dataclass(frozen=True, slots=True)
class Group:
    """System calls allowed for one reason."""

    reason: str
    calls: tuple[str, ...]


def _group(reason: str, calls: str) -> Group:
    return Group(reason, tuple(calls.split()))


ALLOWED: tuple[Group, ...] = (
    _group(
        "files: read, write and list what the mounts permit",
        "access chdir chmod close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 "
        "fallocate fchdir fchmod fchmodat fchmodat2 fcntl fdatasync flock fstat fstatfs fsync ftruncate getcwd "
        "getdents getdents64 link linkat lseek lstat mkdir mkdirat newfstatat open openat openat2 pread64 preadv "
        "preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 "
        "rmdir sendfile stat statfs statx symlink symlinkat sync_file_range truncate umask unlink unlinkat "
        "utime utimensat utimes futimesat write writev",
    ),
    _group(
        "extended attributes, read only: shutil.copy2 lists them and fails on EPERM",
        "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr",
    ),
    _group(
        "memory of the process itself",
        "brk madvise mincore mlock mmap mprotect mremap msync munlock munmap membarrier",
    ),
    _group(
        "threads and child processes, bounded by the pids limit; new namespaces are masked below",
        "execve exit exit_group fork vfork futex futex_waitv get_robust_list set_robust_list set_tid_address "
        "gettid getpid getppid getpgid getpgrp getsid setpgid setsid kill tgkill tkill wait4 waitid rseq "
        "arch_prctl prctl pidfd_open pidfd_send_signal sched_yield sched_getaffinity sched_setaffinity "
        "sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getpriority "
        "restart_syscall",
    ),
    _group(
        "signals",
        "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
        "rt_tgsigqueueinfo sigaltstack pause alarm signalfd signalfd4",
    ),
    _group(
        "waiting and event loops: asyncio needs epoll and a socketpair, which no other process can reach",
        "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old "
        "eventfd eventfd2 poll ppoll select pselect6 pipe pipe2 socketpair recvfrom recvmsg recvmmsg sendto "
        "sendmsg sendmmsg shutdown getsockopt setsockopt getsockname getpeername timerfd_create timerfd_gettime "
        "timerfd_settime ioctl",
    ),
    _group(
        "time: read it and sleep, never set it",
        "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time times getitimer setitimer "
        "timer_create timer_delete timer_getoverrun timer_gettime timer_settime",
    ),
    _group(
        "facts about the process and the machine, random numbers",
        "getuid geteuid getgid getegid getresuid getresgid getgroups getrusage getrlimit setrlimit prlimit64 "
        "getrandom getcpu sysinfo uname capget",
    ),
)

DENIED_ON_PURPOSE: tuple[Group, ...] = (
    _group(
        "network: even `network none` leaves AF_PACKET, NETLINK and VSOCK",
        "socket connect bind listen accept accept4",
    ),
    _group("interfaces with a record of exploits", "io_uring_setup io_uring_enter io_uring_register userfaultfd bpf"),
    _group("kernel keyrings are not namespaced", "add_key keyctl request_key"),
    _group(
        "other processes' memory and descriptors",
        "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd perf_event_open",
    ),
    _group("namespaces", "unshare setns"),
    _group(
        "mounts and roots",
        "mount umount2 fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr pivot_root chroot",
    ),
    _group("files by handle escape the mount tree", "name_to_handle_at open_by_handle_at"),
    _group("executable memory without a file system's noexec", "memfd_create memfd_secret execveat"),
    _group("old execution domains and x86 descriptor tables", "personality modify_ldt uselib vm86 iopl ioperm"),
    _group(
        "System V IPC and message queues",
        "shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink "
        "mq_timedsend mq_timedreceive mq_notify mq_getsetattr",
    ),
    _group("pipe splicing (Dirty Pipe and its kin)", "splice tee vmsplice"),
    _group("device nodes", "mknod mknodat"),
    _group("modules and new kernels", "init_module finit_module delete_module kexec_load kexec_file_load"),
    _group(
        "the host's state",
        "quotactl syslog reboot swapon swapoff sethostname setdomainname acct settimeofday "
        "clock_settime clock_adjtime adjtimex nfsservctl lookup_dcookie",
    ),
    _group(
        "identity: the process is born with its uid and without capabilities",
        "setuid setgid setreuid setregid setgroups setresuid setresgid setfsuid setfsgid capset",
    ),
    _group(
        "ownership and attributes",
        "chown fchown fchownat lchown setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr",
    ),
    _group("NUMA policy and page migration", "mbind set_mempolicy migrate_pages move_pages"),
    _group("asynchronous I/O of the old kind", "io_setup io_submit io_destroy"),
    _group("file system watches see other containers' activity", "fanotify_init fanotify_mark"),
)


def profile() -> dict[str, object]:
    """The profile as Docker reads it."""
    rules: list[dict[str, object]] = [
        {"names": sorted(group.calls), "action": "SCMP_ACT_ALLOW", "comment": group.reason} for group in ALLOWED
    ]
    rules.append(
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
            "comment": "threads and children, but no flag that makes a namespace",
        }
    )
    rules.append(
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": ENOSYS,
            "comment": "its flags are in memory, out of the filter's sight: libc falls back to clone",
        }
    )
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        # Only the native ABI: x32 and i386 calls would bypass the argument masks, so they are not let through.
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": rules,
    }


def rendered() -> str:
    """The text of `seccomp.json`."""
    return json.dumps(profile(), indent=1) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "seccomp.json").write_text(rendered(), encoding="utf-8")
    sys.stdout.write(f"{sum(len(group.calls) for group in ALLOWED) + 1} system calls allowed\n")
