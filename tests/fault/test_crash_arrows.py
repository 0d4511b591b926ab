"""I5: SIGKILL at every arrow of one call, and what a fresh process finds (C073, C130).

Claim (database) -> intent (log) -> execute -> outcome (log) -> done (database). Whatever the moment: never a second
effect, and never a state that the log does not explain; `unknown` is an explanation, and it goes on holding.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.crashing import IN_TOOL, PLACES
from tests.fault.nursery import Found, Nursery, deployment, settle_all

# What the log and the database must say once a process has started again: (intent, state of what was claimed).
ENDS: dict[str, tuple[bool, str]] = {
    "before_claim": (False, "pending"),
    "marked_not_claimed": (False, "spent"),
    "claimed": (False, "burnt"),
    "intent_not_synced": (True, "unknown"),  # a kill loses no page cache, so the record is there
    "intended": (True, "unknown"),
    "effect_begun": (True, "unknown"),
    "effect_done": (True, "unknown"),
    "outcome_not_synced": (True, "done"),
    "outcome_kept": (True, "done"),
    "done_not_committed": (True, "done"),
    "done": (True, "done"),
}
TOOK_EFFECT = ("effect_done", "outcome_not_synced", "outcome_kept", "done_not_committed", "done")
ARROWS = ("before_claim", "claimed", "intended", "effect_done", "outcome_kept", "done")
"""Before the claim; claim | intent; intent | execute; execute | outcome; outcome | done; after. The rest lie within."""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = deployment(tmp_path)
    yield made
    made.close()


def _without_a_grant(nursery: Nursery, place: str, kills: int) -> None:
    base = nursery.base
    orders = [f"A-{number}" for number in range(kills)]
    for number, order in enumerate(orders):
        nursery.kill_at(place, {"do": "refund", "order": order, "reference": order, "awaited": number % 2 == 1})
    again = nursery.do({"do": "probe", "orders": orders, "tag": "again", "conversation": "c-2"})["again"]
    found = Found(base)
    found.explained()
    intent, end = ENDS[place]
    for order, said in zip(orders, again, strict=True):
        call = found.call_for(order)
        assert (call is not None) == intent
        assert found.refunds[order] == (place in TOOK_EFFECT)
        assert call is None or call.unfinished == (end == "unknown")
        # C130: who asks again, under a new id and in another conversation, is held by the order until it is settled
        assert said == ["denied", "effect_held"] if end == "unknown" else said[0] == "released", said
    if end == "unknown":
        settle_all(base, found)
        settled = nursery.do({"do": "probe", "orders": orders, "tag": "settled"})["again"]
        assert {each[0] for each in settled} == {"released"}
        Found(base).explained()


def _with_a_grant(nursery: Nursery, place: str, kills: int) -> None:
    base = nursery.base
    orders = [f"A-{number}" for number in range(kills)]
    requests = nursery.do({"do": "park", "orders": orders})
    for number, request in enumerate(requests):
        nursery.kill_at(place, {"do": "resume", "request": request, "awaited": number % 2 == 1})
    nursery.do({"do": "probe"})  # a fresh process starts: the log explains what it finds
    found = Found(base)
    found.explained()
    intent, end = ENDS[place]
    for order, request in zip(orders, requests, strict=True):
        assert (found.call_for(order) is not None) == intent
        assert found.request_state(request) == end
        assert found.refunds[order] == (place in TOOK_EFFECT)
    said = nursery.do({"do": "probe", "requests": requests, "orders": orders, "tag": "again"})
    for resumed, again in zip(said["resumed"], said["again"], strict=True):
        if end == "pending":  # nothing was claimed, so the grant is still good, once
            assert resumed[0] == "released"
        elif place == "done":  # a spent id returns its verdict
            assert resumed == ["released", '{"untrusted_result":{"refunded":500}}']
        else:
            assert resumed == ["denied", "grant_spent"]
        assert again == ["denied", "effect_held"] if end == "unknown" else again[0] == "released", again
    after = Found(base)
    after.explained()
    for order in orders:
        assert after.refunds[order] == (place in TOOK_EFFECT or end == "pending")


def test_every_place_is_known() -> None:
    assert set(ENDS) == {*PLACES, *IN_TOOL}


@pytest.mark.parametrize("place", [each for each in ENDS if each != "marked_not_claimed"])  # only a grant is marked
def test_c073_c130_killed_at(nursery: Nursery, place: str) -> None:
    _without_a_grant(nursery, place, 20 if place in ARROWS else 4)


@pytest.mark.parametrize("place", ENDS)
def test_c073_killed_with_a_grant_at(nursery: Nursery, place: str) -> None:
    _with_a_grant(nursery, place, 20 if place == "marked_not_claimed" else 6)


@pytest.mark.soak
@pytest.mark.parametrize("place", [each for each in ENDS if each != "marked_not_claimed"])
def test_soak_killed_at(nursery: Nursery, place: str) -> None:
    _without_a_grant(nursery, place, 200)


@pytest.mark.soak
@pytest.mark.parametrize("place", ENDS)
def test_soak_killed_with_a_grant_at(nursery: Nursery, place: str) -> None:
    _with_a_grant(nursery, place, 200)
