"""The process's own log where nobody configured one: text that a person reads on a terminal, JSON for programs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

SAY = """
from gateway.alarm import alarm
fault = "\\x1b[31mred\\u202e \\n" + "word " * 30
alarm().error("disk_gone", fault=fault, places=["/a", "/b\\x1b"], tries=3, who=object())
"""


def test_on_a_terminal_it_is_folded_text_that_does_nothing_to_it() -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", SAY], stderr=theirs, check=True)
        said = os.read(ours, 10_000).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)
    lines = said.splitlines()
    assert lines[0] == "toolgate: error: disk gone"
    assert lines[1].startswith("  fault: \\u001b[31mred\\u202e \\n")
    assert lines[-3:] == ["  places: /a, /b\\u001b", "  tries: 3", '  who: "<object>"']
    assert said.isascii()
    assert "\x1b" not in said
    assert max(map(len, lines)) <= 80


def test_elsewhere_it_is_one_line_of_json() -> None:
    done = subprocess.run([sys.executable, "-c", SAY], stderr=subprocess.PIPE, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "disk_gone"
    assert line.isascii()


def test_without_standard_error_it_is_said_all_the_same() -> None:
    shell = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, SAY]
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, check=True)
    assert json.loads(done.stdout)["event"] == "disk_gone"
