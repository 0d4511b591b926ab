"""Where the time of a container goes, and what would be won by leaving a part of it out. Variants take turns.

The least of all turns is given: what else the machine does only adds to it. No variant is one that Toolgate would run;
each says what the part it lacks costs on this machine.
"""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from benchmarks.speed.table import Row
from sandbox import DockerEngine, SandboxSpec
from sandbox import frame as framing
from sandbox.docker import LABEL_KIND, LABEL_LEASE, LABEL_OWNER, NAME_PREFIX, Container
from sandbox.inspection import differences
from sandbox.run import perform

CODE = b"print(sum(range(1000)))"
LEASE_S = 120
STEPS = ("create", "compare", "attach", "start", "ready", "run", "remove")
Config = dict[str, Any]


def _host(**changes: object) -> Callable[[Config], None]:
    return lambda config: config["HostConfig"].update(changes)


VARIANTS: dict[str, Callable[[Config], None]] = {
    "as it is": _host(),
    "without init": _host(Init=False),
    "without seccomp": _host(SecurityOpt=["no-new-privileges", "seccomp=unconfined"]),
    "the host's IPC and cgroup namespaces": _host(IpcMode="host", CgroupnsMode="host"),
    "the host's network": lambda config: config.update(
        NetworkDisabled=False, Hostname="", HostConfig={**config["HostConfig"], "NetworkMode": "host"}
    ),
    "without bounds": _host(Memory=0, MemorySwap=0, PidsLimit=0, CpuPeriod=0, CpuQuota=0, Ulimits=[]),
}


def measure_steps(engine: DockerEngine, spec: SandboxSpec, rounds: int) -> dict[str, list[Row]]:
    """Sections of the table: each step as it is, then each variant's whole and what it saves, in ms."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for turn in range(rounds + 1):
        for name, change in VARIANTS.items():
            times = _one(engine, spec, change)
            if turn:  # the first turn warms the page cache
                taken[name].append(times)
    plain = taken["as it is"]
    steps = [Row(step, min(one[step] for one in plain), "ms") for step in STEPS]
    lacking = [
        Row(name, _least(times), "ms", note=f"{_least(plain) - _least(times):+.1f} ms saved")
        for name, times in taken.items()
        if times is not plain
    ]
    return {
        "One container, step by step": [*steps, Row("whole", _least(plain), "ms")],
        "Whole, if it lacked a part": lacking,
    }


def _least(times: list[dict[str, float]]) -> float:
    return min(sum(one.values()) for one in times)


def _one(engine: DockerEngine, spec: SandboxSpec, change: Callable[[Config], None]) -> dict[str, float]:
    import docker

    config = copy.deepcopy(spec.container_config())
    change(config)
    lease = str(int(time.time() + LEASE_S))
    config["Labels"] = {LABEL_KIND: "python", LABEL_OWNER: engine.owner, LABEL_LEASE: lease}
    times: dict[str, float] = {}
    began = time.perf_counter()

    def step(name: str) -> None:
        nonlocal began
        now = time.perf_counter()
        times[name], began = (now - began) * 1000, now

    client = docker.APIClient(engine.host, timeout=60)
    with closing(client):
        client.ping()
        began = time.perf_counter()
        made = client.create_container_from_config(config, NAME_PREFIX + secrets.token_hex(8))  # type: ignore[no-untyped-call]
        step("create")
        differences(spec, client.inspect_container(made["Id"]))
        step("compare")
        hijacked = client.attach_socket(made["Id"], {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        container = Container(engine, client, spec, made["Id"], hijacked)
        container.greet()
        step("attach")
        client.start(made["Id"])
        step("start")
        container.wait_until_ready()
        step("ready")
        request = framing.encoded(spec, framing.Request(CODE), 10)
        result = perform(container, request, deadline_s=10)
        step("run")
        fault = container.dispose()
        step("remove")
    if not result.succeeded or fault:
        raise AssertionError(f"not the work asked for: {result} {fault}")
    return times
