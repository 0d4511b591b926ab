"""The shipped policies over the real support desk, run to the end by `session.run` in both APIs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from examples.scripted_openai import Call, CallTools, Conversation, Rule, Say, Script, ScriptedOpenAI, call
from examples.support_desk import config, tools
from examples.support_desk.business import Shop
from examples.support_desk.facts import order_fact
from examples.support_desk.services import services
from gateway import FactContext, Finished, Gateway, Paused, Principal, Session
from gateway.keys import create_approver_key, load_approver_key
from tests.architecture.source import ROOT

CUSTOMER = Principal("cust-1001")
REFUND = {"order_id": "A-1003", "amount_cents": 25_000, "reason": "damaged"}


def order(_: FactContext, order_id: str) -> dict[str, object]:
    return order_fact("", order_id)


class Desk:
    """One home of gateway and shop; `open` starts a gateway on it, as a process would after a restart."""

    def __init__(self, folder: Path, shop: Shop) -> None:
        self.folder = folder
        self.shop = shop
        self.key = folder / "max.key"
        shutil.copytree(ROOT / "policies", folder / "policies")
        public = create_approver_key(self.key)
        (folder / "policies" / "approvers.yaml").write_text(f'approvers:\n  - {{id: max, key: "{public}"}}\n')
        (folder / "desk" / "reports").mkdir(parents=True, exist_ok=True)

    def open(self) -> Gateway:
        roots = {"reports": self.folder / "desk" / "reports"}
        gateway = Gateway.from_policies(self.folder / "policies", home=self.folder / "home", origin="e2e", roots=roots)
        for name in ("get_order_status", "search_orders", "initiate_refund"):
            gateway.register(getattr(tools, name))
        gateway.register_fact("order", order)
        return gateway

    def session(self, gateway: Gateway) -> Session:
        return gateway.session(Principal("ana"), conversation="c-1", on_behalf_of=CUSTOMER, defer="pause")

    def approve(self, session: Session, request_id: str) -> None:
        desk = session.engine.policy().desk
        view = desk.show(request_id)
        assert view is not None
        sign = load_approver_key(self.key).sign
        desk.cast(desk.ballot(request_id, "approve", voter="max", sign_with=sign, shown=view.digest))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with services(tmp_path / "desk"):
        yield Desk(tmp_path, Shop(config.database(tmp_path / "desk")))


def newest(conversation: Conversation) -> CallTools:
    """A later round uses an earlier result."""
    found = conversation.result("search_orders")
    assert isinstance(found, dict)
    orders = [each["id"] for each in found["untrusted_result"]["orders"]]
    return CallTools((Call("get_order_status", {"order_id": orders[0]}), Call("initiate_refund", REFUND)))


SCRIPT = Script(
    [
        Rule(lambda c: c.rounds == 0, call("search_orders", customer_id="cust-1001", status=None, limit=None)),
        Rule(lambda c: c.rounds == 1, newest),
        Rule(lambda c: c.rounds == 2, Say("Refunded.")),
    ]
)


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_large_refund_waits_for_a_person_and_a_restart(desk: Desk, api: str, sync: bool) -> None:
    asked = {"messages" if api == "chat" else "input": [{"role": "user", "content": "Refund my desk."}]}
    with ScriptedOpenAI(SCRIPT) as server:

        def run(session: Session, **what: Any) -> object:
            """With a client of its own: an async one belongs to one event loop."""
            made: Any = openai.OpenAI if sync else openai.AsyncOpenAI
            client = made(base_url=server.base_url, api_key=server.api_key)
            return asyncio.run(session.run(client, model="scripted", **what))

        with desk.open() as gateway:
            paused = run(desk.session(gateway), **asked)
            assert isinstance(paused, Paused)
            assert [waiting.tool for waiting in paused.requests] == ["initiate_refund"]
            assert len(server.requests) == 2
            text = paused.dumps()
        assert desk.shop.order("A-1003").refunded_cents == 0
        with desk.open() as gateway:
            session = desk.session(gateway)
            desk.approve(session, paused.requests[0].request_id)
            ended = run(session, paused=Paused.loads(text))
        assert isinstance(ended, Finished)
        assert (ended.text, ended.turns, ended.calls) == ("Refunded.", 3, 3)
        assert desk.shop.order("A-1003").refunded_cents == 25_000
        assert [request.status for request in server.requests] == [200, 200, 200]
