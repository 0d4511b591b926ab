"""Step 0: what a thrown switch, a run of denials and a full house do to the next call."""

from __future__ import annotations

import pytest

from gateway.admit import COALESCED, DENIAL_COOLDOWN_NS, MAX_CONVERSATIONS, Admit, Breaker
from gateway.domain.call import CallContext, RawCall
from gateway.domain.decision import ReasonCode, Step
from gateway.domain.errors import StateUnavailable
from gateway.domain.ids import Principal
from gateway.domain.instant import NS
from tests.fakes.clock import FakeClock

MOST = 3


class Switch:
    """A kill switch that says what the test wrote on it."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.tools: dict[str, str] = {}
        self.applied: str | None = None
        self.broken = False

    def thrown(self, principal: str) -> str | None:
        if self.broken:
            raise StateUnavailable("the database is gone")
        return self.why

    def off(self, tool: str) -> str | None:
        return self.tools.get(tool)


class House:
    def __init__(self, concurrent_calls: int = 2, depth: int = 1) -> None:
        self.clock = FakeClock()
        self.switch = Switch()
        self.breaker = Breaker()
        self.breaker.most = MOST
        self.admit = Admit(self.switch, self.breaker, concurrent_calls=concurrent_calls, depth=depth)

    def call(
        self,
        tool: object = "t",
        *,
        who: str = "ana",
        conversation: str = "c",
        depth: int = 0,
        request: str | None = None,
    ) -> RawCall:
        ctx = CallContext(
            "call_1",
            "p1",
            Principal(who),
            None,
            conversation,
            "policy",
            self.clock.now(),
            self.clock.monotonic_ns(),
            depth=depth,
            request_id=request,
        )
        return RawCall(ctx, tool, b"{}")

    def reason(self, raw: RawCall) -> ReasonCode | None:
        refusal = self.admit(raw)
        if refusal is None:
            self.admit.leave(raw.ctx)
            return None
        assert refusal.step is Step.ADMIT
        return refusal.reason

    def deny(self, times: int = 1, *, why: ReasonCode = ReasonCode.SCHEMA, conversation: str = "c") -> list[int | None]:
        return [self.admit.denied(self.call(conversation=conversation).ctx, why) for _ in range(times)]


@pytest.fixture
def house() -> House:
    return House()


def test_a_thrown_switch_stops_even_a_redeemed_and_a_nested_call(house: House) -> None:
    house.switch.why = "drill"
    for raw in (house.call(), house.call(request="req_1"), house.call(depth=1)):
        assert house.reason(raw) is ReasonCode.KILL_SWITCH
    assert house.admit.stopped(house.call().ctx) is not None
    house.switch.why = None
    assert house.reason(house.call()) is None
    assert house.admit.stopped(house.call().ctx) is None


def test_a_switch_that_cannot_be_read_denies(house: House) -> None:
    house.switch.broken = True
    assert house.reason(house.call()) is ReasonCode.STATE_UNAVAILABLE


def test_a_tool_that_is_switched_off_stops_no_other(house: House) -> None:
    house.switch.tools["t"] = "drill"
    refusal = house.admit.switched_off("t")
    assert refusal is not None
    assert refusal.reason is ReasonCode.TOOL_OFF
    assert house.admit.switched_off("other") is None


def test_a_process_behind_the_applied_policy_refuses(house: House) -> None:
    house.switch.applied = "policy"
    assert house.reason(house.call()) is None
    house.switch.applied = "a newer one"
    for raw in (house.call(), house.call(request="req_1"), house.call(depth=1)):
        assert house.reason(raw) is ReasonCode.POLICY_STALE


def test_depth_is_capped(house: House) -> None:
    assert house.reason(house.call(depth=1)) is None
    assert house.reason(house.call(depth=2)) is ReasonCode.DEPTH_EXCEEDED


def test_places_are_counted_and_given_back(house: House) -> None:
    first, second, third = (house.call() for _ in range(3))
    assert house.admit(first) is None
    assert house.admit(second) is None
    assert house.reason(third) is ReasonCode.OVERLOADED
    assert house.reason(house.call(depth=1)) is None  # it runs in a place that is taken already
    assert house.reason(house.call(request="req_1")) is None  # it was promised one
    house.admit.leave(first.ctx)
    assert house.reason(third) is None


def test_a_run_of_denials_opens_the_breaker_of_that_conversation_alone(house: House) -> None:
    house.deny(MOST - 1)
    assert house.reason(house.call()) is None
    house.deny()
    assert house.reason(house.call()) is ReasonCode.TOO_MANY_DENIALS
    assert house.reason(house.call(conversation="other")) is None
    assert house.reason(house.call(who="bob")) is None
    assert house.reason(house.call(request="req_1")) is None  # a person has agreed to this one


def test_a_call_that_ran_ends_the_run(house: House) -> None:
    house.deny(MOST - 1)
    house.admit.allowed(house.call().ctx)
    house.deny(MOST - 1)
    assert house.reason(house.call()) is None


def test_cancellations_are_nobodys_fault(house: House) -> None:
    assert house.deny(MOST * 2, why=ReasonCode.CANCELLED) == [0] * (MOST * 2)
    assert house.reason(house.call()) is None


def test_after_the_cool_down_one_call_may_try(house: House) -> None:
    house.deny(MOST)
    house.clock.advance(DENIAL_COOLDOWN_NS / NS - 0.001)
    assert house.reason(house.call()) is ReasonCode.TOO_MANY_DENIALS
    house.clock.advance(0.001)
    assert house.reason(house.call()) is None
    assert house.reason(house.call()) is ReasonCode.TOO_MANY_DENIALS  # the second has to wait for the first
    house.deny()  # which was denied
    assert house.reason(house.call()) is ReasonCode.TOO_MANY_DENIALS
    house.clock.advance(DENIAL_COOLDOWN_NS / NS)
    assert house.reason(house.call()) is None
    house.admit.allowed(house.call().ctx)  # and now it ran
    assert house.reason(house.call()) is None


@pytest.mark.parametrize("floods", [[1], [7], [COALESCED], [COALESCED + 1], [250], [40, 70, 5], [99, 1, 1, 200]])
def test_every_denial_of_an_open_breaker_is_counted_once(house: House, floods: list[int]) -> None:
    recorded = 0
    for flood in floods:  # each ends with a call that ran
        house.deny(MOST)
        for counted in house.deny(flood, why=ReasonCode.TOO_MANY_DENIALS):
            recorded += 0 if counted is None else 1 + counted
        house.admit.allowed(house.call().ctx)
        assert house.reason(house.call()) is None
    left = sum(count for _, _, count in house.breaker.drain())
    assert recorded + left == sum(floods)
    assert house.breaker.drain() == []


def test_a_flood_makes_few_records(house: House) -> None:
    house.deny(MOST)
    made = [each for each in house.deny(10 * COALESCED, why=ReasonCode.TOO_MANY_DENIALS) if each is not None]
    assert len(made) == 10


def test_memory_is_bounded() -> None:
    house = House()
    for number in range(MAX_CONVERSATIONS + 10):
        house.deny(MOST, conversation=f"c{number}")
    assert len(house.breaker._streaks) == MAX_CONVERSATIONS
    assert house.reason(house.call(conversation="c0")) is None  # the longest idle one was forgotten
    assert house.reason(house.call(conversation=f"c{MAX_CONVERSATIONS}")) is ReasonCode.TOO_MANY_DENIALS


def test_nothing_is_left_to_record_of_denials_that_have_records(house: House) -> None:
    house.deny(MOST)
    assert house.breaker.drain() == []
