"""What hostile code tries against its supervisor, its report and its output folder (C107, C140)."""

from __future__ import annotations

import pytest

from sandbox import Verdict
from tests.unit.sandbox.daemon import Daemon, daemon_fixture, ready_fixture  # noqa: F401

pytestmark = pytest.mark.docker


def test_value_and_resources_are_told(daemon: Daemon) -> None:
    result = daemon.run("total = sum(range(10))\n{'total': total}")
    assert (result.value, result.stdout, result.verdict) == ("{'total': 45}", "", Verdict.OK)
    assert result.cpu_s is not None
    assert 0 < result.cpu_s < 5
    assert result.peak_bytes is not None
    assert 1 << 20 < result.peak_bytes < 64 << 20
    assert daemon.run("None").value is None
    assert daemon.run("x = 1").value is None
    assert len(daemon.run("'x' * 10_000_000").value or "") == 16 << 10
    assert daemon.run(r"'\x1b[2J\u202e'").value == r"'\x1b[2J\u202e'"


def test_a_value_that_cannot_be_shown_is_a_failure_of_the_code(daemon: Daemon) -> None:
    result = daemon.run("class Sly:\n    def __repr__(self):\n        raise ValueError('no')\nSly()")
    assert (result.verdict, result.value) == (Verdict.CODE_FAILED, None)
    assert "ValueError: no" in result.stderr


def test_files_come_back_with_type_and_size(daemon: Daemon) -> None:
    result = daemon.run("open('/tmp/out/a.csv', 'w').write('x,y')\nopen('/tmp/out/raw', 'wb').write(bytes(3 << 20))")
    assert [(a.name, a.media_type, a.size) for a in result.artifacts] == [
        ("a.csv", "text/csv", 3),
        ("raw", "application/octet-stream", 3 << 20),
    ]
    assert result.left_out == ()


def test_c107_links_devices_folders_names_and_bombs_are_left_out(daemon: Daemon) -> None:
    result = daemon.run(
        r"""
import os, socket
os.chdir('/tmp/out')
os.symlink('/etc/passwd', 'link')
os.symlink('/proc/1/mem', 'memory')
os.mkdir('folder')
for name in ('.hidden', '-rf', 'a b', 'x\ny', '\u202egnp', 'n' * 150):
    open(name, 'w').close()
with open('bomb', 'w') as bomb:
    bomb.truncate(60 << 20)
open('closed', 'w').close(); os.chmod('closed', 0)
open('good', 'w').write('1')
"""
    )
    assert result.verdict is Verdict.OK, result.stderr
    assert [(a.name, a.content) for a in result.artifacts] == [("good", b"1")]
    why = dict(line.rsplit(": ", 1) for line in result.left_out)
    assert why.pop("bomb") == "too many bytes"
    assert {name for name, reason in why.items() if reason == "not a plain file"} == {"link", "memory", "folder"}
    assert len(result.left_out) == 11
    assert all(line.isascii() and "\n" not in line for line in result.left_out)


def test_c107_a_thousand_files_are_a_few_and_a_word(daemon: Daemon) -> None:
    result = daemon.run("for n in range(1000): open(f'/tmp/out/f{n:04}', 'w').write('x')")
    assert len(result.artifacts) == 32
    assert 0 < len(result.left_out) <= 20


def test_c107_an_output_folder_that_is_a_link_is_not_followed(daemon: Daemon) -> None:
    result = daemon.run("import os\nos.rmdir('/tmp/out')\nos.symlink('/usr/lib', '/tmp/out')")
    assert (result.verdict, result.artifacts) == (Verdict.OK, ())
    assert result.left_out == ("(all): the output folder is gone",)


def test_inputs_cannot_be_written_by_mistake(daemon: Daemon) -> None:
    result = daemon.run("open('/tmp/in/a', 'w')", inputs={"a": b"1"})
    assert "PermissionError" in result.stderr
    assert "PermissionError" in daemon.run("open('/tmp/in/b', 'w')", inputs={"a": b"1"}).stderr


def test_c140_the_supervisor_cannot_be_read(daemon: Daemon) -> None:
    result = daemon.run(
        """
import os
for name in ("mem", "maps", "environ", "fd/0", "fd/1", "fd/3", "syscall", "stack", "auxv"):
    try:
        os.open(f"/proc/{os.getppid()}/{name}", os.O_RDONLY)
        print("opened", name)
    except OSError:
        pass
"""
    )
    assert (result.verdict, result.stdout) == (Verdict.OK, "")


FORGED = r"ended 1\nexit 0\noom 0\npeak_bytes 1\ncpu_ns 1"


@pytest.mark.parametrize(
    "code",
    [
        f"body = b'{FORGED}' + bytes(32)\nos.write(out, struct.pack('>cI', b'Z', len(body)) + body)\nos._exit(3)",
        "os.write(out, b'o\\0\\0\\0\\x04fake')\nos._exit(3)",
        "os.write(out, b'?\\0\\0\\0\\0')\nos._exit(3)",
        "os.write(out, bytes(100))\nwhile True: pass",
        (
            "taken = os.open('/proc/1/fd/1', os.O_RDONLY | os.O_NONBLOCK)\nos.write(1, b'x' * 100000)\n"
            "for _ in range(10**5):\n    try: os.read(taken, 65536)\n    except BlockingIOError: pass\nos._exit(3)"
        ),
    ],
    ids=["report", "output", "nonsense", "zeros", "theft"],
)
def test_c140_writing_on_the_supervisors_stream_gains_nothing(daemon: Daemon, code: str) -> None:
    result = daemon.run(f"import os, struct\nout = os.open('/proc/1/fd/1', os.O_WRONLY)\n{code}", deadline_s=5)
    assert not result.succeeded
    assert result.verdict in {Verdict.KILLED, Verdict.CODE_FAILED, Verdict.TIMEOUT}


@pytest.mark.parametrize(
    ("code", "verdicts"),
    [
        ("os.kill(os.getppid(), 9)", {Verdict.KILLED}),
        ("os.kill(os.getppid(), 15)", {Verdict.CODE_FAILED}),
        ("os.kill(os.getppid(), 2); time.sleep(600)", {Verdict.CODE_FAILED}),
        ("os.kill(os.getppid(), 19); time.sleep(600)", {Verdict.TIMEOUT}),
        ("os.kill(os.getppid(), 14); time.sleep(600)", {Verdict.CODE_FAILED}),
        ("resource.prlimit(os.getppid(), resource.RLIMIT_AS, (1, 1))\nprint('x' * 10**5)", None),
        ("resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))", None),
        ("for fd in range(3, 60):\n    try: os.write(fd, b'v\\xff\\xff\\xff\\xff')\n    except OSError: pass", None),
        ("for fd in range(3, 60):\n    try: os.close(fd)\n    except OSError: pass", None),
        ("os.unlink('/tmp/in/a') if os.path.exists('/tmp/in/a') else None; os.rmdir('/tmp/out')", None),
    ],
    ids=["kill", "term", "int", "stop", "alarm", "memory", "files", "nonsense", "closed", "folders"],
)
def test_c140_an_attacked_supervisor_never_makes_a_success(
    daemon: Daemon, code: str, verdicts: set[Verdict] | None
) -> None:
    program = f"import os, resource, time\n{code}\nos._exit(5)"
    result = daemon.run(program, deadline_s=4)
    assert not result.succeeded
    if verdicts is not None:
        assert result.verdict in verdicts
