"""What tests of the loop stand on: a whole gateway with small tools, one approver, and the scripted server."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import openai
import pytest

from examples.scripted_openai import Raw, Rule, Say, Script, ScriptedOpenAI, in_order
from examples.scripted_openai.script import Reply
from gateway.domain.ids import Principal
from gateway.gateway import Gateway
from gateway.keys import create_approver_key, load_approver_key
from gateway.loop import Ended, Finished
from gateway.session import Defer, Session
from tests.unit.policy.folders import MODEL_TEXT

Api = Literal["chat", "responses"]
How = Literal["sync", "async", "stream", "async stream"]
APIS: tuple[Api, ...] = ("chat", "responses")
HOWS: tuple[How, ...] = ("sync", "async", "stream", "async stream")
each_api = pytest.mark.parametrize("api", APIS)
each_way = pytest.mark.parametrize("how", HOWS)
SECRET = "correct horse battery"
TOOLS = ("look_up", "write_down", "pay", "once")
POLICY = "g, user:ana, role:support\ng, user:lea, role:lead\np, role:lead, pay, approve, allow\n" + "".join(
    f"p, role:support, {tool}, {action}, allow\n" for tool in TOOLS for action in ("see", "call")
)
HIDDEN = "hidden"  # has a contract and a function, and nobody may call it


def contract(tool: str, parameter: str, kind: str, *more: str) -> str:
    return (
        f"tool: {tool}\ndescription: {tool} one thing.\neffect: internal\nparameters:\n  type: object\n"
        f"  properties:\n    {parameter}: {{type: {kind}}}\n  required: [{parameter}]\n"
        + "".join(f"{line}\n" for line in ("risk: low", *more))
    )


class Bench:
    """Use as a context manager. `done` lists what tools really did, in order."""

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        *,
        risky: bool = False,
        change: Mapping[str, str] | None = None,
        whole: Mapping[str, str] | None = None,
        functions: Mapping[str, Callable[[list[Any]], Callable[..., Any]]] | None = None,
        observe: bool = False,
        more: Mapping[str, tuple[str, Callable[..., Any]]] | None = None,
    ) -> None:
        """`change` appends to a contract, `whole` replaces it, and `functions` makes its tool.

        `more` are other tools, by name, each a contract and a function: what it returns is also noted in `done`.
        """
        self._stack = ExitStack()
        self.folder = folder
        self.done: list[Any] = []
        policies = folder / "policies"
        (policies / "tools").mkdir(parents=True)
        self._key = folder / "lea.key"
        public = create_approver_key(self._key)
        files = {
            "model.conf": MODEL_TEXT,
            "policy.csv": POLICY,
            "settings.yaml": settings or "loop: {}\n",
            "approvers.yaml": f'approvers:\n  - {{id: lea, key: "{public}"}}\n',
            "tools/look_up.yaml": contract("look_up", "key", "string"),
            "tools/write_down.yaml": contract("write_down", "text", "string"),
            "tools/once.yaml": contract("once", "text", "string", "limits: {per_conversation: 1}"),
            "tools/pay.yaml": contract("pay", "amount", "integer", "approval: {when: always}"),
            "tools/hidden.yaml": contract(HIDDEN, "text", "string"),
        }
        if risky:
            files["tools/pay.yaml"] = files["tools/pay.yaml"].replace("risk: low", "risk: high")
        for tool, added in (change or {}).items():
            files[f"tools/{tool}.yaml"] += added
        for tool, text in (whole or {}).items():
            files[f"tools/{tool}.yaml"] = text
        for tool, (text, _) in (more or {}).items():
            files[f"tools/{tool}.yaml"] = text
            files["policy.csv"] += "".join(f"p, role:support, {tool}, {action}, allow\n" for action in ("see", "call"))
        for name, text in files.items():
            (policies / name).write_text(text)
        self.gateway = self._stack.enter_context(
            Gateway.from_policies(policies, home=folder / "home", origin="test", observe=observe)
        )
        self.gateway.declare_secret("vault", SECRET)
        self._register(functions or {})
        for tool, (_, function) in (more or {}).items():
            self.gateway.register(self._noting(function), name=tool)

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any, **arguments: Any) -> Any:
            made = function(*args, **arguments)
            self.done.append(made)
            return made

        return noting

    def _register(self, others: Mapping[str, Callable[[list[Any]], Callable[..., Any]]]) -> None:
        def look_up(key: str) -> str:
            self.done.append(("look_up", key))
            return f"value of {key}"

        def write_down(text: str) -> None:
            self.done.append(("write_down", text))

        def once(text: str) -> None:
            self.done.append(("once", text))

        def pay(amount: int) -> str:
            self.done.append(("pay", amount))
            return "paid"

        def hidden(text: str) -> None:
            self.done.append(("hidden", text))

        for tool in (look_up, write_down, once, pay, hidden):
            other = others.get(tool.__name__)
            self.gateway.register(tool if other is None else other(self.done), name=tool.__name__)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def session(self, *, defer: Defer = "answer", conversation: str = "c-1", principal: str = "ana") -> Session:
        return self.gateway.session(Principal(principal), conversation=conversation, defer=defer)

    def serve(self, *replies: Reply | Script) -> Model:
        """A scripted server whose model gives these replies in order, or follows one script."""
        script = replies[0] if isinstance(replies[0], Script) else in_order(*replies)
        return Model(self._stack.enter_context(ScriptedOpenAI(script)))

    def vote(self, session: Session, request_id: str, verdict: Literal["approve", "deny"], comment: str = "") -> None:
        """Lea, with her own key."""
        desk = session.engine.policy().desk
        view = desk.show(request_id)
        assert view is not None
        sign = load_approver_key(self._key).sign
        desk.cast(desk.ballot(request_id, verdict, voter="lea", sign_with=sign, comment=comment, shown=view.digest))

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Every record of one kind in the log, oldest first."""
        lines = [line for path in sorted((self.folder / "home" / "audit").rglob("*.jsonl"))
                 for line in path.read_bytes().splitlines()]  # fmt: skip
        found = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [record for record in found if record.get("kind") == kind]


