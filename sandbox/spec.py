"""What a container may be, as frozen values; the raw Docker request is derived from nothing else.

Guarantee: every row of the container table is in the request (read-only root, no capability, no new
privilege, no network, own seccomp profile, bounded memory, processes, files and CPU), and none of them can
be relaxed by a profile: a profile chooses amounts within the ceilings below, and one of two runtimes by name,
which is compared like every other field and never replaced by the other (C104). Docker Engine API 1.41.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib import resources
from typing import Final

from sandbox.failure import ProfileError

MIB: Final = 1 << 20
NOBODY: Final = "65534:65534"
HOSTNAME: Final = "sandbox"
CPU_PERIOD_US: Final = 100_000  # the kernel's default (Documentation/scheduler/sched-bwc)
_IMAGE_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
TMP_INODES: Final = 4096  # a tmpfs of empty files would otherwise fill kernel memory first
RUNTIMES: Final = ("runc", "runsc")  # runsc is gVisor: a kernel of its own, in user space
RUNSC_THREADS: Final = 192  # gVisor's own threads count against the host's bound; with fewer it dies at the start
MAX_PRELOAD: Final = 32
_MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,7}")

# Amounts a profile may ask for: (lowest, highest). Beyond them a mistake is likelier than a need.
_CEILINGS: Final[dict[str, tuple[float, float]]] = {
    "deadline_s": (0.1, 600),
    "memory_mib": (32, 8192),
    "cpus": (0.1, 16),
    "processes": (4, 512),
    "open_files": (32, 4096),
    "tmp_mib": (1, 2048),
    "input_mib": (1, 1024),
    "output_kib": (1, 16384),
}


@cache
def seccomp_text(runtime: str = "runc") -> str:
    """The shipped seccomp profile, compact: the daemon takes its text, not a path.

    gVisor answers every refusal with EPERM, and libc falls back from clone3 on ENOSYS only, so that no thread would
    start. It has no clone3 and says ENOSYS by itself, therefore the rule is let through there; the self-check looks.
    """
    shipped = json.loads(resources.files("sandbox.image").joinpath("seccomp.json").read_text(encoding="utf-8"))
    if runtime == "runsc":
        shipped["syscalls"] = [
            {"names": ["clone3"], "action": "SCMP_ACT_ALLOW"} if rule["names"] == ["clone3"] else rule
            for rule in shipped["syscalls"]
        ]
    return json.dumps(shipped, separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxProfile:
    """One file of `policies/sandbox/`: amounts, and the name of an image pinned elsewhere.

    `runtime` is the OCI runtime's name in the daemon; `preload` names modules that are imported before any code
    arrives, so that a waiting container has done that work already.
    """

    name: str
    image: str
    deadline_s: float
    memory_mib: int
    cpus: float
    processes: int
    open_files: int
    tmp_mib: int
    input_mib: int
    output_kib: int
    runtime: str = "runc"
    preload: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, document: Mapping[str, object]) -> SandboxProfile:
        """A profile from a parsed document; every amount given, no field unknown. Raises `ProfileError`."""
        wanted = {field.name for field in fields(cls)}
        for key in document:
            if key not in wanted:
                raise ProfileError(str(key), f"unknown; known are {', '.join(sorted(wanted))}")
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        for key in sorted(needed - set(document)):
            raise ProfileError(key, "missing")
        values = dict(document)
        for key in ("name", "image"):
            if not isinstance(values[key], str) or not values[key]:
                raise ProfileError(key, "must be a non-empty text")
        for key, (lowest, highest) in _CEILINGS.items():
            values[key] = _amount(key, values[key], lowest, highest)
        if values.setdefault("runtime", "runc") not in RUNTIMES:
            raise ProfileError("runtime", f"must be one of {', '.join(RUNTIMES)}")
        values["preload"] = _modules(values.get("preload", ()))
        if values["tmp_mib"] >= values["memory_mib"]:  # type: ignore[operator]  # both checked above
            raise ProfileError("tmp_mib", "must be below memory_mib: a tmpfs counts as memory")
        if values["input_mib"] > values["tmp_mib"]:  # type: ignore[operator]  # both checked above
            raise ProfileError("input_mib", "must fit into tmp_mib: inputs are written to /tmp/in")
        return cls(**values)  # type: ignore[arg-type]  # keys and types checked above

    @classmethod
    def json_schema(cls) -> dict[str, object]:
        """What an editor can check of a profile (JSON Schema 2020-12); `from_mapping` checks the rest."""
        properties: dict[str, object] = {
            key: {"type": "integer" if _is_whole(key) else "number", "minimum": lowest, "maximum": highest}
            for key, (lowest, highest) in _CEILINGS.items()
        }
        properties |= {key: {"type": "string", "minLength": 1} for key in ("name", "image")}
        module = {"type": "string", "pattern": f"^{_MODULE.pattern}$"}
        properties["runtime"] = {"enum": list(RUNTIMES), "default": RUNTIMES[0]}
        properties["preload"] = {"type": "array", "items": module, "maxItems": MAX_PRELOAD, "default": []}
        required = [field.name for field in fields(cls) if field.default is MISSING]
        return {"title": cls.__name__, "type": "object", "properties": properties, "required": required} | {
            "additionalProperties": False
        }

    def pinned_to(self, image_id: str) -> SandboxSpec:
        """The specification of a run with exactly this image (`sha256:<64 hex>`)."""
        return SandboxSpec(profile=self, image_id=image_id, seccomp=seccomp_text(self.runtime))


def _modules(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_PRELOAD:
        raise ProfileError("preload", f"must be a list of at most {MAX_PRELOAD} module names")
    for name in value:
        if not isinstance(name, str) or _MODULE.fullmatch(name) is None:
            raise ProfileError("preload", f"{name!r} is no module name")
    return tuple(value)


def _is_whole(key: str) -> bool:
    return key not in {"deadline_s", "cpus"}


def _amount(key: str, value: object, lowest: float, highest: float) -> float:
    whole = _is_whole(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProfileError(key, "must be a number")
    if (whole and not isinstance(value, int)) or not math.isfinite(value):
        raise ProfileError(key, "must be a whole number" if whole else "must be finite")
    if not lowest <= value <= highest:
        raise ProfileError(key, f"must be within {lowest:g} and {highest:g}")
    return value


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A profile, the image it is pinned to, and the system calls it may make."""

    profile: SandboxProfile
    image_id: str
    seccomp: str

    def __post_init__(self) -> None:
        if _IMAGE_ID.fullmatch(self.image_id) is None:
            raise ProfileError("image", f"{self.image_id!r} is no image id (sha256:<64 hex>): a tag can move")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the whole request: what a grant for this sandbox is bound to."""
        request = json.dumps([self.container_config(), self.profile.deadline_s, self.profile.preload], sort_keys=True)
        return hashlib.sha256(request.encode()).hexdigest()

    @property
    def output_cap(self) -> int:
        """Bytes of stdout and stderr together."""
        return self.profile.output_kib * 1024

    @property
    def input_cap(self) -> int:
        """Bytes of all input files together."""
        return self.profile.input_mib * MIB

    def host_config(self) -> dict[str, object]:
        """Docker's `HostConfig`. The catalogue's container table gives the reason for each row."""
        amounts = self.profile
        memory = amounts.memory_mib * MIB
        tmp_bytes = amounts.tmp_mib * MIB
        return {
            "Runtime": amounts.runtime,
            "ReadonlyRootfs": True,
            "Tmpfs": {
                "/tmp": f"rw,noexec,nosuid,nodev,size={tmp_bytes},mode=1777,nr_inodes={TMP_INODES}"  # noqa: S108
            },
            "Privileged": False,
            "CapAdd": None,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={self.seccomp}"],
            "NetworkMode": "none",
            "IpcMode": "none",
            "PidMode": "",
            "UTSMode": "",
            "UsernsMode": "",
            "CgroupnsMode": "private",
            "PidsLimit": amounts.processes + (RUNSC_THREADS if amounts.runtime == "runsc" else 0),
            "Memory": memory,
            "MemorySwap": memory,
            "CpuPeriod": CPU_PERIOD_US,
            "CpuQuota": round(amounts.cpus * CPU_PERIOD_US),
            "Ulimits": [
                {"Name": "nofile", "Soft": amounts.open_files, "Hard": amounts.open_files},
                {"Name": "fsize", "Soft": tmp_bytes, "Hard": tmp_bytes},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "LogConfig": {"Type": "none", "Config": {}},
            "OomScoreAdj": 1000,
            "OomKillDisable": False,
            "Init": True,
            "AutoRemove": False,
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "Binds": None,
            "Mounts": None,
            "VolumesFrom": None,
            "Devices": [],
            "DeviceRequests": None,
            "DeviceCgroupRules": None,
            "GroupAdd": None,
            "Sysctls": None,
            "Links": None,
            "ExtraHosts": None,
            "PortBindings": {},
            "PublishAllPorts": False,
        }

    def container_config(self) -> dict[str, object]:
        """The body of `POST /containers/create`, but for the labels."""
        return {
            "Image": self.image_id,
            "User": NOBODY,
            "Hostname": HOSTNAME,
            "Domainname": "",
            "Env": [],
            "WorkingDir": "/tmp",  # noqa: S108  (the container's own tmpfs)
            "Tty": False,
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "NetworkDisabled": True,
            "HostConfig": self.host_config(),
        }
