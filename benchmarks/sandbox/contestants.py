"""Others that run the same program: `docker run` with our flags, and llm-sandbox in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from sandbox import SandboxSpec
from sandbox.spec import HOSTNAME, NOBODY

ROOT = Path(__file__).resolve().parents[2]
SAID = b"499500\n"


class DockerRun:
    """`docker run --rm -i` with every row of our request that the command line can say."""

    def __init__(self, host: str, spec: SandboxSpec) -> None:
        self._spec = spec
        self._environment = {**os.environ, "DOCKER_HOST": host}
        self._folder = tempfile.TemporaryDirectory(prefix="toolgate-bench-")

    def __enter__(self) -> Self:
        seccomp = Path(self._folder.name) / "seccomp.json"
        seccomp.write_text(self._spec.seccomp)
        asked = self._spec.profile
        client = shutil.which("docker")
        if client is None:
            raise FileNotFoundError("the docker command is needed for the comparison (Debian: docker.io)")
        self._command = [
            *(client, "run", "--rm", "-i", "--read-only", "--tmpfs"),
            f"/tmp:rw,noexec,nosuid,nodev,size={asked.tmp_mib}m,mode=1777,nr_inodes=4096",
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--security-opt", f"seccomp={seccomp}"),
            *("--network", "none", "--ipc", "none", "--cgroupns", "private", "--init", "--oom-score-adj", "1000"),
            *("--memory", f"{asked.memory_mib}m", "--memory-swap", f"{asked.memory_mib}m", "--cpus", str(asked.cpus)),
            *("--pids-limit", str(asked.processes), "--ulimit", f"nofile={asked.open_files}:{asked.open_files}"),
            *("--ulimit", f"fsize={asked.tmp_mib << 20}", "--ulimit", "core=0:0"),
            *("--log-driver", "none", "--user", NOBODY, "--hostname", HOSTNAME),
            *("--entrypoint", "/usr/bin/python3.11", self._spec.image_id, "-I", "-B", "-X", "utf8", "-"),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def run(self, code: bytes) -> None:
        """One run; the program goes by stdin, as ours does."""
        done = subprocess.run(self._command, input=code, env=self._environment, capture_output=True, check=False)
        if done.stdout != SAID:
            raise AssertionError(f"docker run: {done.stderr.decode(errors='replace')[-300:]}")


class Rival:
    """llm-sandbox in a process of its own, asked for one thing at a time so that it can take turns."""

    def __init__(self, image_id: str) -> None:
        made = subprocess.run(
            [ROOT / "scripts/own-env.sh", "rivals-sandbox"], capture_output=True, text=True, check=True
        )
        command = [made.stdout.strip(), "-m", "benchmarks.rivals.llm_sandbox", image_id]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _ask(self, word: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(word, file=self._process.stdin)
        answer = self._process.stdout.readline()
        if not answer:
            raise AssertionError("llm-sandbox ended; see its message above")
        return float(answer)

    def cold(self) -> float:
        """Open, run, close: milliseconds."""
        return self._ask("cold")

    def again(self) -> float:
        """Another run in a session that is open already: milliseconds."""
        return self._ask("again")
