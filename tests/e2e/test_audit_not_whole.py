"""Every reading command over logs that are empty, of another version, cut or no logs: plain answers, 80 columns."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.audit_tools.index import Index
from gateway.audit_tools.query import Query
from gateway.cli.app import app
from gateway.cli.audit_read import lines
from gateway.domain.call import Parked
from gateway.domain.errors import ToolgateError
from gateway.settings import locate
from tests.support import ANA, ORIGIN, gateway_with, one, tool

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202e\u2066\u200b"


def look(order: str) -> str:
    return f"{order} {HOSTILE}"


def pay_back_the_whole_of_a_large_order_by_bank_transfer(order: str) -> str:
    raise OSError(HOSTILE)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment with names of some length: a look-up ran, one call waits, and one ended nobody knows how."""
    base = tmp_path_factory.mktemp("desk")
    paying = tool(pay_back_the_whole_of_a_large_order_by_bank_transfer, effect="external")
    slow = tool(look, approval={"when": "always"}, name="look_again")
    with gateway_with(base, tool(look), slow, paying) as gateway:
        session = gateway.session(ANA, conversation="talk")
        one(session, "look", order="A-1")
        one(session, "look", order=HOSTILE)
        assert isinstance(one(session, "look_again", order="A-1"), Parked)
        one(session, "pay_back_the_whole_of_a_large_order_by_bank_transfer", order="A-2")
    return base


def _run(base: Path, *words: str, group: str = "audit") -> Result:
    where = ["--policies", str(base / "policies"), "--home", str(base / "home")]
    return CliRunner().invoke(app, [group, *words, *where])


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(base: Path) -> None:
        segment = base / "home" / "audit" / ORIGIN / "00000000.jsonl"
        segment.write_bytes(change(segment.read_bytes()))

    return apply


def _empty(base: Path) -> None:
    for name in ("audit", "checkpoints", "trust"):
        shutil.rmtree(base / "home" / name)
        (base / "home" / name).mkdir()


def _later(log: bytes) -> bytes:
    log = log.replace(b'"v":1,', b'"v":9,"era":"later",').replace(b'"call.denied"', b'"call.refused"')
    return log.replace(b'"steps_us":{', b'"steps_us":[],"steps":{').replace(b'"arguments":{', b'"arguments":7,"args":{')


STATES: dict[str, Callable[[Path], None]] = {
    "whole": lambda _: None,
    "empty": _empty,
    "of a later version": _rewrite(_later),
    "cut in a line": _rewrite(lambda log: log[: len(log) * 2 // 3]),
    "no log": _rewrite(lambda log: random.Random(5).randbytes(len(log))),
    "zeros": _rewrite(lambda log: bytes(len(log))),
}
A_LINE_A_RECORD = ("export", "search", "show", "tail", "conversation", "receipt")  # in a pipe, whatever its length
COMMANDS = [
    ("show",),
    ("search", "--text", "A-1"),
    ("search", "--principal", HOSTILE, "--tool", HOSTILE),
    ("search", "--decision", HOSTILE),
    ("search", "--since", HOSTILE),
    ("search", "--text", '"'),
    ("call", HOSTILE),
    ("call", f"{ORIGIN}#2"),
    ("conversation", "talk"),
    ("conversation", HOSTILE),
    ("stats",),
    ("tail", "-n", "5"),
    ("unfinished",),
    ("receipt", f"{ORIGIN}#2"),
    ("verify",),
    ("export", "--format", "jsonl"),
    ("export", "--format", "csv"),
    ("export", "--format", "ocsf"),
]


@pytest.mark.parametrize("state", STATES)
def test_no_log_breaks_a_reading_command(desk: Path, tmp_path: Path, state: str) -> None:
    base = tmp_path / "copy"
    shutil.copytree(desk, base)
    STATES[state](base)
    for words in COMMANDS:
        done = _run(base, *words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            assert isinstance(done.exception, ToolgateError), (words, done.exception)
        said = done.output + str(done.exception if isinstance(done.exception, ToolgateError) else "")
        assert not any(c in said for c in HOSTILE if not c.isprintable()), words
        if words[0] not in A_LINE_A_RECORD:
            assert max(map(len, done.output.splitlines()), default=0) <= 80, words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_long_line_goes_on_in_the_next(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "copy"
    shutil.copytree(desk, base)
    where = locate(base / "policies", base / "home")
    terminal = Terminal()
    with Index.open(where.state, where.audit, frozenset({ORIGIN})) as index, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", terminal)
        patch.setenv("NO_COLOR", "1")
        patch.setenv("COLUMNS", "80")
        lines(index.newest(Query(), 40))
    said = terminal.getvalue().splitlines()
    assert max(map(len, said)) <= 80
    assert any(line.startswith(" " * 14 + "ana pay_back") for line in said)
    assert any("tool_failed" in line for line in said)


def test_punctuation_alone_is_not_a_search_for_everything(desk: Path) -> None:
    assert "holds no letter or digit" in str(_run(desk, "search", "--text", '"').exception)


def test_nothing_to_verify_is_no_good_news(desk: Path, tmp_path: Path) -> None:
    base = tmp_path / "copy"
    shutil.copytree(desk, base)
    _empty(base)
    said = _run(base, "verify")
    assert said.exit_code == 1
    assert "nothing was verified" in said.output
    assert json.loads(_run(base, "verify", "--json").output) == {"ok": False, "origins": []}


def test_lines_that_are_no_records_show_in_the_figures(desk: Path, tmp_path: Path) -> None:
    base = tmp_path / "copy"
    shutil.copytree(desk, base)
    _rewrite(lambda log: log + b"nonsense\nnonsense\n")(base)
    assert "2 of these lines are no records at all" in _run(base, "stats").output
    assert json.loads(_run(base, "stats", "--json").output)["lines_that_are_no_records"] == 2


def test_lists_for_people_fit_80_columns(desk: Path) -> None:
    waiting = _run(desk, "list", group="approvals").output
    assert "look_again, asked by ana" in waiting
    doubts = _run(desk, "unfinished").output
    for said in (waiting, doubts):
        assert max(map(len, said.splitlines())) <= 80