class Model:
    """A running scripted server, and how a session runs against it with the real client."""

    def __init__(self, server: ScriptedOpenAI) -> None:
        self.server = server

    async def run(
        self, session: Session, said: str = "go", *, api: Api = "chat", how: How = "async", **more: Any
    ) -> Ended:
        """`how`: with a blocking or an awaited client, whole or streamed."""
        more = ({"stream": True} if "stream" in how else {}) | more
        given = {} if more.keys() & {"messages", "input", "paused"} else prompt(api, said)
        where = {"base_url": self.server.base_url, "api_key": self.server.api_key, "max_retries": 0}
        if not how.startswith("async"):
            with openai.OpenAI(**where) as client:
                return await session.run(client, model="scripted", **given, **more)
        async with openai.AsyncOpenAI(**where) as client:
            return await session.run(client, model="scripted", **given, **more)

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The bodies of every request; the server has checked each, so a refused one fails the test here."""
        assert [r.status for r in self.server.requests] == [200] * len(self.server.requests)
        return [dict(r.body or {}) for r in self.server.requests]


def prompt(api: Api, text: str) -> dict[str, Any]:
    said = [{"role": "user", "content": text}]
    return {"messages": said} if api == "chat" else {"input": said}


def chat_raw(message: Mapping[str, Any], finish: str | None = "stop") -> Raw:
    """A whole Chat Completions answer that holds this message."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": None} | message}
    return Raw({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def responses_raw(*output: Mapping[str, Any], **more: Any) -> Raw:
    """A whole Responses answer that holds these items."""
    body = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed"}
    return Raw(body | {"output": list(output), "error": None, "incomplete_details": None} | more)


def asked(name: str, call_id: str = "call_1", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    """One tool call of a chat message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}} | more


def function_call(name: str, call_id: str = "call_1", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    """One function call of a Responses output."""
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments} | more


def answers(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Call id -> the answer as JSON, in either API."""
    found = [(i.get("tool_call_id") or i.get("call_id"), i.get("content") or i.get("output")) for i in items
             if i.get("role") == "tool" or str(i.get("type")).endswith("call_output")]  # fmt: skip
    assert len({call_id for call_id, _ in found}) == len(found)
    return {str(call_id): json.loads(str(text)) for call_id, text in found}


def assert_goes_on(bench: Bench, api: Api, items: list[dict[str, Any]]) -> None:
    """The user's next word: the server refuses a conversation that is not valid any more."""
    given = {"messages" if api == "chat" else "input": [*items, {"role": "user", "content": "and now?"}]}
    model = bench.serve(Script([Rule(lambda _: True, Say("Fine."))]))
    assert isinstance(asyncio.run(model.run(bench.session(), api=api, **given)), Finished)


def function_of(tool: dict[str, Any]) -> dict[str, Any]:
    """The definition in a tool of either API."""
    found: dict[str, Any] = tool.get("function") or tool.get("custom") or tool
    return found


def named(tools: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The definitions in a list, by name, in its order."""
    return {function_of(tool)["name"]: function_of(tool) for tool in tools}
