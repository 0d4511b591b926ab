"""Whose private group is it?"""

from __future__ import annotations

import grp
import pwd
from types import SimpleNamespace

import pytest

from gateway.policy import custody

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
