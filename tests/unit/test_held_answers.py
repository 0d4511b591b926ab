"""The final answer passes the output check: refused, masked, or handed to a person, who can let it go out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.scripted_openai import Rule, Say, Script, ScriptedOpenAI
from gateway import Gateway, Principal, Session
from gateway.domain.call import Denied, Released
from gateway.domain.decision import ReasonCode, StopReason
from gateway.domain.errors import PolicyError
from gateway.loop import Ended, Finished, Stopped
from gateway.office import Office
from gateway.policy.loader import load
from tests.support import ANA, Tool, gateway_with, one, open_gateway, policies_for, reason, records, tool, vote
from tests.unit.loop_bench import Api, Model

SECRET = "correct horse battery"
ANSWER = f"The password is {SECRET}."
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}

each_api = pytest.mark.parametrize("api", ["chat", "responses"])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["async", "stream"])
delivered: list[str] = []


def other() -> int:
    return 1


OTHER = tool(other)


def deliver_answer(text: str) -> str:
    delivered.append(text)
    return "sent"


@pytest.fixture(autouse=True)
def _nothing_delivered() -> None:
    delivered.clear()


def delivery(**more: Any) -> Tool:
    fields = {"secrets": ["text"], "approval": {"when": "always"}, "effect": "external", "parameters": TEXT}
    return tool(deliver_answer, **fields | more)


@contextmanager
def deployed(base: Path, on_secret: str, *tools: Tool, **answer: Any) -> Iterator[Gateway]:
    settings = {"answer": {"on_secret": on_secret} | answer}
    with gateway_with(base, OTHER, *tools, settings=settings, hidden=["deliver_answer"]) as gateway:
        gateway.declare_secret("vault", SECRET)
        yield gateway


def said(session: Session, api: Api, *, stream: bool) -> Ended:
    with ScriptedOpenAI(Script([Rule(lambda _: True, Say(ANSWER))])) as server:
        return asyncio.run(Model(server).run(session, api=api, stream=stream))


@streamed
@each_api
@pytest.mark.parametrize("on_secret", ["refuse", "mask", "hand_over"])
def test_each_of_the_three_ways_in_both_apis_and_streamed(
    tmp_path: Path, on_secret: str, api: Api, stream: bool
) -> None:
    with deployed(tmp_path, on_secret) as gateway:
        ended = said(gateway.session(ANA), api, stream=stream)
    if on_secret == "mask":
        assert isinstance(ended, Finished)
        assert ended.text == "The password is [secret removed]."
    else:
        assert isinstance(ended, Stopped)
        assert ended.reason is (StopReason.ANSWER_REFUSED if on_secret == "refuse" else StopReason.ANSWER_HELD)
        assert ended.for_person == ("" if on_secret == "refuse" else ANSWER)
        assert SECRET not in ended.message_for_user
    assert SECRET not in json.dumps(ended.messages)  # type: ignore[union-attr]
    verdicts = {"refuse": "refused", "mask": "masked", "hand_over": "handed_over"}
    assert [each["verdict"] for each in records(tmp_path, "answer.checked")] == [verdicts[on_secret]]
    assert SECRET not in json.dumps(records(tmp_path))


@streamed
@each_api
def test_a_held_answer_waits_for_an_approver_and_goes_out_once_she_agrees(
    tmp_path: Path, api: Api, stream: bool
) -> None:
    with deployed(tmp_path, "hand_over", delivery(), deliver_with="deliver_answer") as gateway:
        session = gateway.session(ANA, conversation="c")
        ended = said(session, api, stream=stream)
        assert isinstance(ended, Stopped)
        assert ended.reason is StopReason.ANSWER_HELD
        [request_id] = ended.pending
        assert delivered == []
    with open_gateway(tmp_path, OTHER, delivery(), origin="after-a-crash") as gateway:
        session = gateway.session(ANA, conversation="c")
        with Office.open(tmp_path / "policies", tmp_path / "home") as office:
            [waiting] = office.desk().pending()
            shown = office.desk().show(request_id, reveal=True)
        assert waiting.tool == "deliver_answer"
        assert SECRET not in repr(waiting)
        assert shown is not None
        assert SECRET in repr(shown)
        vote(tmp_path, request_id)
        assert isinstance(session.resume_sync(request_id), Released)
        assert isinstance(session.resume_sync(request_id), Released)  # a spent id gives its verdict
    assert delivered == [ANSWER]
    logs = (tmp_path / "home" / "audit").rglob("*.jsonl")
    assert all(SECRET.encode() not in path.read_bytes() for path in logs)


def test_an_answer_that_is_refused_goes_nowhere(tmp_path: Path) -> None:
    with deployed(tmp_path, "hand_over", delivery(), deliver_with="deliver_answer") as gateway:
        session = gateway.session(ANA, conversation="c")
        ended = said(session, "chat", stream=False)
        assert isinstance(ended, Stopped)
        vote(tmp_path, ended.pending[0], verdict="deny")
        assert isinstance(session.resume_sync(ended.pending[0]), Denied)
    assert delivered == []


@pytest.mark.parametrize(
    ("on_secret", "left"), [("refuse", None), ("mask", "The password is [secret removed]."), ("hand_over", None)]
)
def test_a_program_with_its_own_loop_asks_for_the_same_check(tmp_path: Path, on_secret: str, left: str | None) -> None:
    named = {"deliver_with": "deliver_answer"} if on_secret == "hand_over" else {}
    with deployed(tmp_path, on_secret, delivery(), **named) as gateway:
        session = gateway.session(ANA)
        assert session.check_answer_sync("It is in the safe.").text == "It is in the safe."
        found = [session.check_answer_sync(ANSWER), asyncio.run(session.check_answer(ANSWER))]
        assert [each.text for each in found] == [left, left]
        assert all((each.request_id is not None) == bool(named) for each in found)
    assert len(records(tmp_path, "answer.checked")) == 2


def test_a_model_cannot_deliver_by_itself(tmp_path: Path) -> None:
    with deployed(tmp_path, "hand_over", delivery(), deliver_with="deliver_answer") as gateway:
        session = gateway.session(ANA)
        assert [each["name"] for each in session.tools("responses")] == ["other"]
        assert reason(one(session, "deliver_answer", text="anything")) is ReasonCode.NOT_GRANTED


def test_without_a_right_to_deliver_the_answer_is_held_all_the_same(tmp_path: Path) -> None:
    with deployed(tmp_path, "hand_over", delivery(), deliver_with="deliver_answer") as gateway:
        ended = said(gateway.session(Principal("eve")), "chat", stream=False)
    assert isinstance(ended, Stopped)
    assert (ended.reason, ended.pending, ended.for_person) == (StopReason.ANSWER_HELD, (), ANSWER)
    assert [each["reason"] for each in records(tmp_path, "call.denied")] == ["not_granted"]


@pytest.mark.parametrize(
    ("tools", "answer", "says"),
    [
        ([], {"on_secret": "hand_over", "deliver_with": "nobody"}, "no contract"),
        ([delivery()], {"on_secret": "mask", "deliver_with": "deliver_answer"}, "needs `on_secret: hand_over`"),
        ([delivery(secrets=[])], {"on_secret": "hand_over", "deliver_with": "deliver_answer"}, "under `secrets`"),
        ([delivery(approval=None)], {"on_secret": "hand_over", "deliver_with": "deliver_answer"}, "every time"),
    ],
)
def test_a_delivery_that_nobody_agrees_to_is_refused_at_load(
    tmp_path: Path, tools: list[Tool], answer: dict[str, str], says: str
) -> None:
    with pytest.raises(PolicyError, match=says):
        load(policies_for(tmp_path, OTHER, *tools, settings={"answer": answer}))
