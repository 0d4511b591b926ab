"""Tool lists as a model gets them: made from code, narrowed, priced, strict or labelled, and called in parallel."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from examples.scripted_openai import Call, CallTools, Say, call
from gateway.loop import Finished
from gateway.policy.generate import contract_from_model, contract_from_signature, dump_contract_yaml
from gateway.policy.loader import load
from gateway.policy_tools.lint import lint
from gateway.shapes.tools import MANY_TOOLS, tool_cost
from tests.unit.loop_bench import HIDDEN, Api, Bench, How, answers, contract, each_api, each_way, function_of, named


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as made:
        yield made


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# made from code


class Line(BaseModel):
    sku: str
    count: int = Field(default=1, ge=1, le=20)


class Parcel(BaseModel):
    """Send a parcel."""

    size: Literal["s", "m", "l"] = Field(description="How big.")
    lines: list[Line]
    to: str | int
    note: str | None = None


def ship(size: str, lines: list[Any], to: str | int, note: str | None = None) -> dict[str, Any]:
    return {"size": size, "lines": lines, "to": to, "note": note}


def weigh(parcel: str, unit: Literal["g", "kg"] = "g", places: list[int] | None = None) -> dict[str, Any]:
    """Weigh a parcel.

    Args:
        parcel: Its number.
        unit: Of the answer.
        places: Which scales.
    """
    return {"parcel": parcel, "unit": unit, "places": places}


@each_way
@each_api
def test_a_contract_made_from_a_pydantic_model_is_strict_nested_and_cannot_drift(
    tmp_path: Path, api: Api, how: How
) -> None:
    text = dump_contract_yaml(contract_from_model(Parcel, tool="ship", risk="low", effect="internal"))
    given = {"size": "m", "lines": [{"sku": "x", "count": None}], "to": 7, "note": None}  # as strict mode writes it
    wrong = given | {"lines": [{"sku": "x", "count": 99}]}
    with Bench(tmp_path, more={"ship": (text, ship)}) as bench:
        model = bench.serve(CallTools((Call("ship", given), Call("ship", wrong))), Say("Done."))
        ended = run(model.run(bench.session(), api=api, how=how, only=["ship"]))
        [tool] = model.sent[0]["tools"]
        sent = function_of(tool)
        assert (sent["strict"], sent["description"]) == (True, "Send a parcel.")
        schema = sent["parameters"]
        assert schema["required"] == ["size", "lines", "to", "note"]
        assert schema["properties"]["size"]["enum"] == ["s", "m", "l"]
        assert schema["properties"]["to"]["anyOf"] == [{"type": "string"}, {"type": "integer"}]
        assert schema["properties"]["lines"]["items"]["required"] == ["sku", "count"]
        assert bench.done == [{"size": "m", "lines": [{"sku": "x", "count": 1}], "to": 7, "note": None}]
        assert list(answers(ended.messages).values())[1]["error"]["code"] == "invalid_arguments"


@each_way
@each_api
def test_a_contract_made_from_a_signature_is_what_the_function_takes(tmp_path: Path, api: Api, how: How) -> None:
    text = dump_contract_yaml(contract_from_signature(weigh, risk="low", effect="none"))
    with Bench(tmp_path, more={"weigh": (text, weigh)}) as bench:
        model = bench.serve(call("weigh", parcel="p", unit=None, places=[1]), Say("Done."))
        assert isinstance(run(model.run(bench.session(), api=api, how=how)), Finished)
        sent = named(model.sent[0]["tools"])["weigh"]
        assert (sent["strict"], sent["description"]) == (True, "Weigh a parcel.")
        assert sent["parameters"]["properties"]["parcel"]["description"] == "Its number."
        assert bench.done == [{"parcel": "p", "unit": "g", "places": [1]}]


@each_way
@each_api
def test_what_strict_mode_cannot_say_is_reported_and_enforced_here(tmp_path: Path, api: Api, how: How) -> None:
    text = contract("tally", "counts", "object").replace(
        "counts: {type: object}", "counts: {type: object, additionalProperties: {type: integer, minimum: 0}}"
    )

    def tally(counts: dict[str, int]) -> int:
        return sum(counts.values())

    with Bench(tmp_path, more={"tally": (text, tally)}) as bench:
        both = CallTools((Call("tally", {"counts": {"a": 2, "b": 1}}), Call("tally", {"counts": {"a": -1}})))
        model = bench.serve(both, Say("Done."))
        ended = run(model.run(bench.session(), api=api, how=how))
        sent = named(model.sent[0]["tools"])
        assert {name: each["strict"] for name, each in sent.items() if name != "tally"} == dict.fromkeys(
            sent.keys() - {"tally"}, True
        )
        assert sent["tally"]["strict"] is False
        assert [a.get("error", {}).get("code") for a in answers(ended.messages).values()] == [None, "invalid_arguments"]
        assert bench.done == [3]
    [found] = [each for each in lint(load(tmp_path / "policies")) if each.code == "not-strict"]
    assert found.place.file == "tools/tally.yaml"
    assert "additionalProperties" in found.what


@each_api
def test_c084_a_definition_is_shared_and_nobody_can_change_it(bench: Bench, api: Api) -> None:
    [tool] = bench.session().tools(api, only=["look_up"])
    before = json.dumps(tool)
    required = function_of(tool)["parameters"]["required"]
    changes: list[Callable[[], object]] = [
        lambda: tool.update(name="mine"),
        lambda: tool.pop("type"),
        tool.clear,
        lambda: function_of(tool).setdefault("more", 1),
        lambda: function_of(tool).__setitem__("name", "mine"),
        lambda: required.append("more"),
        lambda: required.__setitem__(0, "more"),
        required.clear,
    ]
    for change in changes:
        with pytest.raises(TypeError, match="deepcopy"):
            change()
    own = copy.deepcopy(tool)
    assert own == tool
    function_of(own)["parameters"]["required"].append("more")
    own["name"] = "mine"
    assert pickle.loads(pickle.dumps(tool)) == tool
    assert json.dumps(bench.session(conversation="c-2").tools(api, only=["look_up"])[0]) == before


# narrowed, in order, and priced


@each_way
@each_api
def test_a_list_is_narrowed_by_tag_and_by_name_and_never_widened(tmp_path: Path, api: Api, how: How) -> None:
    with Bench(tmp_path, change={"look_up": "tags: [reading]\n", HIDDEN: "tags: [reading]\n"}) as bench:
        session = bench.session()
        subsets: list[dict[str, Any]] = [{}, {"tags": ["reading"]}, {"only": ["pay", HIDDEN]}, {"only": []}]
        expected = [["look_up", "once", "pay", "write_down"], ["look_up"], ["pay"], []]
        for subset, names in zip(subsets, expected, strict=True):
            model = bench.serve(Say("Hi."))
            run(model.run(session, api=api, how=how, **subset))
            assert list(named(model.sent[0].get("tools", []))) == names
            assert model.sent[0].get("tools", []) == session.tools(api, **subset)


@each_way
@each_api
def test_a_list_tells_what_it_costs(bench: Bench, api: Api, how: How) -> None:
    model = bench.serve(Say("Hi."))
    run(model.run(bench.session(), api=api, how=how))
    cost = bench.session().tool_cost(api)
    assert cost == tool_cost(model.sent[0]["tools"])
    assert cost.total == sum(cost.tools.values())
    assert set(cost.tools) == {"look_up", "write_down", "pay", "once"}
    assert all(20 < each < 200 for each in cost.tools.values())


@each_way
@each_api
def test_a_long_list_is_warned_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api, how: How) -> None:
    def tool(text: str) -> str:
        return text

    names = [f"t{n}" for n in range(MANY_TOOLS + 1)]
    with Bench(tmp_path, more={name: (contract(name, "text", "string"), tool) for name in names}) as bench:
        warnings: list[tuple[Any, ...]] = []
        logger = SimpleNamespace(warning=lambda *event, **_: warnings.append(event))
        monkeypatch.setattr("gateway.shapes.tools.alarm", lambda: logger)
        model = bench.serve(call("t1", text="a"), Say("Hi."))
        run(model.run(bench.session(), api=api, how=how))
        assert len(model.sent[1]["tools"]) == MANY_TOOLS + 5
        assert warnings == [("many_tools",)]


# called


@each_way
@each_api
def test_independent_calls_run_at_the_same_time(tmp_path: Path, api: Api, how: How) -> None:
    meeting = threading.Barrier(3, timeout=60)  # none returns before all have begun

    def meet(text: str) -> str:
        meeting.wait()
        return text

    with Bench(tmp_path, more={"meet": (contract("meet", "text", "string"), meet)}) as bench:
        three = CallTools(tuple(Call("meet", {"text": each}) for each in "abc"))
        ended = run(bench.serve(three, Say("Done.")).run(bench.session(), api=api, how=how))
        assert isinstance(ended, Finished)
        assert [each["untrusted_result"] for each in answers(ended.messages).values()] == ["a", "b", "c"]


@each_way
@each_api
def test_calls_that_touch_one_thing_take_turns_and_others_do_not_wait(tmp_path: Path, api: Api, how: How) -> None:
    order: list[str] = []
    meeting = threading.Barrier(2, timeout=60)

    def touch(what: str, n: int) -> None:
        order.append(f"begin {what}{n}")
        if n == 1:
            meeting.wait()  # the first call of each thing waits for the other's
        order.append(f"end {what}{n}")

    text = contract("touch", "what", "string", "serialize_by: [what]").replace(
        "required: [what]", "required: [what, n]"
    ).replace("{type: string}\n", "{type: string}\n    n: {type: integer}\n", 1)  # fmt: skip
    with Bench(tmp_path, more={"touch": (text, touch)}) as bench:
        calls = [("a", 1), ("a", 2), ("b", 1)]
        turn = CallTools(tuple(Call("touch", {"what": what, "n": n}) for what, n in calls))
        ended = run(bench.serve(turn, Say("Done.")).run(bench.session(), api=api, how=how))
        assert isinstance(ended, Finished)
        assert len(answers(ended.messages)) == 3
    assert [each for each in order if "a" in each] == ["begin a1", "end a1", "begin a2", "end a2"]
    assert order.index("begin b1") < order.index("end a1")


@each_way
@each_api
def test_each_kind_of_no_is_told_apart_and_costs_its_neighbours_nothing(tmp_path: Path, api: Api, how: How) -> None:
    opened = threading.Event()

    def slow(text: str) -> None:
        opened.wait(60)

    def broken(text: str) -> None:
        raise ValueError(text)

    late = contract("slow", "text", "string", "idempotent: true", "execution: {deadline_s: 0.05}")
    more = {"slow": (late, slow), "broken": (contract("broken", "text", "string"), broken)}
    with Bench(tmp_path, more=more) as bench:
        turn = CallTools(
            (
                Call(HIDDEN, {"text": "x"}),
                Call("look_up", {"key": 7}),
                Call("look_up", "{not json"),
                Call("once", {"text": "a"}),
                Call("pay", {"amount": 1}),
                Call("slow", {"text": "a"}),
                Call("broken", {"text": "a"}),
                Call("look_up", {"key": "a"}),
            )
        )
        model = bench.serve(turn, call("once", text="b"), Say("Done."))
        ended = run(model.run(bench.session(), api=api, how=how))
        opened.set()
        assert isinstance(ended, Finished)
        told = list(answers(ended.messages).values())
        assert [each.get("error", each).get("code", *each) for each in told] == [
            "tool_not_available",
            "invalid_arguments",
            "invalid_arguments",
            "untrusted_result",
            "pending",
            "timeout",
            "tool_failed",
            "untrusted_result",
            "tool_budget",
        ]
        assert all(each["error"]["correlation_id"] for each in told if "error" in each)
        assert sorted(bench.done) == [("look_up", "a"), ("once", "a")]


def test_lint_asks_when_to_use_a_tool_and_when_not_and_what_parameters_mean(tmp_path: Path) -> None:
    long = contract("long", "text", "string").replace("long one thing.", "Writes one line into the book of the desk.")
    with Bench(tmp_path, more={"long": (long, lambda text: text)}):
        found = {(each.code, each.place.file) for each in lint(load(tmp_path / "policies"))}
    assert {
        ("description-vague", "tools/look_up.yaml"),
        ("description-no-limit", "tools/long.yaml"),
        ("parameter-undescribed", "tools/long.yaml"),
    } <= found
