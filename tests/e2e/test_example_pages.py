"""The customer-support pages are what happens: their decision tables, and their conversations in both APIs."""

from __future__ import annotations

import asyncio
import json
import runpy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

import gateway as toolgate
from examples.scripted_openai import Call, CallTools, Rule, Say, Script, ScriptedOpenAI
from gateway import Finished, Gateway, Principal, Session, Stopped
from gateway.keys import create_approver_key, load_approver_key
from gateway.policy.loader import load
from gateway.policy_tools.lint import lint
from tests.architecture.source import ROOT
from tests.e2e.pages import blocks
from tests.unit.loop_bench import Api, How, answers, each_api, each_way

PAGES = sorted(path for path in (ROOT / "docs" / "examples").glob("*.md") if path.name != "README.md")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


class Desk:
    """One page's deployment, opened."""

    def __init__(self, page: Path, folder: Path) -> None:
        for block in blocks(page):
            path = folder / block.options["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        policies, self.key = folder / "policies", folder / "lea.key"
        shutil.copy(ROOT / "gateway" / "starter_policies" / "model.conf", policies)
        public = create_approver_key(self.key)
        (policies / "approvers.yaml").write_text(f'approvers:\n  - {{id: lea, key: "{public}"}}\n')
        (policies / "settings.yaml").write_text("loop: {}\n")
        self.folder = folder
        self.gateway = Gateway.from_policies(policies, home=folder / "home", origin="page")
        runpy.run_path(str(folder / "desk.py"))["open_desk"](self.gateway)

    def session(self, name: str) -> Session:
        return self.gateway.session(Principal("cara"), conversation=name)

    def approve(self, session: Session, request_id: str) -> None:
        desk = session.engine.policy().desk
        view = desk.show(request_id)
        assert view is not None
        sign = load_approver_key(self.key).sign
        desk.cast(desk.ballot(request_id, "approve", voter="lea", sign_with=sign, comment="", shown=view.digest))


@contextmanager
def opened(page: Path, folder: Path) -> Iterator[Desk]:
    desk = Desk(page, folder)
    with desk.gateway:
        yield desk


def decision(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return str(answer["error"]["code"])
    return next((kind for kind in ("pending", "draft") if kind in answer), "released")


@each_page
def test_the_decision_table_of_a_page_is_what_is_decided(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path) as desk:
        rows = (desk.folder / "decisions.csv").read_text().splitlines()[1:]
        assert len(rows) >= 6
        for number, row in enumerate(rows):
            tool, rest = row.split(", ", 1)
            arguments, expected = rest.rsplit(", ", 1)
            call = {"id": f"c{number}", "type": "function"}
            call |= {"function": {"name": tool, "arguments": arguments.replace(";", ",")}}
            [answer] = desk.session(f"row-{number}").dispatch_sync([call])
            assert decision(json.loads(answer["content"])) == expected, row


@each_page
def test_the_policy_of_a_page_leaves_lint_nothing_to_say(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path) as desk:
        found = [(each.code, each.what) for each in lint(load(desk.folder / "policies"))]
    # Handing over acts on the conversation, and no parameter says which.
    assert [code for code, what in found if not what.startswith("hand_over acts")] == []


@each_way
@each_api
@each_page
def test_the_conversation_of_a_page_is_what_happens(page: Path, tmp_path: Path, api: Api, how: How) -> None:
    with opened(page, tmp_path) as desk:
        steps = yaml.safe_load((desk.folder / "conversation.yaml").read_text())
        Conversation(desk, api, how).follow(steps)


class Conversation:
    """The steps of a page, one after the other, in one session."""

    def __init__(self, desk: Desk, api: Api, how: How) -> None:
        self.desk, self.api, self.how = desk, api, how
        self.session = desk.session("chat-1")
        self.items: list[dict[str, Any]] = []
        self.pending: tuple[str, ...] = ()
        self.draft = ""

    def follow(self, steps: list[dict[str, Any]]) -> None:
        while steps:
            first, *steps = steps
            if "user" in first:
                self.items.append({"role": "user", "content": str(first["user"])})
            else:
                self.decided(first)
            rest = next((i for i, step in enumerate(steps) if step.keys() & {"user", "approve", "confirm"}), len(steps))
            if rest:
                self.turns(steps[:rest])
            steps = steps[rest:]

    def decided(self, step: dict[str, Any]) -> None:
        """A person acts outside the conversation; the result joins it as a message of its own, but for a draft."""
        if step == {"confirm": "draft"}:
            self.session.confirm(self.draft)
            return
        [request_id] = self.pending
        if "approve" in step:
            self.desk.approve(self.session, request_id)
        else:
            self.session.confirm(request_id)
        late = self.session.late_message(self.session.resume_sync(request_id))
        self.items.append(late)
        answer = json.loads(late["content"].partition("instructions): ")[2])
        assert decision(answer) == next(iter(step.values()))["expect"]

    def turns(self, steps: list[dict[str, Any]]) -> None:
        """What the model does until it is the user's turn, and what became of it."""
        replies = [
            Say(step["says"])
            if "says" in step
            else CallTools(tuple(Call(each["tool"], self.filled(each["args"])) for each in step["model"]))
            for step in steps
            if "stops" not in step
        ]
        before = answers(self.items)
        script = Script([Rule(lambda c: c.rounds < len(replies), lambda c: replies[c.rounds])])
        with ScriptedOpenAI(script) as server:
            ended = asyncio.run(self.run(server))
        if "stops" in steps[-1]:
            assert isinstance(ended, Stopped)
            assert ended.reason == steps[-1]["stops"]
        else:
            assert isinstance(ended, Finished)
            assert ended.text == steps[-1]["says"]
        self.items, self.pending = ended.messages, ended.pending
        self.draft = next(iter(ended.pending), self.draft)
        made = [answer for call_id, answer in answers(self.items).items() if call_id not in before]
        asked = [each for step in steps for each in step.get("model", ())]
        assert [decision(answer) for answer in made] == [each["expect"] for each in asked]
        for answer, each in zip(made, asked, strict=True):
            assert each.get("tells", "") in json.dumps(answer), each

    def filled(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`DRAFT` stands for the id that the model has read."""
        return {name: self.draft if value == "DRAFT" else value for name, value in arguments.items()}

    async def run(self, server: ScriptedOpenAI) -> Any:
        where: dict[str, Any] = {"base_url": server.base_url, "api_key": server.api_key, "max_retries": 0}
        request = {"model": "scripted", "messages" if self.api == "chat" else "input": self.items}
        if "stream" in self.how:
            request["stream"] = True
        if self.how in ("sync", "stream"):
            with openai.OpenAI(**where) as client:
                return await self.session.run(toolgate.openai(client, self.session), **request)
        async with openai.AsyncOpenAI(**where) as awaited:
            return await self.session.run(awaited, **request)
