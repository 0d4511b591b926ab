"""What is tried against step 2: strange identities, forbidden tools, a Casbin that breaks (C018, C027-C030, C036)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gateway.authorize.casbin_oracle import CasbinOracle, checked_grants
from gateway.authorize.grants import DeniedByRule, Granted, Grants, NotGranted
from gateway.authorize.stage import Authorize
from gateway.domain.call import AuthorizedCall, CallContext, ContractRef, ParsedCall
from gateway.domain.decision import Provenance, ReasonCode, Refusal, public_code
from gateway.domain.errors import PolicyError
from gateway.domain.ids import Principal
from gateway.domain.instant import Instant
from gateway.policy.casbin_files import AccessPolicy, read_policy
from tests.unit.policy.folders import MODEL_TEXT

ROWS = """
g, user:ana, role:support
p, role:support, look, see, allow
p, role:support, look, call, allow
p, role:support, back, call, allow
p, role:support, show, see, allow
p, role:support, pay, see, allow
p, role:support, pay, call, allow
p, user:ana, pay, call, deny
p, role:admin, wipe, see, allow
p, role:admin, wipe, call, allow
"""
TOOLS = frozenset({"look", "back", "show", "pay", "wipe", "bare"})


def access(rows: str = ROWS) -> AccessPolicy:
    return read_policy(rows.encode(), MODEL_TEXT, TOOLS)


def stage() -> Authorize:
    refs = {t: ContractRef(t, "1", "sha256:0", "low", "none", Provenance(f"tools/{t}.yaml", 1)) for t in TOOLS}
    return Authorize(checked_grants(access()), refs)


def ask(tool: str, who: str = "ana", *, fallback: bool = False) -> AuthorizedCall | Refusal:
    ctx = CallContext(
        "call_1", "c1", Principal(who), None, "conv", "sha256:0", Instant(0, 0, "b"), 0, fallback=fallback
    )
    return stage()(ParsedCall(ctx, tool, {}, True, b"{}", "d"))


def refused(outcome: AuthorizedCall | Refusal) -> Refusal:
    assert isinstance(outcome, Refusal)
    return outcome


def test_a_granted_call_names_its_contract_and_row() -> None:
    call = ask("look")
    assert isinstance(call, AuthorizedCall)
    assert call.contract.name == "look"
    assert call.grant == Provenance("policy.csv", 4, "role:support")


@pytest.mark.parametrize(
    ("tool", "who", "reason"),
    [
        ("invented", "ana", ReasonCode.UNKNOWN_TOOL),
        ("Look", "ana", ReasonCode.UNKNOWN_TOOL),
        ("look ", "ana", ReasonCode.UNKNOWN_TOOL),
        ("l\u043eok", "ana", ReasonCode.UNKNOWN_TOOL),
        ("wipe", "ana", ReasonCode.NOT_GRANTED),
        ("bare", "ana", ReasonCode.NOT_GRANTED),
        ("back", "ana", ReasonCode.NOT_GRANTED),
        ("show", "ana", ReasonCode.NOT_GRANTED),
        ("look", "stranger", ReasonCode.NOT_GRANTED),
        ("pay", "ana", ReasonCode.DENY_RULE),
    ],
)
def test_c018_unknown_and_forbidden_read_alike_and_are_recorded_apart(tool: str, who: str, reason: ReasonCode) -> None:
    refusal = refused(ask(tool, who))
    invented = refused(ask("no_such_tool_at_all"))
    assert refusal.reason is reason
    assert refusal.detail
    assert (refusal.message, refusal.suggestion, refusal.facts) == (invented.message, invented.suggestion, {})
    assert public_code(refusal.reason) == public_code(invented.reason)


def test_c036_a_deny_row_wins_and_is_named() -> None:
    assert refused(ask("pay")).rule == Provenance("policy.csv", 9, "user:ana")


def test_call_without_see_is_reachable_only_as_a_fallback() -> None:
    assert refused(ask("back")).detail == "no row grants see"
    assert isinstance(ask("back", fallback=True), AuthorizedCall)
    assert isinstance(ask("show", fallback=True), Refusal)
    assert isinstance(ask("pay", fallback=True), Refusal)


@pytest.mark.parametrize("name", ["role:support", "support", "role:admin", "admin", "user:ana", "Ana", "ana\u200b"])
def test_c027_nobody_gets_rights_by_being_called_like_a_role_or_a_person(name: str) -> None:
    grants = checked_grants(access())
    for tool in TOOLS:
        assert grants.decide(name, tool, "call") == NotGranted()
    assert grants.visible(name) == grants.roles_of(name) == ()


class Sly(str):
    """A string that claims to be another."""

    def __hash__(self) -> int:
        return hash("ana")

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize(
    "subject", [None, True, False, 0, ["ana"], {"ana": 1}, b"ana", "", object(), Sly("x"), float("nan")]
)
def test_c028_a_subject_that_is_no_string_is_nobody(subject: object) -> None:
    grants = checked_grants(access())
    assert grants.decide(subject, "look", "call") == NotGranted()
    assert grants.visible(subject) == grants.roles_of(subject) == ()
    assert grants.decide("ana", subject, "call") == NotGranted()


@pytest.mark.parametrize("error", [SystemError("error return without exception set"), RuntimeError("x"), KeyError("y")])
def test_c029_a_casbin_that_raises_is_a_refusal(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(self: CasbinOracle, *question: str) -> bool:
        raise error

    monkeypatch.setattr(CasbinOracle, "allows", broken)
    with pytest.raises(PolicyError, match=type(error).__name__) as caught:
        checked_grants(access())
    assert caught.value.file == "policy.csv"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("answer", [lambda *_: True, lambda *_: False, lambda *_: "yes"])
def test_c029_a_casbin_that_disagrees_is_a_refusal(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr("casbin.Enforcer.enforce", answer)
    with pytest.raises(PolicyError, match="disagree"):
        checked_grants(access())


def test_c030_threads_and_swaps_of_the_policy_never_give_a_wrong_answer() -> None:
    """One name refers to the grants in force, and is swapped whole while others ask."""
    without = ROWS.replace("p, role:support, look, call, allow\n", "")
    versions = {True: checked_grants(access()), False: checked_grants(access(without))}
    in_force: list[tuple[bool, Grants]] = [(True, versions[True])]

    def asking() -> int:
        wrong = 0
        for _ in range(25_000):
            allowed, grants = in_force[0]
            wrong += isinstance(grants.decide("ana", "look", "call"), Granted) is not allowed
            wrong += not isinstance(grants.decide("ana", "pay", "call"), DeniedByRule)
            wrong += isinstance(grants.decide("ana", "wipe", "call"), Granted)
        return wrong

    def swapping() -> int:
        for turn in range(25_000):
            in_force[0] = (bool(turn % 2), versions[bool(turn % 2)])
        return 0

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(asking) for _ in range(4)] + [pool.submit(swapping)]
        assert [one.result() for one in work] == [0] * 5
