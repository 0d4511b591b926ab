"""CPython's own offline tests, run inside the sandbox: what fails there is known by name, with the reason.

They come from Debian's libpythonX.Y-testsuite, unpacked for the purpose; without apt these tests skip.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from dataclasses import replace

import pytest

from sandbox import ImageBuildError, Verdict
from sandbox.image import packages
from tests.unit.sandbox.daemon import PROFILE, Daemon, daemon_fixture, ready_fixture  # noqa: F401

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

ROOMY = replace(
    PROFILE, deadline_s=120, memory_mib=1024, tmp_mib=256, input_mib=64, output_kib=1024, processes=256, cpus=2
)
EVERY_TIME = "json struct decimal thread asyncio.test_locks pathlib shutil os"
AT_LENGTH = """
random math statistics datetime csv re zlib bz2 lzma gzip zipfile tarfile hashlib tempfile glob fileio mmap time
threading threading_local queue sched select selectors poll epoll contextlib_async functools itertools collections
dataclasses enum asyncio.test_tasks asyncio.test_queues asyncio.test_futures asyncio.test_runners
asyncio.test_taskgroups asyncio.test_timeouts asyncio.test_subprocess
"""
# Why a test must fail, and which do: module, then names.
EXPECTED = {
    "no socket can be opened": {
        "pathlib": "test_is_socket_true",
        "os": "test_invalid_offset test_keywords test_offset_overflow test_send_at_certain_offset test_send_whole_file",
        "epoll": """test_add test_badcreate test_close test_context_manager test_control_and_wait test_create
            test_errors test_fd_non_inheritable test_fromfd test_unregister_closed""",
    },
    "the image has no shell and no other program": {
        "poll": "test_poll2",
        "asyncio.test_subprocess": "test_kill_issue43884 test_shell test_start_new_session",
    },
    "nothing in /tmp can be run or mapped executable": {
        "shutil": """test_absolute_cmd test_basic test_environ_path test_environ_path_cwd test_environ_path_missing
            test_relative_cmd test_relative_path""",
        "mmap": "test_access_parameter",
    },
    "no owner can be changed": {
        "shutil": "test_chown",
        "os": "test_fchown test_chown_uid_gid_arguments_must_be_index",
    },
    "splice and memfd_create are not let through": {
        "os": "test_splice test_splice_offset_in test_splice_offset_out test_memfd_create",
    },
    "no identity and no priority can be changed": {
        "os": "test_setregid_neg1 test_setreuid_neg1 test_set_get_priority",
    },
}

RUN = """
import importlib, io, json, os, sys, tarfile, unittest
with tarfile.open("/tmp/in/suite.tar.gz") as tar:
    tar.extractall("/tmp/suite")
os.mkdir("/tmp/w")
os.chdir("/tmp/w")
os.environ["PYTHONPATH"] = "/tmp/suite"
os.environ["PYTHONHOME"] = sys.prefix  # test.support then lets children see the environment, and so the package
sys.path.insert(0, "/tmp/suite")
import test.support
test.support.use_resources = {}
results = []
def run(suite):
    results.append(unittest.TextTestRunner(stream=io.StringIO()).run(suite))
loader = unittest.defaultTestLoader
def run_unittest(*classes):
    for each in classes:
        if isinstance(each, str):
            each = loader.loadTestsFromName(each)
        elif isinstance(each, type):
            each = loader.loadTestsFromTestCase(each)
        run(each)
module = importlib.import_module("test." + open("/tmp/in/module").read())
if hasattr(module, "test_main"):  # it chooses its cases itself (test.libregrtest)
    test.support.run_unittest = run_unittest
    if hasattr(module, "run_unittest"):
        module.run_unittest = run_unittest
    module.test_main()
else:
    run(loader.loadTestsFromName(module.__name__))
bad = {test.id(): text.strip().splitlines()[-1] for each in results for test, text in each.failures + each.errors}
print("RESULT", json.dumps([sum(each.testsRun for each in results), bad]))
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The `test` package as a tar."""
    folder = tmp_path_factory.mktemp("suite")
    try:
        version = packages.python_version()
        names = [f"libpython{version}-testsuite", f"libpython{version}-stdlib"]
        known = packages.versions(names)
        packages.unpack(known, folder / "debs", folder / "root")
    except ImageBuildError as reason:
        pytest.skip(f"no test suite: {reason}")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=3) as tar:
        tar.add(folder / f"root/usr/lib/python{version}/test", arcname="test", filter=_needed)
    return out.getvalue()


def _needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if re.search(r"/(cjkencodings|test_importlib|__pycache__)(/|$)", member.name) else member


def unexpected(daemon: Daemon, suite: bytes, module: str) -> dict[str, str]:
    """The tests of a module that fail and need not, `{name: last line}`, and those that must and do not."""
    spec = replace(daemon.spec, profile=ROOMY)
    inputs = {"suite.tar.gz": suite, "module": f"test_{module}".encode()}
    result = daemon.engine.run(spec, RUN.encode(), inputs=inputs)
    assert result.verdict is Verdict.OK, result.stderr[-2000:]
    line = next(line for line in result.stdout.splitlines() if line.startswith("RESULT "))
    count, bad = json.loads(line.removeprefix("RESULT "))
    assert count > 5
    expected = {name for modules in EXPECTED.values() for name in modules.get(module, "").split()}
    fell = {name.rsplit(".", 1)[-1]: f"{name}: {last}" for name, last in bad.items()}
    return {n: fell.get(n, "passes after all") for n in fell.keys() ^ expected}


@pytest.mark.parametrize("module", EVERY_TIME.split())
def test_only_what_the_sandbox_denies_on_purpose_fails(daemon: Daemon, suite: bytes, module: str) -> None:
    assert unexpected(daemon, suite, module) == {}


@pytest.mark.soak
@pytest.mark.parametrize("module", AT_LENGTH.split())
def test_only_what_the_sandbox_denies_on_purpose_fails_at_length(daemon: Daemon, suite: bytes, module: str) -> None:
    assert unexpected(daemon, suite, module) == {}
