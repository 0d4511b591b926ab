"""Task scope, against a model that asks for more, tools that open sessions, and whoever resumes (OWASP LLM06)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import Denied, Gateway, Parked, Principal, Scope, Session, UsageError
from gateway.domain.decision import ReasonCode
from gateway.office import Office
from tests.support import ANA, ask, gateway_with, one, open_gateway, reason, records, result, tool, vote

SETTINGS = {"loop": {"consecutive_denials": 10**6, "calls_per_conversation": 10**6, "repeats": 10**6}}
APPROVED = {"approval": {"when": "always", "approvers": 1}}


def pay(order: str, cents: int) -> int:
    return cents


def look(order: str) -> str:
    return order


def names(session: Session) -> list[str]:
    return [each["function"]["name"] for each in session.tools()]


def test_a_tool_outside_the_scope_is_neither_listed_nor_called(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(pay), tool(look)) as gateway:
        session = gateway.session(ANA, scope=Scope(["look"]))
        assert names(session) == ["look"]
        refused = one(session, "pay", order="A", cents=5)
        assert reason(refused) is ReasonCode.OUT_OF_SCOPE
        unknown = one(session, "no_such_tool", order="A", cents=5)
        assert isinstance(refused, Denied)
        assert isinstance(unknown, Denied)
        assert (refused.refusal.message, refused.refusal.suggestion) == (
            unknown.refusal.message,
            unknown.refusal.suggestion,
        )
        assert result(one(session, "look", order="A")) == "A"
        assert names(gateway.session(ANA)) == ["look", "pay"]
        assert names(gateway.session(ANA, scope=Scope([]))) == []


def test_a_bound_is_asked_of_what_is_executed(tmp_path: Path) -> None:
    def transfer(cents: int = 500) -> int:
        return cents

    spec = tool(transfer)
    spec.contract["parameters"]["properties"]["cents"]["default"] = 500
    with gateway_with(tmp_path, spec) as gateway:
        session = gateway.session(ANA, scope=Scope(where={"transfer": "args.cents <= 100"}))
        assert result(one(session, "transfer", cents=100)) == 100
        assert reason(one(session, "transfer", cents=101)) is ReasonCode.SCOPE_BOUND
        assert reason(one(session, "transfer")) is ReasonCode.SCOPE_BOUND  # the default counts


def test_a_bound_that_cannot_be_answered_denies(tmp_path: Path) -> None:
    def note(text: str = "") -> str:
        return text

    with gateway_with(tmp_path, tool(note)) as gateway:
        session = gateway.session(ANA, scope=Scope(where={"note": "args.text.size() < 5"}))
        assert reason(one(session, "note")) is ReasonCode.RULE_ERROR
        assert result(one(session, "note", text="ab")) == "ab"


def test_a_scope_grants_nothing_and_lifts_no_rule(tmp_path: Path) -> None:
    rule = {"id": "small", "require": "args.cents <= 10", "tell_model": "Too much."}
    with gateway_with(tmp_path, tool(pay, rules=[rule]), tool(look)) as gateway:
        wide = Scope(["pay", "look"], {"pay": "args.cents <= 100000"})
        assert reason(one(gateway.session(ANA, scope=wide), "pay", order="A", cents=11)) is ReasonCode.RULE
        stranger = gateway.session(Principal("eve"), scope=wide)
        assert reason(one(stranger, "pay", order="A", cents=1)) is ReasonCode.NOT_GRANTED
        assert names(stranger) == []


def test_a_parked_call_is_resumed_under_its_scope(tmp_path: Path) -> None:
    facts = {"owner": {"provider": "owner", "args": ["order"]}}
    now = {"owner": "ana"}
    with gateway_with(tmp_path, tool(pay, facts=facts, **APPROVED)) as gateway:
        gateway.register_fact("owner", lambda _, order: now["owner"])
        mine = Scope(where={"pay": "facts.owner == principal.id"})
        session = gateway.session(ANA, conversation="c", scope=mine)
        first, second = (one(session, "pay", order="A", cents=cents) for cents in (5, 6))
        assert isinstance(first, Parked)
        assert isinstance(second, Parked)
        with Office.open(tmp_path / "policies", tmp_path / "home") as office:
            view = office.desk().show(first.request_id)
            assert view is not None
            assert view.scopes == (mine.spelled,)
        vote(tmp_path, first.request_id, second.request_id)
        wider = gateway.session(ANA, conversation="c")  # resumed without it, by whoever holds the conversation
        now["owner"] = "bob"
        assert reason(wider.resume_sync(first.request_id)) is ReasonCode.SCOPE_BOUND
        now["owner"] = "ana"
        narrower = gateway.session(ANA, conversation="c", scope=Scope(where={"pay": "args.cents < 5"}))
        assert reason(narrower.resume_sync(first.request_id)) is ReasonCode.SCOPE_BOUND
        assert result(wider.resume_sync(first.request_id)) == 5
    with open_gateway(tmp_path, tool(pay)) as gateway:  # another process knows it too
        gateway.register_fact("owner", lambda _, order: "bob")
        assert reason(gateway.session(ANA, conversation="c").resume_sync(second.request_id)) is ReasonCode.SCOPE_BOUND


def test_a_call_inside_a_tool_has_the_scope_of_its_caller(tmp_path: Path) -> None:
    made: dict[str, Gateway] = {}
    said: list[ReasonCode] = []

    def helper(order: str) -> str:
        wide = made["gateway"].session(Principal("ana"), conversation="another")
        said.append(reason(one(wide, "pay", order=order, cents=1)))
        narrow = made["gateway"].session(ANA, scope=Scope(["pay"]))
        said.append(reason(one(narrow, "look", order=order)))
        return result(one(wide, "look", order=order))

    with gateway_with(tmp_path, tool(pay), tool(look), tool(helper)) as gateway:
        made["gateway"] = gateway
        assert result(one(gateway.session(ANA, scope=Scope(["helper", "look"])), "helper", order="A")) == "A"
        assert said == [ReasonCode.OUT_OF_SCOPE, ReasonCode.OUT_OF_SCOPE]


def test_a_fallback_is_in_the_scope_or_is_not_called(tmp_path: Path) -> None:
    def flaky(order: str) -> str:
        raise RuntimeError("down")

    backup = tool(look)
    with gateway_with(tmp_path, tool(flaky, execution={"fallback": "look"}), backup) as gateway:
        assert result(one(gateway.session(ANA, scope=Scope(["flaky", "look"])), "flaky", order="A")) == "A"
        without = one(gateway.session(ANA, scope=Scope(["flaky"])), "flaky", order="A")
        assert "tool_failed" in without.content  # type: ignore[union-attr]


def test_every_record_of_the_session_says_its_scope(tmp_path: Path) -> None:
    scope = Scope(["look"], {"look": "args.order == 'A\"B'"})
    with gateway_with(tmp_path, tool(pay), tool(look)) as gateway:
        session = gateway.session(ANA, scope=scope)
        one(session, "look", order='A"B')
        one(session, "look", order="C")
        one(session, "pay", order="A", cents=1)
        one(gateway.session(ANA), "look", order="A")
    found = [each["call"]["scopes"] for each in records(tmp_path) if "call" in each]
    assert found == [[json.loads(scope.spelled)]] * 4 + [[]] * 2


def test_a_wrapped_client_lists_the_scope_only(tmp_path: Path) -> None:
    from gateway.integrations.openai import govern_request

    with gateway_with(tmp_path, tool(pay), tool(look)) as gateway:
        session = gateway.session(ANA, scope=Scope(["look"]))
        policy = session.engine.policy()
        asked = {"tools": [{"type": "function", "function": {"name": name}} for name in ("pay", "look")]}
        made = govern_request("chat", asked, session.visible(policy), policy.tools, policy.requests)
        assert [each["function"]["name"] for each in made.body["tools"]] == ["look"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Scope("look"), "list of names"),
        (lambda: Scope([7]), "no name of a tool"),  # type: ignore[list-item]
        (lambda: Scope(["look\nall"]), "no name of a tool"),
        (lambda: Scope(["look"], {"pay": "true"}), "not among its tools"),
        (lambda: Scope(where={"look": True}), "text of a CEL"),  # type: ignore[dict-item]
        (lambda: Scope(where={"look": "x" * 9000}), "8192 characters"),
        (lambda: Scope(where={"look": "args.order == '\ud800'"}), "cannot"),
        (lambda: Scope(["lok"]), "no contract"),
        (lambda: Scope(where={"look": "args.oder == 'A'"}), "did you mean `args.order`"),
        (lambda: Scope(where={"look": "facts.owner == 'A'"}), "does not exist"),
        (lambda: Scope(where={"look": "args.order"}), "yes or no"),
        (lambda: Scope(where={"look": "args.order =="}), "not a rule"),
        (lambda: {"tools": ["look"]}, "narrowed by a Scope"),
    ],
    ids=range(13),
)
def test_a_mistaken_scope_opens_no_session(tmp_path: Path, made: Any, said: str) -> None:
    with gateway_with(tmp_path, tool(look)) as gateway, pytest.raises(UsageError, match=said):
        gateway.session(ANA, scope=made())


BOUNDS = st.sampled_from(
    ["args.cents <= 5", "args.cents > 5", "true", "false", "args.order == 'A'", "session.calls < 0"]
)
SCOPES = st.builds(
    lambda tools, where: Scope(tools, {name: bound for name, bound in where.items() if tools is None or name in tools}),
    st.none() | st.lists(st.sampled_from(["pay", "held", "closed"]), unique=True),
    st.dictionaries(st.sampled_from(["pay", "held", "closed"]), BOUNDS),
)
CALLS = st.tuples(st.sampled_from(["pay", "held", "closed"]), st.sampled_from("AB"), st.integers(0, 10))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One tool that is free, one that needs an approval, one that a rule closes to most."""
    rule = {"id": "few", "require": "args.cents < 3", "tell_model": "No."}
    tools = tool(pay), tool(pay, name="held", **APPROVED), tool(pay, name="closed", rules=[rule])
    busy = {"loop": {**SETTINGS["loop"], "pending_requests": 10**6}}
    with gateway_with(tmp_path_factory.mktemp("scope"), *tools, settings=busy) as gateway:
        yield gateway


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scope=SCOPES, call=CALLS)
def test_what_a_scope_allows_is_allowed_without_it(three: Gateway, scope: Scope, call: tuple[str, str, int]) -> None:
    name, order, cents = call
    narrow, wide = three.session(ANA, scope=scope), three.session(ANA)
    assert set(names(narrow)) <= set(names(wide))
    asked = ask(name, order=order, cents=cents)
    within, without = (session.judge_sync([asked])[0] for session in (narrow, wide))
    assert isinstance(within, Denied | type(without))
    if isinstance(without, Denied):
        assert isinstance(within, Denied)
    if name not in names(narrow):
        assert reason(within) is ReasonCode.OUT_OF_SCOPE


