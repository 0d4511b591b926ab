"""I5, I6, I11, I13 and the flow of one call: no way around the steps, and no step out of its place.

Catalogue C037, C038, C053, C069, C087, C129.
"""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import gateway as public
from gateway import Gateway, Principal, ToolCall
from gateway.domain.call import Denied, Outcome, Parked, Released
from gateway.domain.errors import UsageError
from gateway.execute.registry import ToolRef
from gateway.shapes.answers import content
from tests.support import ANA, ask, gateway_with, one, open_gateway, policies_for, reason, records, result, tool, vote

# no path around


def _reachable(start: object, goal: object, most: int = 4000) -> list[str] | None:
    """The public attributes that lead from `start` to `goal`, or None."""
    seen: set[int] = set()
    queue: list[tuple[object, list[str]]] = [(start, [])]
    while queue and len(seen) < most:
        here, way = queue.pop(0)
        if here is goal:
            return way
        if id(here) in seen or isinstance(here, (str, bytes, int, float, type(None), type)):
            continue
        seen.add(id(here))
        if len(way) < 6:
            for name in dir(here):
                if name.startswith("_"):
                    continue
                try:
                    queue.append((getattr(here, name), [*way, name]))
                except Exception:  # a property that needs something we do not have leads nowhere
                    continue
    return None


def test_c037_a_registered_tool_cannot_be_called(tmp_path: Path) -> None:
    ran: list[int] = []

    def secret_work(number: int) -> int:
        ran.append(number)
        return number

    subject = tool(secret_work)
    policies_for(tmp_path, subject)
    with open_gateway(tmp_path) as gateway:
        reference = gateway.tool(secret_work)
        assert isinstance(reference, ToolRef)
        assert not callable(reference)
        with pytest.raises(TypeError):
            reference(1)  # type: ignore[operator]
        session = gateway.session(ANA)
        for start in (reference, session, gateway, session.tools(), gateway.unavailable):
            assert _reachable(start, secret_work) is None
        for name in ("secret_work ", "SECRET_WORK", "secret_work\u200b", "tests.secret_work", "secret\u2011work", ""):
            assert isinstance(session.judge_sync([ToolCall("1", name, '{"number": 1}')])[0], Denied)
        assert not ran


def test_c037_the_public_names_are_few_and_hold_no_machinery() -> None:
    assert not {"Passage", "Registry", "Execute", "Stages", "Runtime"} & set(public.__all__)


def test_the_host_may_not_make_up_what_identity_is(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(lambda: None, name="nothing")) as gateway, pytest.raises(UsageError):
        gateway.session("ana")  # type: ignore[arg-type]


# one policy version


def test_c038_a_call_sees_one_policy_version_from_its_first_step_to_its_last(tmp_path: Path) -> None:
    in_fact, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> dict[str, object]:
        in_fact.set()
        go_on.wait()
        return {"ok": True}

    def work(word: str) -> str:
        return word

    rule = {"id": "r", "require": "facts.it.ok == true", "tell_model": "no"}
    subject = tool(work, facts={"it": {"provider": "slow"}}, rules=[rule])
    with gateway_with(tmp_path, subject) as gateway:
        gateway.register_fact("slow", slow)
        session = gateway.session(ANA)
        before = gateway._policy
        said: list[Outcome] = []
        caller = threading.Thread(target=lambda: said.append(one(session, "work", word="w")))
        caller.start()
        in_fact.wait()
        (tmp_path / "policies" / "policy.csv").write_text(
            "g, user:ana, role:support\np, role:support, work, call, deny\n"
        )
        other = tmp_path / "other"
        other.mkdir()
        with Gateway.from_policies(tmp_path / "policies", home=other, origin="other") as successor:
            gateway._policy = successor._policy  # the swap, as following the policy does it
            go_on.set()
            caller.join()
            gateway._policy = before
        assert result(said[0]) == "w"
    (intent,) = records(tmp_path, "call.intent")
    (ended,) = records(tmp_path, "call.outcome")
    assert intent["call"]["policy_digest"] == ended["call"]["policy_digest"] == before.stages.digest


def test_what_waits_is_judged_by_the_rights_of_the_moment_it_is_used(tmp_path: Path) -> None:
    def work(word: str) -> str:
        return word

    subject = tool(work, risk="high")
    with gateway_with(tmp_path, subject) as gateway:
        parked = one(gateway.session(ANA, conversation="c"), "work", word="w")
        assert isinstance(parked, Parked)
        vote(tmp_path, parked.request_id)
    policy = tmp_path / "policies" / "policy.csv"
    rows = policy.read_text()
    policy.write_text(rows + "p, user:ana, work, call, deny\n")
    with open_gateway(tmp_path, subject) as gateway:
        assert reason(gateway.session(ANA, conversation="c").resume_sync(parked.request_id)) == "deny_rule"
    policy.write_text(rows)
    with open_gateway(tmp_path, subject) as gateway:
        session = gateway.session(ANA, conversation="c")
        assert result(session.resume_sync(parked.request_id)) == "w"
        again = session.resume_sync(parked.request_id)
        assert result(again) == "w"  # the verdict, not a second run
    assert len(records(tmp_path, "call.intent")) == 1


