"""Whose private group is it?"""

from __future__ import annotations

import errno
import grp
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.policy import custody
from gateway.policy.loader import load
from tests.unit.policy.folders import refused, write_policies

PEOPLE = {1000: "ana", 1001: "max"}


@pytest.mark.parametrize(
    ("listed", "primary_of", "private"),
    [
        ([], {1000}, True),
        (["ana"], set(), True),
        (["ana", "root"], {1000}, True),
        (["ana", "max"], {1000}, False),
        ([], {1000, 1001}, False),
    ],
)
def test_c035_a_private_group_has_no_other_member(
    monkeypatch: pytest.MonkeyPatch, listed: list[str], primary_of: set[int], private: bool
) -> None:
    entries = [SimpleNamespace(pw_name=PEOPLE[uid], pw_gid=50 if uid in primary_of else 7) for uid in PEOPLE]
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=PEOPLE[uid]))
    monkeypatch.setattr(pwd, "getpwall", lambda: entries)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_mem=listed))
    assert custody._only_member(1000, 50) is private


def test_c035_a_group_nobody_knows_is_not_private(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> object:
        raise KeyError

    monkeypatch.setattr(grp, "getgrgid", unknown)
    assert custody._only_member(0, 50) is False


def test_c035_an_access_list_is_not_taken_for_a_private_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an access list the group bits show the mask: a named user may write although the group is private."""
    monkeypatch.setattr(custody, "_only_member", lambda uid, gid: True)
    (write_policies(tmp_path) / "policy.csv").chmod(0o664)
    load(tmp_path)
    monkeypatch.setattr(os, "listxattr", lambda *_, **__: ["system.posix_acl_access"])
    assert "can be written by the group" in refused(tmp_path).message


@pytest.mark.parametrize(("number", "loads"), [(errno.ENOTSUP, True), (errno.EIO, False)])
def test_c035_a_file_system_without_access_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, loads: bool
) -> None:
    def failing(*_: object, **__: object) -> list[str]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(custody, "_only_member", lambda uid, gid: True)
    (write_policies(tmp_path) / "policy.csv").chmod(0o664)
    monkeypatch.setattr(os, "listxattr", failing)
    if loads:
        load(tmp_path)
    else:
        assert "cannot be read" in refused(tmp_path).message
