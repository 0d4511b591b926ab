"""A gateway with a witness in its settings: told of every checkpoint, asked at the start, loud when it is silent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.audit.damage import Kind
from gateway.audit.errors import LogDamaged, NotRecorded, WitnessUnavailable
from gateway.domain.errors import PolicyError, SettingsError
from gateway.office import verify_home
from gateway.settings import locate
from tests.support import ANA, gateway_with, one, open_gateway, result, tool


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


@pytest.mark.parametrize("bad", [{"url": "http://x/"}, {"key": "a+b+c"}, {"url": "ftp://x"}])
def test_settings_that_name_no_one_witness(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises((PolicyError, SettingsError)), gateway_with(tmp_path, LOOK, settings=_settings(tmp_path, **bad)):
        pass