def test_a_parked_call_is_recorded_before_it_is_stored_and_resumed_only_by_its_own_principal(tmp_path: Path) -> None:
    def work(word: str) -> str:
        return word

    rows = ["g, user:eve, role:support"]
    with gateway_with(tmp_path, tool(work, risk="high"), rows=rows) as gateway:
        session = gateway.session(ANA, conversation="c")
        parked = one(session, "work", word="w")
        assert isinstance(parked, Parked)
        assert records(tmp_path, "approval.requested")[0]["request_id"] == parked.request_id
        assert isinstance(session.resume_sync(parked.request_id), Parked)  # nobody has voted
        vote(tmp_path, parked.request_id)
        strangers = [
            gateway.session(Principal("eve"), conversation="c").resume_sync(parked.request_id),
            gateway.session(ANA, conversation="another").resume_sync(parked.request_id),
            session.resume_sync("req_" + "0" * 32),
            session.resume_sync("no id at all"),
        ]
        assert {reason(each) for each in strangers} == {"request_unknown"}
        assert len({content(each).replace(each.ctx.id, "") for each in strangers}) == 1  # C131
        assert result(asyncio.run(session.resume(parked.request_id))) == "w"


def test_a_resume_is_not_charged_twice_and_not_shed(tmp_path: Path) -> None:
    def work(word: str) -> str:
        return word

    subject = tool(work, risk="high", limits={"per_conversation": 1, "per_minute": 1, "repeats": 1})
    with gateway_with(tmp_path, subject) as gateway:
        session = gateway.session(ANA, conversation="c")
        parked = one(session, "work", word="w")
        assert isinstance(parked, Parked)
        assert reason(one(session, "work", word="w")) == "tool_budget"
        vote(tmp_path, parked.request_id)
        assert result(session.resume_sync(parked.request_id)) == "w"


# check and act together


@pytest.mark.parametrize("keys", [{"serialize_by": ["order"]}, {"effect_key": ["order"]}], ids=["turns", "effect_key"])
@pytest.mark.parametrize("awaited", [False, True])
def test_c129_of_two_refunds_of_one_order_one_passes(tmp_path: Path, keys: dict[str, Any], awaited: bool) -> None:
    left = {"A": 100}
    looked = threading.Barrier(2)

    def rest(_: object, order: str) -> dict[str, object]:
        seen = left[order]
        if "effect_key" in keys:
            looked.wait()  # both have seen the same 100 before either acts
        return {"left": seen}

    def refund(order: str, amount: int) -> int:
        left[order] -= amount
        return left[order]

    rule = {"id": "rest", "require": "args.amount <= facts.rest.left", "tell_model": "too much"}
    facts = {"rest": {"provider": "rest", "args": ["order"]}}
    subject = tool(refund, effect="external", facts=facts, rules=[rule], **keys)
    with gateway_with(tmp_path, subject) as gateway:
        gateway.register_fact("rest", rest)
        session = gateway.session(ANA)
        calls = [ask("refund", order="A", amount=60) for _ in range(2)]
        both = asyncio.run(session.judge(calls)) if awaited else session.judge_sync(calls)
        passed = [each for each in both if isinstance(each, Released)]
        refused = [each for each in both if isinstance(each, Denied)]
        assert len(passed) == len(refused) == 1
        assert reason(refused[0]) == ("rule" if "serialize_by" in keys else "busy")
    assert left == {"A": 40}


def test_waiting_for_a_person_holds_nothing(tmp_path: Path) -> None:
    def refund(order: str, amount: int) -> int:
        return amount

    rule = {"id": "big", "require": "args.amount < 100", "otherwise": "escalate", "tell_model": "needs a person"}
    keys = {"serialize_by": ["order"], "effect_key": ["order"], "effect": "external"}
    with gateway_with(tmp_path, tool(refund, rules=[rule], **keys)) as gateway:
        session = gateway.session(ANA, conversation="c")
        parked = one(session, "refund", order="A", amount=500)
        assert isinstance(parked, Parked)
        assert result(one(session, "refund", order="A", amount=5)) == 5
        vote(tmp_path, parked.request_id)
        assert result(session.resume_sync(parked.request_id)) == 500


