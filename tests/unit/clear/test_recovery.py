"""After a crash the database agrees with the log, and doubt is held (C073, C127, C130)."""

from __future__ import annotations

import pytest

from gateway.clear.recovery import LoggedIntent, reconcile, settle
from gateway.domain.call import ClearedCall
from gateway.domain.decision import ReasonCode, Refusal
from tests.unit.clear.world import World

KEY = "order A-7"


def crashed(world: World) -> tuple[str, ClearedCall]:
    """A request that was claimed, with an effect key, by a process that then died."""
    request_id = world.park(world.call(effect_key=KEY))
    world.vote(request_id)
    cleared = world.redeem(request_id, effect_key=KEY)
    assert isinstance(cleared, ClearedCall)
    return request_id, cleared


def intent(cleared: ClearedCall, outcome: str | None, settled: str | None = None) -> dict[str, LoggedIntent]:
    call = cleared.ctx.id
    return {call: LoggedIntent(call, KEY, cleared.permit.request_id, outcome, settled)}


def test_c073_claim_without_intent_never_ran(world: World) -> None:
    request_id, cleared = crashed(world)
    assert reconcile(world.store, world.origin, {}).burnt == (cleared.ctx.id,)
    assert world.state_of(request_id) == "burnt"
    assert world.store.effects((KEY,))[0].state == "free"
    result = world.redeem(request_id)
    assert isinstance(result, Refusal)
    assert result.reason is ReasonCode.GRANT_SPENT


@pytest.mark.parametrize("outcome", [None, "unknown"])
def test_c073_intent_without_outcome_is_unknown_and_holds(world: World, outcome: str | None) -> None:
    request_id, cleared = crashed(world)
    assert reconcile(world.store, world.origin, intent(cleared, outcome)).unknown == (cleared.ctx.id,)
    assert world.state_of(request_id) == "unknown"
    assert world.store.effects((KEY,))[0].state == "unknown"


@pytest.mark.parametrize("outcome", ["released", "failed"])
def test_c073_an_outcome_means_done(world: World, outcome: str) -> None:
    request_id, cleared = crashed(world)
    assert reconcile(world.store, world.origin, intent(cleared, outcome)).done == (cleared.ctx.id,)
    assert world.state_of(request_id) == "done"
    assert world.store.effects((KEY,))[0].generation == 1


def test_an_effect_held_without_a_grant_is_reconciled_too(world: World) -> None:
    cleared = world.clear_call(world.call(obligations=(), effect_key=KEY))
    assert isinstance(cleared, ClearedCall)
    assert reconcile(world.store, world.origin, intent(cleared, None)).unknown == (cleared.ctx.id,)
    assert world.store.effects((KEY,))[0].state == "unknown"


def test_reconciling_twice_changes_nothing_the_second_time(world: World) -> None:
    _, cleared = crashed(world)
    known = intent(cleared, None)
    reconcile(world.store, world.origin, known)
    again = reconcile(world.store, world.origin, known)
    assert (again.burnt, again.unknown, again.done) == ((), (), ())
    assert reconcile(world.store, world.origin, {}).burnt == ()  # an unknown ends by a finding only


def test_the_claims_of_other_origins_are_left_alone(world: World) -> None:
    request_id, _ = crashed(world)
    reconcile(world.store, "worker-2", {})
    assert world.state_of(request_id) == "claimed"


def test_c127_c130_a_restored_database_is_told_what_it_forgot(world: World) -> None:
    request_id = world.park(world.call(effect_key=KEY))
    world.vote(request_id)
    kept = world.backup()
    cleared = world.redeem(request_id, effect_key=KEY)
    assert isinstance(cleared, ClearedCall)
    again = world.restored(kept)
    (world.folder / "spent" / request_id).unlink()  # should the markers be lost too, the log still knows
    assert again.store.effects((KEY,))[0].state == "free"
    reconcile(again.store, again.origin, intent(cleared, None))
    assert again.store.effects((KEY,))[0].state == "unknown"
    assert again.state_of(request_id) == "unknown"
    assert again.store.markers.spent(request_id)


@pytest.mark.parametrize(
    ("finding", "state", "effect"),
    [("happened", "done", "free"), ("did_not_happen", "burnt", "free"), ("cannot_tell", "unknown", "unknown")],
)
def test_settling(world: World, finding: str, state: str, effect: str) -> None:
    request_id, cleared = crashed(world)
    world.finish(cleared, "unknown", None)
    assert settle(world.store, cleared.ctx.id, finding)  # type: ignore[arg-type]
    assert (world.state_of(request_id), world.store.effects((KEY,))[0].state) == (state, effect)


def test_settling_what_is_not_unknown_does_nothing(world: World) -> None:
    request_id, cleared = crashed(world)
    assert not settle(world.store, cleared.ctx.id, "happened")
    assert not settle(world.store, "call_nobody", "happened")
    assert world.state_of(request_id) == "claimed"


def test_a_finding_in_the_log_counts_though_the_process_died_before_the_database_knew(world: World) -> None:
    request_id, cleared = crashed(world)
    world.finish(cleared, "unknown", None)
    reconcile(world.store, world.origin, intent(cleared, None, settled="did_not_happen"))
    assert world.state_of(request_id) == "burnt"
    assert world.store.effects((KEY,))[0].state == "free"
