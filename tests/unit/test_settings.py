"""Where a deployment lives: private folders, and no start where somebody else could change them (I10)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.domain.errors import SettingsError
from gateway.office import Office
from gateway.settings import locate, prepare
from tests.support import open_gateway, policies_for, tool

FOLDERS = ("state", "audit", "keys", "checkpoints", "trust", "spent")


def test_whatever_the_umask_only_the_owner_gets_in(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        prepare(locate(tmp_path / "policies", tmp_path / "home"))
    finally:
        os.umask(before)
    for folder in (tmp_path / "home", *(tmp_path / "home" / name for name in FOLDERS)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_that_others_may_write_is_refused_by_gateway_and_command_line(
    tmp_path: Path, name: str, mode: int
) -> None:
    def fine() -> str:
        return "ok"

    policies_for(tmp_path, tool(fine))
    with open_gateway(tmp_path, tool(fine)):
        pass
    (tmp_path / "home" / name).chmod(mode)
    with pytest.raises(SettingsError, match="can be written by others"):
        open_gateway(tmp_path, tool(fine))
    with pytest.raises(SettingsError, match="can be written by others"):
        Office.open(tmp_path / "policies", tmp_path / "home")


def test_a_base_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    where = locate(tmp_path / "policies", tmp_path / "home")
    prepare(where)
    (tmp_path / "home").chmod(0o777)
    with pytest.raises(SettingsError, match="can be written by anybody"):
        prepare(where)
    (tmp_path / "home").chmod(0o1777)
    prepare(where)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    where = locate(tmp_path / "policies", tmp_path / "home")
    prepare(where)
    os.chown(where.trust, 65534, -1)
    with pytest.raises(SettingsError, match="belongs to user 65534"):
        prepare(where)
