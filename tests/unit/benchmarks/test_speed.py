"""The speed table: its worlds judge the calls they time, and a missed target is shown as one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.rivals.workload import PRINCIPAL
from benchmarks.speed import worlds
from benchmarks.speed.table import Row, show
from benchmarks.speed.timing import medians
from gateway import Denied, Principal, Released, ToolCall


def test_the_world_that_is_timed_is_a_governed_one(tmp_path: Path) -> None:
    world = worlds.build(tmp_path, others=2, roles=2, rules=[worlds.RULE])
    with world.gateway:
        assert world.log is not None
        before = len(world.log.lines)
        (passed,) = world.session.judge_sync(worlds.CALLS[:1])
        assert isinstance(passed, Released)
        assert len(world.log.lines) == before + 2  # intent and outcome
        too_much = ToolCall(id="c", name=passed.tool, arguments=worlds.TEXTS[0].replace("100", "10001"))
        (refused,) = world.session.judge_sync([too_much])
        assert isinstance(refused, Denied)
        stranger = world.gateway.session(Principal(f"{PRINCIPAL}-stranger"), conversation="c")
        (unknown,) = stranger.judge_sync(worlds.CALLS[:1])
        assert isinstance(unknown, Denied)


def test_medians_are_per_turn_and_per_contestant() -> None:
    turns: list[int] = []
    found = medians({"a": turns.append, "b": turns.append}, batch=3, rounds=2)
    assert set(found) == {"a", "b"}
    assert turns == [3] * 6  # one to warm up and two rounds, for each of the two


def test_a_missed_target_is_said_and_an_unmeasured_one_explained() -> None:
    rows = [
        Row("fast", 1.0, "us", 2.0),
        Row("slow", 3.0, "us", 2.0),
        Row("alone", 3.0, "us"),
        Row("absent", None, "us", note="[not] there"),
    ]
    assert [row.verdict for row in rows] == ["met", "missed", "", "[not] there"]
    show("title", {"section": rows})  # a name with brackets is text, not markup
