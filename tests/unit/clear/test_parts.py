"""Markers, the request digest, what is signed, and text made visible."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clear import votes
from gateway.clear.markers import SpentMarkers
from gateway.clear.request import Binding
from gateway.clear.visible import visible, visible_json
from gateway.domain.errors import SettingsError, StateUnavailable
from gateway.domain.ids import new_id
from gateway.domain.instant import Instant

BINDING = Binding("req_1", "n", "talk", "alice", None, "refund", "c", "e", None, Instant(2**60, 2**59, "boot"), "d")


def test_a_marker_can_be_set_once(tmp_path: Path) -> None:
    markers, name = SpentMarkers(tmp_path / "spent"), new_id("req")
    assert not markers.spent(name)
    assert markers.mark(name, "why")
    assert markers.spent(name)
    assert not SpentMarkers(tmp_path / "spent").mark(name, "again")
    assert (tmp_path / "spent" / name).read_text() == "why\n"


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "req_", "req_" + "A" * 32, "req_" + "0" * 32 + "\n"])
def test_a_marker_has_the_name_of_a_request_and_no_other(tmp_path: Path, name: str) -> None:
    markers = SpentMarkers(tmp_path / "spent")
    for action in (markers.spent, lambda found: markers.mark(found, "")):
        with pytest.raises(StateUnavailable):
            action(name)


def test_a_lost_marker_folder_is_a_fault_and_not_an_answer(tmp_path: Path) -> None:
    markers = SpentMarkers(tmp_path / "spent")
    (tmp_path / "spent").rmdir()
    with pytest.raises(StateUnavailable):
        markers.spent(new_id("req"))
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError):
        SpentMarkers(tmp_path / "file")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Binding)])
def test_every_part_of_a_binding_is_in_its_digest(field: str) -> None:
    other = Instant(2**60, 2**59, "other boot") if field == "expires" else "changed"
    assert dataclasses.replace(BINDING, **{field: other}).digest() != BINDING.digest()


@pytest.mark.parametrize("part", ["wall_ns", "boot_ns", "boot_id"])
def test_every_part_of_an_expiry_is_in_the_digest(part: str) -> None:
    parts: dict[str, Any] = {part: "x" if part == "boot_id" else 2**60 + 1}
    moved = BINDING.expires._replace(**parts)
    assert dataclasses.replace(BINDING, expires=moved).digest() != BINDING.digest()


def test_no_two_votes_sign_the_same_bytes() -> None:
    one = ("digest", "approve", "bob", "fine")
    spelled = {votes.signed_bytes(*one)}
    for n, changed in enumerate(("other", "deny", "carol", "")):
        spelled.add(votes.signed_bytes(*(changed if n == place else kept for place, kept in enumerate(one))))
    spelled.add(votes.signed_bytes("digest", "approve", 'bob"', "fine"))
    assert len(spelled) == 6
    assert all(bytes_.startswith(b"toolgate approval v1\n") for bytes_ in spelled)


@given(st.text())
def test_c064_visible_text_holds_nothing_hidden_and_is_unambiguous(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert all(c == " " for c in shown if unicodedata.category(c) == "Zs")
    undone = shown.encode("ascii", "backslashreplace")
    if text.isascii():
        assert undone.decode("unicode_escape") == text


@pytest.mark.parametrize(
    "blank", ["\u034f", "\u2065", "\u2800", "\u3164", "\ufff0", "\U00016fe4", "\U0001d159", "\U000e0100"]
)
def test_c064_what_draws_as_nothing_is_spelled_out(blank: str) -> None:
    assert visible(f"a{blank}b").isascii()


@given(st.text(), st.text())
def test_c064_two_texts_never_look_the_same(one: str, other: str) -> None:
    assert (visible(one) == visible(other)) == (one == other)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_c064_visible_json_shows_the_whole_value(value: object) -> None:
    shown = visible_json(value)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    if "\\U" not in shown:
        assert json.loads(shown) == value
