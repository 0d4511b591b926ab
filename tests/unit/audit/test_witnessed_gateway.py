"""A gateway with a witness in its settings: told of every checkpoint, asked at the start, loud when it is silent."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from gateway.audit.damage import Kind
from gateway.audit.errors import LogDamaged, NotRecorded, WitnessUnavailable
from gateway.cli.app import app
from gateway.domain.errors import PolicyError, SettingsError
from gateway.office import verify_home
from gateway.settings import locate
from tests.support import ANA, gateway_with, one, open_gateway, reason, records, result, tool


def look(n: int) -> int:
    return n


LOOK = tool(look)


def _settings(folder: Path, **more: object) -> dict[str, object]:
    return {"audit": {"checkpoint_every": 2, "witness": {"folder": str(folder), **more}}}


def test_c115_restored_snapshot_of_the_whole_home_is_refused_and_named(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    with gateway_with(tmp_path, LOOK, settings=_settings(witness)) as gateway:
        result(one(gateway.session(ANA), "look", n=1))
        assert gateway.concerns == ()
    shutil.copytree(tmp_path / "home", tmp_path / "snapshot")
    with open_gateway(tmp_path, LOOK) as gateway:
        result(one(gateway.session(ANA), "look", n=2))
    where = locate(tmp_path / "policies", tmp_path / "home")
    report = verify_home(where, witness=str(witness))
    assert report.ok
    assert report.origins[0].pinned == report.origins[0].records
    note = where.checkpoints / "gw.ckpt"
    kept = note.read_bytes()
    shutil.rmtree(tmp_path / "home")
    shutil.copytree(tmp_path / "snapshot", tmp_path / "home")
    assert verify_home(where).ok
    for rolled_back in (verify_home(where, witness=str(witness)), verify_home(where, kept=[kept])):
        assert [damage.kind for damage in rolled_back.origins[0].damage] == [Kind.ROLLED_BACK]
    with pytest.raises(LogDamaged, match="has seen"):
        open_gateway(tmp_path, LOOK)


def test_a_witness_that_is_gone_is_a_concern_and_verify_says_so(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    with gateway_with(tmp_path, LOOK, settings=_settings(witness)):
        pass
    shutil.rmtree(witness)
    with open_gateway(tmp_path, LOOK) as gateway:
        result(one(gateway.session(ANA), "look", n=1))
        assert any(str(witness) in concern for concern in gateway.concerns)
    where = locate(tmp_path / "policies", tmp_path / "home")
    with pytest.raises(WitnessUnavailable):
        verify_home(where, witness=str(witness))
    witness.mkdir()
    report = verify_home(where, witness=str(witness))
    assert any("kept elsewhere" in warning for warning in report.origins[0].warnings)


def test_c111_a_gateway_does_not_start_without_the_witness_it_requires(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    with gateway_with(tmp_path, LOOK, settings=_settings(witness, required=True)) as gateway:
        result(one(gateway.session(ANA), "look", n=1))
    kept = (witness / "gw.ckpt").read_bytes()
    (witness / "gw.ckpt").write_bytes(b"scribbled over")
    with pytest.raises(NotRecorded, match="what it keeps is damaged"):
        open_gateway(tmp_path, LOOK)
    (witness / "gw.ckpt").write_bytes(kept)
    with open_gateway(tmp_path, LOOK) as gateway:
        result(one(gateway.session(ANA), "look", n=2))


def _stop(base: Path) -> Result:
    where = ["--policies", str(base / "policies"), "--home", str(base / "home")]
    return CliRunner().invoke(app, ["kill", "on", "--by", "max", "--why", "now", *where])


def test_c115_what_people_did_at_the_command_line_is_witnessed_too(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    with gateway_with(tmp_path, LOOK, settings=_settings(witness)):
        assert _stop(tmp_path).exit_code == 0
    where = locate(tmp_path / "policies", tmp_path / "home")
    report = verify_home(where, witness=str(witness))
    (ours,) = (each for each in report.origins if each.origin == "command-line")
    assert ours.pinned == ours.records == 1
    shutil.rmtree(where.audit / "command-line")
    (where.checkpoints / "command-line.ckpt").unlink()
    (gone,) = (each for each in verify_home(where, witness=str(witness)).origins if each.origin == "command-line")
    assert [damage.kind for damage in gone.damage] == [Kind.ROLLED_BACK]
    said = _stop(tmp_path)  # the history that somebody removed is not begun anew, but calls are stopped all the same
    assert "has seen" in str(said.exception)
    with open_gateway(tmp_path, LOOK) as gateway:
        assert reason(one(gateway.session(ANA), "look", n=1)) == "kill_switch"


@pytest.mark.parametrize("spoil", ["witness gone", "policy unreadable"])
def test_people_can_stop_a_gateway_without_witness_or_policy(tmp_path: Path, spoil: str) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    with ExitStack() as closing:
        # Closing is refused if the gateway has met the witness's absence itself by then: no record, no clean end.
        closing.enter_context(suppress(NotRecorded))
        gateway = closing.enter_context(gateway_with(tmp_path, LOOK, settings=_settings(witness, required=True)))
        if spoil == "witness gone":
            witness.rename(tmp_path / "gone")  # at once: the gateway may be telling it something just now
        else:
            (tmp_path / "policies" / "settings.yaml").write_text("audit: [")
        with capture_logs() as said:
            assert _stop(tmp_path).exit_code == 0
        assert {"witness_failed", "witness_unknown"} & {each["event"] for each in said}
        assert reason(one(gateway.session(ANA), "look", n=1)) == "kill_switch"
    (thrown,) = records(tmp_path, "kill_switch.set", origin="command-line")
    assert thrown["by"] == "max"


@pytest.mark.parametrize("bad", [{"url": "http://x/"}, {"key": "a+b+c"}, {"url": "ftp://x"}])
def test_settings_that_name_no_one_witness(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises((PolicyError, SettingsError)), gateway_with(tmp_path, LOOK, settings=_settings(tmp_path, **bad)):
        pass
