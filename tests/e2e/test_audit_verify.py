"""`toolgate audit verify` over logs that somebody damaged: it names the first bad record, the kind, and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.audit.damage import Damage, Kind
from gateway.cli.app import app
from tests.support import ANA, ORIGIN, gateway_with, one, open_gateway, tool


def look(order: str) -> str:
    return order


@dataclass
class Home:
    base: Path

    @property
    def segment(self) -> Path:
        return self.base / "home" / "audit" / ORIGIN / "00000000.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.base / "home" / "checkpoints" / f"{ORIGIN}.ckpt"

    def lines(self) -> list[bytes]:
        return self.segment.read_bytes().splitlines(keepends=True)

    def put(self, lines: list[bytes]) -> None:
        self.segment.write_bytes(b"".join(lines))

    def more(self) -> None:
        with open_gateway(self.base, tool(look)) as gateway:
            one(gateway.session(ANA), "look", order="A-9")

    def verify(self, *words: str) -> Result:
        where = ["--policies", str(self.base / "policies"), "--home", str(self.base / "home")]
        return CliRunner().invoke(app, ["audit", "verify", *where, *words])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("whole")
    with gateway_with(base, tool(look)) as gateway:
        session = gateway.session(ANA)
        for order in ("A-1", "A-2"):
            one(session, "look", order=order)
    return base


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Home:
    shutil.copytree(whole, tmp_path / "copy")
    return Home(tmp_path / "copy")


def _swap(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


DAMAGES: dict[str, tuple[Callable[[Home], object], str]] = {
    "edit": (
        lambda home: home.put([line.replace(b"A-1", b"A-7") for line in home.lines()]),
        "edited at record 2: the line is not the record that was signed",
    ),
    "insertion": (lambda home: home.put([*home.lines()[:3], *home.lines()[2:]]), "inserted at record 3"),
    "deletion": (lambda home: home.put([*home.lines()[:2], *home.lines()[3:]]), "deleted at record 2"),
    "reordering": (lambda home: home.put(_swap(home.lines())), "reordered at record 2"),
    "cut tail": (lambda home: home.put(home.lines()[:-1]), "truncated at record 6: 7 records were signed, 6 are left"),
    "all of it": (lambda home: home.put([]), "truncated at record 0"),
    "other origin's record": (
        lambda home: home.put([*home.lines(), home.lines()[0].replace(b'"gw"', b'"xx"').replace(b":0,", b":7,", 1)]),
        "edited at record 7: the line is not a record with this number and origin",
    ),
    "rewritten with its side file": (
        lambda home: (
            home.put([line.replace(b"A-1", b"A-7") for line in home.lines()]),
            home.segment.with_suffix(".leaves").unlink(),
        ),
        "fork at no single record",
    ),
    "no checkpoint": (lambda home: home.checkpoint.unlink(), "checkpoint-missing at no single record"),
    "another's checkpoint": (
        lambda home: home.checkpoint.write_bytes(home.checkpoint.read_bytes().replace(b"\n7\n", b"\n6\n")),
        "checkpoint-invalid at no single record: the signature of 'gw' does not verify",
    ),
    "no public key": (
        lambda home: (home.base / "home" / "trust" / "origins" / f"{ORIGIN}.pub").unlink(),
        "unknown-origin at no single record",
    ),
    "half a line": (lambda home: home.put([*home.lines(), b'{"seq":7,"or']), "torn at record 7"),
}


@pytest.mark.parametrize("done", DAMAGES)
def test_c113_c114_what_was_done_is_named_with_what_to_do(home: Home, done: str) -> None:
    damage, told = DAMAGES[done]
    damage(home)
    said = home.verify()
    assert said.exit_code == 1, said.output
    assert told in " ".join(said.output.split())
    assert "next: " in said.output
    assert max(map(len, said.output.splitlines())) <= 80
    (found, *_) = next(each for each in json.loads(home.verify("--json").output)["origins"] if each["damage"])["damage"]
    assert told.startswith(found["kind"])
    assert found["next"]


def test_every_kind_of_damage_says_what_to_do() -> None:
    for kind in Kind:
        assert len(Damage(kind, None, "").next) > 30


def test_the_derived_index_proves_nothing_and_is_not_asked(home: Home) -> None:
    """C113: who rewrites the search index changes no verdict."""
    where = ["--policies", str(home.base / "policies"), "--home", str(home.base / "home")]
    CliRunner().invoke(app, ["audit", "search", *where])
    (home.base / "home" / "state" / "audit-index.db").write_bytes(b"nonsense")
    assert home.verify().exit_code == 0
    assert CliRunner().invoke(app, ["audit", "search", *where]).exit_code == 0


def test_c115_c116_held_to_a_checkpoint_that_was_kept(home: Home, tmp_path: Path) -> None:
    first = tmp_path / "first.ckpt"
    first.write_bytes(home.checkpoint.read_bytes())
    shutil.copytree(home.base / "home", tmp_path / "older")
    home.more()
    newest = tmp_path / "newest.ckpt"
    newest.write_bytes(home.checkpoint.read_bytes())
    assert home.verify("--from", str(first), "--from", str(newest)).exit_code == 0
    shutil.rmtree(home.base / "home")
    shutil.copytree(tmp_path / "older", home.base / "home")
    assert home.verify().exit_code == 0, "nothing on this machine shows it"
    said = home.verify("--from", str(newest))
    assert said.exit_code == 1
    assert "rolled-back at record 7" in said.output
    home.more()
    assert "fork at no single record" in home.verify("--from", str(newest)).output
    kept = tmp_path / "second place"
    kept.mkdir()
    (kept / f"{ORIGIN}.ckpt").write_bytes(newest.read_bytes())
    assert "fork at no single record" in home.verify("--witness", str(kept)).output


def test_what_is_no_checkpoint_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"\x1b[31mhello\n")
    for path in (tmp_path / "note", tmp_path / "gone", tmp_path):
        said = home.verify("--from", str(path))
        assert "is no checkpoint" in str(said.exception)


def test_c119_a_lost_key_and_a_rotated_one(home: Home) -> None:
    private = home.base / "home" / "keys" / "origins" / f"{ORIGIN}.key"
    where = ["--policies", str(home.base / "policies"), "--home", str(home.base / "home")]
    rotated = CliRunner().invoke(app, ["audit", "rotate-key", ORIGIN, "--by", "max", "--why", "yearly", *where])
    assert rotated.exit_code == 0, rotated.output
    assert home.verify().exit_code == 0
    home.more()
    assert home.verify().exit_code == 0
    private.unlink()
    said = home.verify()
    assert said.exit_code == 0
    assert "the signing key is lost" in " ".join(said.output.split())
