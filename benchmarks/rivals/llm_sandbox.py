"""llm-sandbox (PyPI) on the same daemon and program. Reads `cold` or `again` from stdin, answers with milliseconds.

It needs a `python` on the path, a folder to copy code into and a command that stays: a layer on our image gives it
those. It gets our limits as far as it can live with them; see `benchmarks/sandbox/__main__.py` for what it cannot.
"""

from __future__ import annotations

import io
import sys
import tarfile
import time
from typing import Any

import docker
from llm_sandbox import SandboxSession

CODE = "print(sum(range(1000)))"
SAID = "499500\n"
TAG = "toolgate-bench-llm-sandbox"


def image(client: docker.DockerClient, base: str) -> None:
    """Our image with a `python` and a folder, made without a registry and without a shell."""
    extra = io.BytesIO()
    with tarfile.open(fileobj=extra, mode="w") as tar:
        link = tarfile.TarInfo("usr/bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, "python3.11"
        tar.addfile(link)
        folder = tarfile.TarInfo("sandbox")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o777
        tar.addfile(folder)
    stay = '["/usr/bin/python3.11", "-c", "import time; time.sleep(1e9)"]'
    recipe = f"FROM {base}\nADD extra.tar /\nUSER root\nWORKDIR /sandbox\nENTRYPOINT {stay}\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, data in (("Dockerfile", recipe), ("extra.tar", extra.getvalue())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=TAG, rm=True)


def session(client: docker.DockerClient) -> Any:
    """One of its sessions, under our limits."""
    limits = {
        "user": "0:0",  # it looks the name up otherwise, and the image has no passwd file
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "network_mode": "none",
        "ipc_mode": "none",
        "cgroupns": "private",
        "init": True,
        "mem_limit": "256m",
        "memswap_limit": "256m",
        "nano_cpus": 10**9,
        "pids_limit": 64,
        "tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=64m"},
        "log_config": {"type": "none"},
        "oom_score_adj": 1000,
        "stop_signal": "SIGKILL",
    }
    return SandboxSession(client=client, image=TAG, lang="python", runtime_configs=limits, skip_environment_setup=True)


def run(opened: Any) -> None:
    answer = opened.run(CODE)
    if answer.stdout != SAID:
        raise AssertionError(f"not the work asked for: {answer}")


def main() -> None:
    """Answer until stdin ends."""
    client = docker.from_env()
    image(client, sys.argv[1])
    kept = session(client)
    kept.open()
    try:
        for line in sys.stdin:
            began = time.perf_counter()
            if line.strip() == "again":
                run(kept)
            else:
                with session(client) as opened:
                    run(opened)
            print((time.perf_counter() - began) * 1000, flush=True)
    finally:
        kept.close()
        client.images.remove(TAG, force=True)


if __name__ == "__main__":
    main()