def test_a_bound_of_one_version_holds_for_the_others(tmp_path: Path) -> None:
    """Else the model would take the version that the host did not think of, or that came after it."""

    def pay_2(order: str, cents: int) -> int:
        return cents

    def pay_3(order: str, euros: int) -> int:
        return euros

    versions = (
        tool(pay, version="1"),
        tool(pay_2, version="2", replaces="pay"),
        tool(pay_3, version="3", replaces="pay_2"),
    )
    with gateway_with(tmp_path, *versions, settings=SETTINGS) as gateway:
        for bounded in ("pay", "pay_2"):
            session = gateway.session(ANA, scope=Scope(where={bounded: "args.cents <= 100"}))
            for version in ("pay", "pay_2"):
                assert result(one(session, version, order="A", cents=100)) == 100
                assert reason(one(session, version, order="A", cents=101)) is ReasonCode.SCOPE_BOUND
            assert reason(one(session, "pay_3", order="A", euros=1)) is ReasonCode.RULE_ERROR
        own = {"pay": "args.cents <= 100", "pay_2": "args.cents <= 200", "pay_3": "args.euros <= 1"}
        session = gateway.session(ANA, scope=Scope(where=own))
        assert result(one(session, "pay_2", order="A", cents=200)) == 200
        assert result(one(session, "pay_3", order="A", euros=1)) == 1
        assert reason(one(session, "pay", order="A", cents=101)) is ReasonCode.SCOPE_BOUND
