"""What a Docker daemon says of itself and its machine, and whether that is enough (C106).

Facts, not proof: they name a weak daemon before anything runs, and tell one platform from another, so that a check
made on one is not believed on another. The proof is what the probes of `sandbox/self_check.py` meet inside.
Docker Engine API 1.41, `GET /info` and `GET /version`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.failure import SandboxUnavailable

REQUEST_TIMEOUT_S: Final = 30.0
OLDEST_ENGINE: Final = (20, 10)  # Engine API 1.41: cgroup namespaces
OLDEST_RUNC: Final = (1, 1, 5)  # the reference configuration's; Debian's carries the mend of CVE-2024-21626
# Releases that mend how paths are masked (CVE-2025-31133, -52565, -52881); a distribution may have taken it back.
MENDED_RUNC: Final = ((1, 2, 8), (1, 3, 3), (1, 4))
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """One daemon on one machine since one boot. `runtimes` maps each name to its program and arguments."""

    daemon_id: str
    boot_id: str
    engine: str
    runc: str
    kernel: str
    cgroup_version: str
    limits: Mapping[str, bool]
    security: tuple[str, ...]
    runtimes: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 (hex): another value means that what was checked is not what is there."""
        parts = [getattr(self, name) for name in self.__slots__]
        text = json.dumps([dict(part) if isinstance(part, Mapping) else part for part in parts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class _Local(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=REQUEST_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def host_facts(host: str) -> HostFacts:
    """Ask the daemon at a `unix://` address. Raises `SandboxUnavailable`."""
    info, version = _asked(host, "/info"), _asked(host, "/version")
    parts = version.get("Components")
    named = {
        str(part.get("Name")): str(part.get("Version"))
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, Mapping)
    }
    runtimes = info.get("Runtimes")
    security = info.get("SecurityOptions")
    limits = ("MemoryLimit", "SwapLimit", "PidsLimit", "CpuCfsQuota")
    return HostFacts(
        daemon_id=str(info.get("ID", "")),
        boot_id=_BOOT_ID.read_text().strip(),
        engine=str(info.get("ServerVersion", "")),
        runc=named.get("runc", ""),
        kernel=str(info.get("KernelVersion", "")),
        cgroup_version=str(info.get("CgroupVersion", "")),
        limits={name: info.get(name) is True for name in limits},
        security=tuple(sorted(map(str, security if isinstance(security, list) else []))),
        runtimes={
            str(name): json.dumps(found, sort_keys=True)
            for name, found in sorted((runtimes if isinstance(runtimes, Mapping) else {}).items())
        },
    )


def _asked(host: str, path: str) -> Mapping[str, object]:
    connection = _Local(host.removeprefix("unix://"))
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise SandboxUnavailable(f"Docker at {host} answered {response.status} to {path}")
        found = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SandboxUnavailable(f"Docker at {host} does not answer {path}: {error}") from error
    finally:
        connection.close()
    if not isinstance(found, Mapping):
        raise SandboxUnavailable(f"Docker at {host} answered no object to {path}")
    return found


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that `version` begins with; none where it begins with none."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()


def masking_mended(runc: str) -> bool:
    """True where upstream's number says that the mend is in: the same minor release, or any later one."""
    found = numbers(runc)
    return found >= MENDED_RUNC[-1] or any(found[:2] == mend[:2] and found >= mend for mend in MENDED_RUNC)