# overload, batches, callers


def test_c069_overload_denies_and_never_asks(tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        inside.set()
        go_on.wait()
        return "done"

    def risky() -> str:
        return "never"

    with gateway_with(
        tmp_path, tool(slow), tool(risky, risk="high"), settings={"loop": {"concurrent_calls": 1}}
    ) as gateway:
        session = gateway.session(ANA)
        said: list[Outcome] = []
        caller = threading.Thread(target=lambda: said.append(one(session, "slow")))
        caller.start()
        inside.wait()
        assert reason(one(session, "risky")) == "overloaded"
        go_on.set()
        caller.join()
        assert result(said[0]) == "done"
        assert isinstance(one(session, "risky"), Parked)  # the place was given back
    assert len(records(tmp_path, "approval.requested")) == 1


def test_c053_what_the_caller_changes_after_submitting_changes_nothing(tmp_path: Path) -> None:
    mine: dict[str, object] = {"order": "A"}
    seen: list[str] = []

    def look(_: object, order: str) -> dict[str, object]:
        mine["order"] = "B"  # while the call is being judged
        return {"ok": True}

    def pay(order: str) -> str:
        seen.append(order)
        return order

    rule = {"id": "r", "require": "facts.it.ok == true", "tell_model": "no"}
    subject = tool(pay, facts={"it": {"provider": "look", "args": ["order"]}}, rules=[rule])
    with gateway_with(tmp_path, subject) as gateway:
        gateway.register_fact("look", look)
        assert result(gateway.session(ANA).judge_sync([ToolCall("1", "pay", mine)])[0]) == "A"
    assert seen == ["A"]


@pytest.mark.parametrize("awaited", [False, True])
def test_a_batch_is_answered_in_order_with_every_id_once(tmp_path: Path, awaited: bool) -> None:
    def say(word: str) -> str:
        return word

    def raw(call_id: str, name: str, **arguments: object) -> dict[str, object]:
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}

    calls = [
        raw("a", "say", word="1"),
        raw("b", "nope"),
        raw("c", "risky"),
        raw("d", "say", word="2"),
        raw("e", "say", wrong="3"),
    ]
    subjects = (tool(say), tool(lambda: None, name="risky", risk="high"))
    with gateway_with(tmp_path, *subjects) as gateway:
        session = gateway.session(ANA)
        answers = asyncio.run(session.dispatch(calls)) if awaited else session.dispatch_sync(calls)
        assert [each["tool_call_id"] for each in answers] == ["a", "b", "c", "d", "e"]
        told = [json.loads(each["content"]) for each in answers]
        assert [next(iter(each)) for each in told] == [
            "untrusted_result",
            "error",
            "pending",
            "untrusted_result",
            "error",
        ]
        twins = session.dispatch_sync([raw("x", "say", word="1"), raw("x", "say", word="2")])
        assert [each["tool_call_id"] for each in twins] == ["x"]
        assert "error" in json.loads(twins[0]["content"])


def test_a_blocking_call_works_inside_a_running_loop(tmp_path: Path) -> None:
    async def say(word: str) -> str:
        await asyncio.sleep(0)
        return word

    async def main() -> list[Outcome]:
        with gateway_with(tmp_path, tool(say)) as gateway:
            session = gateway.session(ANA)
            single = one(session, "say", word="1")
            return [single, *session.judge_sync([ask("say", word="2"), ask("say", word="3")])]

    assert [result(each) for each in asyncio.run(main())] == ["1", "2", "3"]


def test_parallel_calls_run_at_the_same_time(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def meet(number: int) -> int:
        together.wait()  # passes only if all three are inside at once
        return number

    with gateway_with(tmp_path, tool(meet)) as gateway:
        session = gateway.session(ANA)
        calls = [ask("meet", number=each) for each in range(3)]
        assert [result(each) for each in session.judge_sync(calls)] == [0, 1, 2]
        calls = [ask("meet", number=each) for each in range(3)]
        assert [result(each) for each in asyncio.run(session.judge(calls))] == [0, 1, 2]


def test_each_outcome_says_how_long_every_step_took(tmp_path: Path) -> None:
    def say(word: str) -> str:
        return word

    with gateway_with(tmp_path, tool(say)) as gateway:
        one(gateway.session(ANA), "say", word="w")
        one(gateway.session(ANA), "say", wrong="w")
    (ended,) = records(tmp_path, "call.outcome")
    steps = ["parse", "authorize", "limit", "validate", "clear", "record", "execute", "release"]
    assert list(ended["steps_us"]) == steps
    (denied,) = records(tmp_path, "call.denied")
    assert list(denied["steps_us"]) == steps[:4]
