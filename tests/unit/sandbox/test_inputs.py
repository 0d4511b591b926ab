"""Input files are copies: not writable by accident, each run begins with what the host gave, whatever was before."""

from __future__ import annotations

import ast

import pytest

from sandbox import Sessions, Verdict
from tests.unit.sandbox.daemon import Daemon, daemon_fixture, ready_fixture  # noqa: F401

pytestmark = pytest.mark.docker

READ = b"""
import os, stat, sys
facts = os.lstat('/tmp/in/a')
folder = os.lstat('/tmp/in')
[open('/tmp/in/a').read(), stat.S_ISREG(facts.st_mode), oct(facts.st_mode & 0o777), facts.st_nlink,
 stat.S_ISDIR(folder.st_mode), oct(folder.st_mode & 0o777), sys.stdin.read()]
"""
AS_GIVEN = ["as given", True, "0o444", 1, True, "0o500", "typed"]

REFUSED = """
import os
for attempt in (
    lambda: open('/tmp/in/a', 'w'), lambda: open('/tmp/in/a', 'r+'), lambda: os.truncate('/tmp/in/a', 0),
    lambda: open('/tmp/in/b', 'w'), lambda: os.unlink('/tmp/in/a'), lambda: os.rename('/tmp/in/a', '/tmp/in/b'),
    lambda: os.rename('/tmp/in/a', '/tmp/a'), lambda: os.symlink('/etc', '/tmp/in/c'),
    lambda: os.link('/tmp/in/a', '/tmp/in/d'), lambda: os.mkdir('/tmp/in/e'),
):
    try:
        attempt()
    except PermissionError:
        continue
    print('allowed')
print(open('/tmp/in/a').read(), os.listdir('/tmp/in'))
"""

OPEN = "import os, shutil\nos.chmod('/tmp/in', 0o700)\n"
TAMPERINGS = {
    "changed in place": f"{OPEN}os.chmod('/tmp/in/a', 0o600)\nopen('/tmp/in/a', 'w').write('forged')",
    "linked elsewhere": f"{OPEN}os.unlink('/tmp/in/a')\nos.symlink('/tmp/out/stolen', '/tmp/in/a')",
    "a second name": "import os\nos.link('/tmp/in/a', '/tmp/held')\nos.chmod('/tmp/held', 0o666)",
    "a folder in its place": f"{OPEN}os.unlink('/tmp/in/a')\nos.mkdir('/tmp/in/a')\nopen('/tmp/in/a/x', 'w').close()",
    "a closed folder in its place": f"{OPEN}os.unlink('/tmp/in/a')\nos.mkdir('/tmp/in/a', 0)",
    "the folder renamed": "import os\nos.rename('/tmp/in', '/tmp/else')",
    "the folder removed": f"{OPEN}shutil.rmtree('/tmp/in')",
    "the folder a link": "import os\nos.rename('/tmp/in', '/tmp/else')\nos.symlink('/tmp/out', '/tmp/in')",
    "the folder a file": "import os\nos.rename('/tmp/in', '/tmp/else')\nopen('/tmp/in', 'w').close()",
    "the folder closed": "import os\nos.chmod('/tmp/in', 0)",
    "a folder where stdin goes": "import os\nos.mkdir('/tmp/.stdin', 0)",
    "a link where stdin goes": "import os\nos.symlink('/tmp/in/a', '/tmp/.stdin')",
}


def test_an_input_can_neither_be_written_nor_moved_nor_joined(daemon: Daemon) -> None:
    result = daemon.run(REFUSED, inputs={"a": b"as given"})
    assert (result.verdict, result.stdout) == (Verdict.OK, "as given ['a']\n")


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_what_code_does_to_its_copy_is_undone_before_the_next_run(daemon: Daemon, tampering: str) -> None:
    """It owns the files, so it can have its way with them; what it did meets no other run and no file of the host."""
    given = {"a": b"as given"}
    with Sessions(daemon.engine, daemon.spec) as sessions:
        tampered = sessions.run("ana", tampering.encode(), inputs=given)
        assert (tampered.verdict, tampered.stderr) == (Verdict.OK, "")
        after = sessions.run("ana", READ, inputs=given, stdin=b"typed")
        assert after.stderr == ""
        assert after.alive
        assert ast.literal_eval(after.value or "") == AS_GIVEN
        assert after.artifacts == ()
        assert sessions.run("bob", READ, inputs=given, stdin=b"typed").value == after.value
    assert given == {"a": b"as given"}


def test_a_file_held_open_for_writing_is_not_the_next_runs(daemon: Daemon) -> None:
    given = {"a": b"as given"}
    with Sessions(daemon.engine, daemon.spec) as sessions:
        sessions.run("ana", b"import os\nos.chmod('/tmp/in/a', 0o600)\nheld = open('/tmp/in/a', 'r+')", inputs=given)
        after = sessions.run("ana", b"held.write('forged')\nheld.flush()\nopen('/tmp/in/a').read()", inputs=given)
    assert after.value == "'as given'"
