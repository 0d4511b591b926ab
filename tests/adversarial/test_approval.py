"""Catalogue, Approval (C053-C063) and C087: what must never make a grant."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from gateway.clear import votes
from gateway.clear.desk import VoteRefused
from gateway.domain.call import ClearedCall, Parked
from gateway.domain.decision import ReasonCode, Refusal
from gateway.domain.errors import StateUnavailable
from gateway.domain.instant import NS
from gateway.policy.documents import Approver
from gateway.waiting import drive
from tests.adversarial.clearing import reason
from tests.unit.clear.world import APPROVAL, ARGUMENTS, CONFIRMATION, WAITS, World, contract

HOUR = 3600


def test_c053_changing_the_callers_dict_changes_nothing_that_is_parked(world: World) -> None:
    mine = dict(ARGUMENTS)
    request_id = world.park(world.call(mine))
    mine["amount"] = "9999.00"
    view = world.desk().show(request_id)
    assert view is not None
    assert {argument.name: argument.value for argument in view.arguments}["amount"] == '"250.00"'
    world.vote(request_id)
    assert reason(world.redeem(request_id, arguments=mine)) is ReasonCode.APPROVAL_INVALID
    assert isinstance(world.redeem(request_id), ClearedCall)


@pytest.mark.parametrize("other", [{**ARGUMENTS, "amount": "251.00"}, {"order": "A-7"}, {**ARGUMENTS, "x": None}])
def test_c054_c087_a_grant_for_other_arguments_is_refused_and_not_burnt(
    world: World, approved: str, other: dict[str, object]
) -> None:
    assert reason(world.redeem(approved, arguments=other)) is ReasonCode.APPROVAL_INVALID
    assert isinstance(world.redeem(approved), ClearedCall)


def test_c054_a_grant_of_one_request_is_not_good_for_another(world: World, approved: str) -> None:
    other = world.park()
    world.by_hand(
        "INSERT INTO votes SELECT ?, voter, verdict, key_id, signature, comment, at_wall_ns, dev FROM votes", other
    )
    assert isinstance(world.redeem(other), Parked)


def test_c055_a_hundred_concurrent_redemptions_one_claim(world: World, approved: str) -> None:
    barrier = threading.Barrier(100)
    results: list[object] = []

    def redeem() -> None:
        call = world.call(request_id=approved, effect_key="order A-7")
        barrier.wait()
        results.append(drive(world.clear()(call, WAITS)))

    threads = [threading.Thread(target=redeem) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 100
    assert sum(isinstance(result, ClearedCall) for result in results) == 1
    assert {reason(r) for r in results if not isinstance(r, ClearedCall)} <= {ReasonCode.GRANT_SPENT, ReasonCode.BUSY}


def test_c056_setting_the_clock_back_extends_nothing_within_a_boot(world: World, approved: str) -> None:
    world.clock.set_wall(-HOUR)
    assert isinstance(world.redeem(world_id := approved, obligations=(APPROVAL, CONFIRMATION)), Parked)
    world.clock.advance(HOUR)  # its hour has passed, though the wall clock says that it has only begun
    assert reason(world.redeem(world_id)) is ReasonCode.APPROVAL_EXPIRED


def test_c056_setting_the_clock_forward_ends_it_early(world: World, approved: str) -> None:
    world.clock.set_wall(HOUR)
    assert reason(world.redeem(approved)) is ReasonCode.APPROVAL_EXPIRED


def test_c056_after_a_reboot_a_clock_behind_the_log_denies(world: World, approved: str) -> None:
    world.newest_log_ns = world.clock.now().wall_ns + 60 * NS
    world.clock.reboot(wall_s=30)
    assert reason(world.redeem(approved)) is ReasonCode.APPROVAL_EXPIRED
    world.clock.advance(31)
    assert isinstance(world.redeem(approved), ClearedCall)


def test_c056_after_a_reboot_a_clock_behind_the_request_itself_denies(world: World, approved: str) -> None:
    world.clock.reboot(wall_s=-1)
    assert reason(world.redeem(approved)) is ReasonCode.APPROVAL_EXPIRED


def test_c056_after_a_reboot_wall_time_still_ends_it(world: World, approved: str) -> None:
    world.clock.reboot(wall_s=HOUR)
    assert reason(world.redeem(approved)) is ReasonCode.APPROVAL_EXPIRED


@pytest.mark.parametrize("asker", [{"principal": "alice"}, {"principal": "service", "on_behalf_of": "alice"}])
def test_c057_nobody_approves_what_was_asked_for_her(world: World, asker: dict[str, str]) -> None:
    request_id = world.park(world.call(**asker))  # type: ignore[arg-type]
    with pytest.raises(VoteRefused, match="own"):
        world.vote(request_id, "alice")
    request = world.store.get(request_id)
    assert request is not None
    forced = votes.sign(  # with her real key, past the desk
        request_id,
        request.digest,
        "approve",
        voter="alice",
        key_id="x",
        sign_with=world.people["alice"].sign,
        comment="",
        at_wall_ns=0,
    )
    assert world.store.cast(forced)
    assert isinstance(world.redeem(request_id, **asker), Parked)


def test_c058_the_same_approver_twice_is_one_vote(world: World) -> None:
    world.contracts["refund"] = contract(approvers=2)
    request_id = world.park()
    world.vote(request_id, "bob")
    assert len(world.vote(request_id, "bob").votes) == 1
    assert isinstance(world.redeem(request_id), Parked)


def test_c058_one_key_under_two_names_is_one_vote(world: World) -> None:
    world.contracts["refund"] = contract(approvers=2)
    world.approvers["carol"] = Approver(id="carol", key=world.approvers["bob"].key)
    world.people["carol"] = world.people["bob"]
    request_id = world.park()
    world.vote(request_id, "bob")
    world.vote(request_id, "carol")
    assert isinstance(world.redeem(request_id), Parked)


def test_c059_deny_after_approve_before_claim(world: World, approved: str) -> None:
    world.vote(approved, "bob", "deny", comment="wrong\x1b[2J order\u202e")
    refused = world.redeem(approved)
    assert reason(refused) is ReasonCode.APPROVAL_DENIED
    assert isinstance(refused, Refusal)
    assert "wrong\\u001b[2J order\\u202e" in refused.message
    with pytest.raises(VoteRefused):
        world.vote(approved, "carol")


def test_c059_a_denial_stays_when_its_row_is_set_back_by_hand(world: World, approved: str) -> None:
    world.vote(approved, "carol", "deny")
    world.by_hand("UPDATE requests SET state='pending'")
    assert not isinstance(world.redeem(approved), ClearedCall)


def test_c059_a_signed_denial_counts_whatever_else_was_undone_by_hand(world: World, approved: str) -> None:
    again = approved
    sealed = (
        sqlite3.connect(world.path).execute("SELECT sealed_dossier FROM requests WHERE id=?", (again,)).fetchone()[0]
    )
    request = world.store.get(again)
    assert request is not None
    denial = votes.sign(
        again,
        request.digest,
        "deny",
        voter="carol",
        key_id="x",
        sign_with=world.people["carol"].sign,
        comment="",
        at_wall_ns=0,
    )
    world.store.cast(denial)
    world.by_hand("UPDATE requests SET state='pending', sealed_dossier=? WHERE id=?", sealed, again)
    (world.folder / "spent" / again).unlink()
    assert reason(world.redeem(again)) is ReasonCode.APPROVAL_DENIED
    view = world.desk().show(again)
    assert view is not None
    assert view.state == "pending"


def test_c060_what_changed_since_invalidates(world: World) -> None:
    world.images["refund"] = "code@sha256:1"
    request_id = world.park()
    world.vote(request_id)
    world.contract_digest = "sha256:contract-2"  # covers the contract and its declared code version
    assert reason(world.redeem(request_id)) is ReasonCode.APPROVAL_INVALID
    world.contract_digest = "sha256:contract-1"
    world.images["refund"] = "code@sha256:2"
    assert reason(world.redeem(request_id)) is ReasonCode.APPROVAL_INVALID
    world.images["refund"] = "code@sha256:1"
    assert reason(world.redeem(request_id, on_behalf_of="erin")) is ReasonCode.APPROVAL_INVALID
    assert isinstance(world.redeem(request_id), ClearedCall)


def test_c061_a_demoted_approver_is_not_counted(world: World, approved: str) -> None:
    world.may.discard(("bob", "refund"))
    assert isinstance(world.redeem(approved), Parked)
    world.may.add(("bob", "refund"))
    del world.approvers["bob"]
    assert isinstance(world.redeem(approved), Parked)


def test_c061_a_replaced_key_takes_its_votes_with_it(world: World, approved: str) -> None:
    world.approvers["bob"] = Approver(id="bob", key=world.approvers["carol"].key)
    assert isinstance(world.redeem(approved), Parked)


def test_c062_pending_after_a_restart(world: World) -> None:
    request_id = world.park()
    world.database.close()
    again = World(world.folder, clock=world.clock)
    assert [view.id for view in again.desk().pending()] == [request_id]
    again.vote(request_id)
    assert isinstance(again.redeem(request_id), ClearedCall)


def test_c063_a_locked_database_denies(world: World, approved: str) -> None:
    impatient = World(world.folder, clock=world.clock, busy_s=0.05)
    other = sqlite3.connect(world.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailable):
        impatient.redeem(approved)
    other.execute("ROLLBACK")
    other.close()
    assert isinstance(impatient.redeem(approved), ClearedCall)


def test_c063_a_corrupt_database_denies(world: World, approved: str) -> None:
    world.database.close()
    sqlite3.connect(world.path).execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    whole = world.path.read_bytes()
    world.path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    with pytest.raises(StateUnavailable):
        world.redeem(approved)


def test_c063_without_a_place_for_markers_nothing_is_claimed(world: World, approved: str) -> None:
    (world.folder / "spent").rmdir()
    with pytest.raises(StateUnavailable):
        world.redeem(approved)
    assert world.state_of(approved) == "pending"
