"""Whoever waits for a long command sees how far it is; programs, files and pipes never do."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audit.origin import load_keyrings
from gateway.audit.verify import verify
from gateway.audit_tools.index import Index
from gateway.cli.progress import ProgressLine, progressing
from tests.architecture.source import ROOT
from tests.fakes.audit_desk import Desk
from tests.support import ANA, gateway_with, one, tool


class Watch:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _line() -> tuple[ProgressLine, io.StringIO, Watch]:
    watch, stream = Watch(), io.StringIO()
    return ProgressLine("verifying", stream, watch), stream, watch


def test_it_tells_records_rate_and_how_long_still() -> None:
    line, stream, watch = _line()
    line.tell(1, 400, 10)
    assert stream.getvalue() == "", "nobody needs a line about what is over at once"
    watch.seconds += 2
    line.tell(100, 400, 5_000)
    assert stream.getvalue() == "\rverifying: 25 %, 5,000 records, 2,500/s, 7 s left"
    line.tell(110, 400, 5_500)
    assert "5,500" not in stream.getvalue(), "not more often than anybody can read"
    watch.seconds += 98
    line.tell(101, 400, 6_000)
    before, _, last = stream.getvalue().rpartition("\r")
    assert last.rstrip() == "verifying: 25 %, 6,000 records, 60/s, 5 min left"
    assert len(last) == len(before) - 1, "the longer line before it is overwritten"
    line.clear()
    assert stream.getvalue().endswith("left \r" + " " * len(last.rstrip()) + "\r")


@pytest.mark.parametrize(("done", "total"), [(0, 0), (500, 400), (0, 10)])
def test_where_the_end_is_not_known_none_is_promised(done: int, total: int) -> None:
    line, stream, watch = _line()
    watch.seconds += 4
    line.tell(done, total, 8_000)
    assert stream.getvalue() == "\rverifying: 8,000 records, 2,000/s"


def test_it_fits_a_terminal_and_holds_no_escape() -> None:
    line, stream, watch = _line()
    watch.seconds += 1e6
    line.tell(1, 10**18, 10**17)
    assert len(stream.getvalue()) <= 80
    assert stream.getvalue().replace("\r", "").isprintable()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_and_a_person_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with progressing("x") as tell:
        assert tell is None, "the tests have no terminal"
    monkeypatch.setattr("sys.stderr", Terminal())
    with progressing("x") as tell:
        assert tell is not None
    with progressing("x", wanted=False) as tell:
        assert tell is None
    monkeypatch.setenv("TERM", "dumb")
    with progressing("x") as tell:
        assert tell is None


def test_every_byte_and_record_is_counted_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.filled(50, every=4, rotate_bytes=600)
    told: list[tuple[int, int, int]] = []
    size = sum(path.stat().st_size for path in desk.place.segments())
    keys = load_keyrings(desk.trust)
    verify(desk.audit, desk.checkpoints, keys, progress=lambda *at: told.append(at))
    assert told[-1] == (size, size, 50)
    assert told == sorted(told)
    told.clear()
    (tmp_path / "state").mkdir()
    with Index.open(tmp_path / "state", desk.audit, frozenset(keys), lambda *at: told.append(at)):
        assert told[-1] == (size, size, 50)
    with desk.open() as log:
        log.append(b'{"kind":"later"}')
    more = sum(path.stat().st_size for path in desk.place.segments()) - size
    with Index.open(tmp_path / "state", desk.audit, frozenset(keys), lambda *at: told.append(at)):
        assert told[-1] == (more, more, 1)


def look(order: str) -> str:
    return order


_EAGER = "import gateway.cli.progress as p; p.AFTER_S = p.EVERY_S = -1; from gateway.cli.app import run; run()"


def _on_a_terminal(*words: str, **environment: str) -> tuple[str, str]:
    """(what standard output got, what the terminal on standard error got), with a line at every chance."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment}
    done = subprocess.run(
        [sys.executable, "-c", _EAGER, "audit", *words], stdout=subprocess.PIPE, stderr=theirs, env=env, check=False
    )
    os.write(theirs, b"END")
    shown = b""
    while not shown.endswith(b"END"):
        shown += os.read(ours, 65_536)
    os.close(ours)
    os.close(theirs)
    assert done.returncode in (0, 1), shown
    return done.stdout.decode(), shown.decode().removesuffix("END")


def test_long_commands_on_a_terminal(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(look)) as gateway:
        one(gateway.session(ANA, conversation="talk"), "look", order="A-1")
    place = ("--policies", str(tmp_path / "policies"), "--home", str(tmp_path / "home"))
    for words, what in ((("search",), "indexing:"), (("verify",), "verifying:")):
        said, shown = _on_a_terminal(*words, *place)
        assert what in shown
        assert "records" in shown
        assert shown.endswith(" \r"), "the line is gone when the work is done"
        assert what not in said
        assert _on_a_terminal(*words, "--json", *place)[1] == ""
    (tmp_path / "home" / "state" / "audit-index.db").unlink()
    said, shown = _on_a_terminal("export", "--format", "jsonl", *place, NO_COLOR="1")
    assert "indexing:" in shown
    assert "\x1b" not in shown
    assert len(said.splitlines()) > 3
