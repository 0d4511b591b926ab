"""What hostile programs do to a sandbox, each with the end it must come to (C092-C098, C107-C110, C140).

Each probe runs its program in containers of its own and looks at the verdict and at the time it took, never at what
the program claims, except where the claim is what is tested. All stay within a few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from sandbox.result import SandboxResult, Verdict
from sandbox.spec import SandboxSpec

SHORT_S: Final = 2.0  # for programs that never end
# How a program ends that met a bound; gVisor's kernel dies at the host's, and Docker does not always see of what.
_CONTAINED: Final = (Verdict.CODE_FAILED, Verdict.OOM, Verdict.KILLED)
SOON_S: Final = 20.0  # by when a program that ends must have ended


class Backend(Protocol):
    """What the suite needs of a sandbox: run code once, contained, as `DockerEngine.run` does."""

    def run(
        self,
        spec: SandboxSpec,
        code: bytes,
        *,
        inputs: Mapping[str, bytes] | None = None,
        stdin: bytes = b"",
        deadline_s: float | None = None,
    ) -> SandboxResult: ...


Seen = tuple[bool, str]
Look = Callable[[Backend, SandboxSpec], Seen]
PROBES: Final[dict[str, Look]] = {}


def probe(look: Look) -> Look:
    PROBES[look.__name__.removeprefix("_")] = look
    return look


def ended(result: SandboxResult) -> str:
    """The end of a run, for people."""
    return f"{result.verdict} (exit code {result.exit_code})"


def _stopped(result: SandboxResult, *wanted: Verdict) -> Seen:
    """Ended so, and removed without a complaint."""
    return result.verdict in wanted and not result.detail.startswith("container "), ended(result)


@probe
def _processes_bounded(backend: Backend, spec: SandboxSpec) -> Seen:  # C092
    limit = spec.profile.processes
    code = f"""
import errno, os, time
print("began", flush=True)
children = 0
try:
    for _ in range({limit} + 1):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        children += 1
except OSError as error:
    print("refused", errno.errorcode[error.errno], children, flush=True)
else:
    print("unbounded", children, flush=True)
os._exit(0)
"""
    result = backend.run(spec, code.encode(), deadline_s=SOON_S)
    said = result.stdout.split()
    if said[:3] == ["began", "refused", "EAGAIN"]:
        return int(said[3]) < limit, f"EAGAIN after {said[3]} children"
    if spec.profile.runtime == "runsc" and said == ["began"] and result.verdict in _CONTAINED:
        return True, f"a bound of the host's ended gVisor's kernel, and the container with it: {ended(result)}"
    return False, f"{ended(result)}: {' '.join(said)}"


@probe
def _fork_bomb(backend: Backend, spec: SandboxSpec) -> Seen:  # C092
    code = b"import os, signal\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        signal.pause()\n"
    return _stopped(backend.run(spec, code, deadline_s=SHORT_S), Verdict.TIMEOUT, *_CONTAINED)


@probe
def _output_capped(backend: Backend, spec: SandboxSpec) -> Seen:  # C094
    result = backend.run(spec, b"import os\nwhile True: os.write(1, b'x' * 65536)", deadline_s=SOON_S)
    kept = len(result.stdout)
    return result.verdict is Verdict.OUTPUT_CAPPED and kept <= spec.output_cap, f"{ended(result)}, {kept} bytes kept"


@probe
def _sigterm_ignored(backend: Backend, spec: SandboxSpec) -> Seen:  # C095
    code = b"""
import contextlib, signal
for number in range(1, 65):
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_IGN)
while True: pass
"""
    return _stopped(backend.run(spec, code, deadline_s=SHORT_S), Verdict.TIMEOUT)


@probe
def _stdout_closed(backend: Backend, spec: SandboxSpec) -> Seen:  # C096
    code = b"import os, time\nfor n in (0, 1, 2): os.close(n)\ntime.sleep(600)"
    return _stopped(backend.run(spec, code, deadline_s=SHORT_S), Verdict.TIMEOUT)


@probe
def _daemonised_child(backend: Backend, spec: SandboxSpec) -> Seen:  # C097
    code = b"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("left a child behind")
"""
    result = backend.run(spec, code, deadline_s=SOON_S)
    return _stopped(result, Verdict.OK)[0] and result.duration_s < SOON_S, ended(result)


@probe
def _unread_input(backend: Backend, spec: SandboxSpec) -> Seen:  # C098
    size = min(1 << 23, spec.input_cap // 2)
    return _stopped(backend.run(spec, b"import os; os._exit(0)", stdin=b"x" * size, deadline_s=SOON_S), Verdict.OK)


@probe
def _outputs_validated(backend: Backend, spec: SandboxSpec) -> Seen:  # C107
    code = b"""
import contextlib, os
os.symlink("/etc/passwd", "/tmp/out/link")
os.link("/tmp/out/link", "/tmp/out/hard")
with contextlib.suppress(OSError):
    os.mkfifo("/tmp/out/pipe")
os.mkdir("/tmp/out/folder")
open("/tmp/out/plain.txt", "w").write("plain")
"""
    result = backend.run(spec, code, deadline_s=SOON_S)
    names = [artifact.name for artifact in result.artifacts]
    return names == ["plain.txt"] and result.artifacts[0].content == b"plain", f"taken: {names!a}"


@probe
def _output_escaped(backend: Backend, spec: SandboxSpec) -> Seen:  # C108
    code = rb"import sys; sys.stdout.buffer.write(b'\xff\x1b[2J\xe2\x80\xae ok\n')"
    said = backend.run(spec, code, deadline_s=SOON_S).stdout
    passed = said == "\\xff\\x1b[2J\\u202e ok\n"
    return passed, "shown as escapes" if passed else ascii(said)


@probe
def _long_code(backend: Backend, spec: SandboxSpec) -> Seen:  # C109
    size = 300 * 1024  # above MAX_ARG_STRLEN, 128 KiB (execve(2))
    result = backend.run(spec, f"text = '{'x' * size}'\nprint(len(text))".encode(), deadline_s=SOON_S)
    return result.stdout == f"{size}\n", ended(result)


@probe
def _nothing_shared(backend: Backend, spec: SandboxSpec) -> Seen:  # C110
    code = b"import os\nprint(os.path.exists('/tmp/left'))\nopen('/tmp/left', 'w').write('x')"
    said = [backend.run(spec, code, deadline_s=SOON_S).stdout for _ in range(2)]
    return said == ["False\n"] * 2, "nothing found" if said == ["False\n"] * 2 else ascii(said)


@probe
def _forged_envelope(backend: Backend, spec: SandboxSpec) -> Seen:  # C140
    code = rb"""
import os
os.write(1, b'{"verdict": "ok", "exit_code": 0}\n')
os.write(1, bytes([1, 0, 0, 0, 0, 0, 0, 4]) + b"fake" + bytes([2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]))
os._exit(3)
"""
    result = backend.run(spec, code, deadline_s=SOON_S)
    return (result.verdict, result.exit_code) == (Verdict.CODE_FAILED, 3), ended(result)
