"""Calls a minute: exact over any 60 seconds, per principal and tool, and by a clock that nobody can set."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.call import AuthorizedCall, CallContext, ContractRef, LimitedCall, ParsedCall
from gateway.domain.decision import Provenance, ReasonCode, Refusal
from gateway.domain.ids import Principal
from gateway.domain.instant import NS, Instant
from gateway.limit.counters import MINUTE_NS, Counters
from gateway.limit.stage import Limit
from gateway.policy.documents import Limits, LoopLimits

SOURCE = Provenance("policy.csv", 1)
MANY = 1_000_000
NOW = 1000 * NS


def call(
    at_ns: int, *, tool: str = "pay", who: str = "ana", n: int = 0, request_id: str | None = None
) -> AuthorizedCall:
    ctx = CallContext("call_1", "1", Principal(who), None, "c", "d", Instant(0, 0, "b"), at_ns, request_id=request_id)
    parsed = ParsedCall(ctx, tool, {"n": n}, True, b"{}", "")
    return AuthorizedCall(ctx, parsed, ContractRef(tool, "1", "d", "low", "none", SOURCE), SOURCE)


def step(per_minute: int | None, counters: Counters | None = None, **loop: int) -> Limit:
    limits = Limits(per_minute=per_minute)
    wide = {"calls_per_conversation": MANY, "repeats": MANY} | loop
    return Limit(LoopLimits(**wide), {"pay": limits, "look": limits}, counters or Counters())


def passes(limit: Limit, asked: AuthorizedCall) -> bool:
    found = limit(asked)
    if isinstance(found, Refusal):
        assert found.reason is ReasonCode.RATE_LIMITED
        return False
    return isinstance(found, LimitedCall)


@given(
    st.integers(min_value=1, max_value=5),
    st.lists(st.integers(min_value=0, max_value=30 * NS), max_size=40),
)
def test_never_more_in_any_minute_and_never_fewer_than_allowed(most: int, pauses: list[int]) -> None:
    limit, now = step(most), NOW
    passed: list[int] = []
    for pause in pauses:
        now += pause
        recent = [each for each in passed if now - each < MINUTE_NS]
        assert passes(limit, call(now)) == (len(recent) < most)
        if len(recent) < most:
            passed.append(now)


def test_a_place_is_free_again_after_sixty_seconds_and_not_before() -> None:
    limit = step(1)
    assert passes(limit, call(NOW))
    assert not passes(limit, call(NOW + MINUTE_NS - 1))
    assert passes(limit, call(NOW + MINUTE_NS))


def test_one_principals_calls_of_one_tool_are_no_others() -> None:
    limit = step(1)
    assert passes(limit, call(NOW))
    assert passes(limit, call(NOW, who="bob"))
    assert passes(limit, call(NOW, tool="look"))
    assert not passes(limit, call(NOW))


def test_a_refused_call_is_charged_nothing() -> None:
    limit = step(1, calls_per_conversation=2, repeats=1)
    assert passes(limit, call(NOW))
    assert not passes(limit, call(NOW, n=1))
    assert passes(limit, call(NOW + MINUTE_NS, n=1))


def test_a_new_policy_version_forgets_no_call() -> None:
    counters = Counters()
    assert passes(step(1, counters), call(NOW))
    assert not passes(step(1, counters), call(NOW))


def test_a_redeemed_request_is_not_charged_again() -> None:
    limit = step(1)
    assert passes(limit, call(NOW, request_id="req_1"))
    assert passes(limit, call(NOW))
    assert passes(limit, call(NOW, request_id="req_1"))


@pytest.mark.parametrize("per_minute", [None, 5])
def test_what_was_charged_is_named(per_minute: int | None) -> None:
    found = step(per_minute)(call(NOW))
    assert isinstance(found, LimitedCall)
    assert found.charged == (("conversation",) if per_minute is None else ("conversation", "minute"))


def test_counting_starts_no_thread() -> None:
    before = threading.enumerate()
    assert passes(step(5), call(NOW))
    assert threading.enumerate() == before
