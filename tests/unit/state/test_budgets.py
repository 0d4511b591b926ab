"""The ledger of budgets by itself: windows, clocks, what the log brings back, and rows written by hand."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, localcontext
from pathlib import Path

import pytest

from gateway.clear.recovery import LoggedIntent, reconcile, settle
from gateway.domain.call import ClearedCall
from gateway.domain.charge import Charge, in_units, in_words
from gateway.domain.decision import ReasonCode, Refusal
from gateway.domain.errors import StateUnavailable
from gateway.domain.instant import NS
from gateway.state.budgets import BudgetLedger, Entry
from tests.unit.clear.world import World

HOUR = 3600


def charge(units: int, account: str = "k1") -> Charge:
    return Charge("refunds", (account,), units, 100, HOUR * NS, tell_left=False)


def spend(world: World, units: int, end: str = "") -> ClearedCall | Refusal:
    got = world.clear_call(world.call(obligations=(), charges=(charge(units),)))
    assert isinstance(got, ClearedCall | Refusal)
    if isinstance(got, ClearedCall) and end:
        world.finish(got, end)
    return got


def fits(world: World, units: int) -> bool:
    """Whether so much can be spent now, and gives it back."""
    got = spend(world, units, "burnt")
    assert isinstance(got, ClearedCall) or got.reason is ReasonCode.VALUE_BUDGET
    return isinstance(got, ClearedCall)


def test_what_was_spent_leaves_with_its_window(world: World) -> None:
    spend(world, 60, "done")
    world.clock.advance(HOUR / 2)
    spend(world, 40, "done")
    world.clock.advance(HOUR / 2 - 1)
    assert not fits(world, 1)
    world.clock.advance(1)
    assert fits(world, 60)
    assert not fits(world, 61)


@pytest.mark.parametrize("end", ["", "unknown"])
def test_what_nobody_has_ended_stays_held_beyond_its_window(world: World, end: str) -> None:
    spend(world, 100, end)
    world.clock.advance(40 * 24 * HOUR)
    assert not fits(world, 1)


def test_an_unknown_that_happened_counts_from_when_it_was_made(world: World) -> None:
    call = spend(world, 100, "unknown")
    world.clock.advance(HOUR - 1)
    assert settle(world.store, call.ctx.id, "happened")  # type: ignore[union-attr]
    assert not fits(world, 1)
    world.clock.advance(1)
    assert fits(world, 100)


def test_setting_the_clock_frees_nothing(world: World) -> None:
    spend(world, 100, "done")
    world.clock.set_wall(50 * 24 * HOUR)
    assert not fits(world, 1)
    world.clock.set_wall(-100 * 24 * HOUR)
    assert not fits(world, 1)


def test_after_a_reboot_wall_time_counts(world: World) -> None:
    spend(world, 100, "done")
    world.clock.reboot(HOUR - 1)
    assert not fits(world, 1)
    world.clock.reboot(1)
    assert fits(world, 100)


def test_all_charges_of_a_call_are_taken_or_none(world: World) -> None:
    both = (charge(60), charge(60, "k2"))
    assert isinstance(world.clear_call(world.call(obligations=(), charges=both)), ClearedCall)
    mixed = (charge(40, "k3"), charge(50))
    assert isinstance(world.clear_call(world.call(obligations=(), charges=mixed)), Refusal)
    assert BudgetLedger(world.database, world.clock).left([charge(0, "k3")]) == {"refunds": 100}


def test_what_is_spent_needs_no_rows_for_ever(world: World) -> None:
    spend(world, 10, "done")
    world.clock.advance(32 * 24 * HOUR)
    spend(world, 10, "done")
    with world.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM budget_entries").scalar_one() == 1


@pytest.mark.parametrize(
    ("outcome", "spent", "settled", "held"),
    [
        ("released", True, None, True),
        ("failed", True, None, True),
        ("failed", False, None, False),
        ("unknown", None, None, True),
        (None, None, None, True),
        (None, None, "happened", True),
        (None, None, "cannot_tell", True),
        ("unknown", None, "did_not_happen", False),
    ],
)
@pytest.mark.parametrize("forgotten", [False, True])
def test_c073_c127_a_start_makes_the_ledger_agree_with_the_log(
    world: World, outcome: str | None, spent: bool | None, settled: str | None, held: bool, forgotten: bool
) -> None:
    call = spend(world, 100)
    assert isinstance(call, ClearedCall)
    entry = Entry(call.ctx.id, world.origin, "refunds", "k1", 100, world.clock.now().wall_ns)
    if forgotten:
        world.by_hand("DELETE FROM budget_entries")
    intent = LoggedIntent(call.ctx.id, None, None, outcome, settled, (entry,), spent)
    for _ in range(2):  # a second start changes nothing
        reconcile(world.store, world.origin, {call.ctx.id: intent})
        assert fits(world, 1) is not held


def test_c073_a_claim_without_an_intent_never_ran_and_costs_nothing(world: World) -> None:
    spend(world, 100)
    reconcile(world.store, "worker-2", {})
    assert not fits(world, 1)  # of another origin
    reconcile(world.store, world.origin, {})
    assert fits(world, 100)


@pytest.mark.parametrize("by_hand", ["units = -1000", "units = 'none'", "units = 1.5"])
def test_a_row_written_by_hand_frees_nothing(world: World, by_hand: str) -> None:
    spend(world, 10, "done")
    world.by_hand(f"UPDATE budget_entries SET {by_hand}")
    with pytest.raises(StateUnavailable, match="changed by hand"):
        spend(world, 1)


def test_two_processes_share_one_ledger(tmp_path: Path) -> None:
    one, other = World(tmp_path), World(tmp_path, origin="worker-2")
    spend(one, 60)
    assert not fits(other, 41)
    assert fits(other, 40)


@pytest.mark.parametrize(
    ("value", "units"),
    [("0.1", 100_000), ("1E-6", 1), ("1E-7", None), ("-0", 0), ("-1", None), ("1E12", 10**18), ("1E13", None)],
)
def test_c048_values_count_exactly_or_not_at_all(value: str, units: int | None) -> None:
    assert in_units(Decimal(value)) == units


def test_c048_how_the_host_rounds_its_own_decimals_changes_no_amount() -> None:
    with localcontext() as host:
        host.prec, host.Emax = 3, 4
        host.traps[Inexact] = True
        assert in_units(Decimal("123456.789")) == 123_456_789_000
        assert in_units(Decimal(2**53 + 1).scaleb(-6, Context(prec=30))) == 2**53 + 1


def test_units_read_as_they_were_written() -> None:
    assert [in_words(units) for units in (0, 1, 12_500_000, 10**18)] == ["0", "0.000001", "12.5", "1000000000000"]
