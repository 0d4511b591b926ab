"""Catalogue, C127, C128, C130, C131, C141: a database that was restored or written by hand, and calls in doubt."""

from __future__ import annotations

import contextlib

import pytest

from gateway.clear.desk import VoteRefused
from gateway.clear.stage import Verdict
from gateway.domain.call import ClearedCall, Parked
from gateway.domain.decision import ReasonCode, Refusal
from gateway.domain.errors import StateUnavailable
from gateway.domain.ids import Principal
from gateway.policy.documents import Approver
from gateway.waiting import drive
from tests.adversarial.clearing import reason
from tests.unit.clear.world import ARGUMENTS, WAITS, World

HOUR = 3600


def test_c127_a_restored_database_brings_no_spent_grant_back(world: World, approved: str) -> None:
    kept = world.backup()
    call = world.redeem(approved)
    assert isinstance(call, ClearedCall)
    world.finish(call)
    again = world.restored(kept)
    assert again.state_of(approved) == "pending"
    refused = again.redeem(approved)
    assert reason(refused) is ReasonCode.GRANT_SPENT
    found = again.clear().look_up(approved, Principal("alice"))
    assert isinstance(found, Refusal | Verdict)
    view = again.desk().show(approved)
    assert view is not None
    assert view.state == "spent"
    with pytest.raises(VoteRefused, match="spent"):
        again.vote(approved, "carol")


def test_c127_a_request_restored_to_before_its_approval_waits_for_nobody(world: World) -> None:
    request_id = world.park()
    kept = world.backup()
    world.vote(request_id)
    assert isinstance(world.redeem(request_id), ClearedCall)
    assert reason(world.restored(kept).redeem(request_id)) is ReasonCode.GRANT_SPENT


def test_c127_an_effect_key_at_a_generation_the_database_forgot_is_not_claimed(world: World) -> None:
    assert reason(world.clear_call(world.call(obligations=(), effect_key="k", generation=5))) is ReasonCode.BUSY


def test_c127_a_restored_database_brings_no_denied_request_back(world: World, approved: str) -> None:
    kept = world.backup()
    world.vote(approved, "carol", "deny")
    assert reason(world.restored(kept).redeem(approved)) is ReasonCode.GRANT_SPENT


COLUMNS = {
    "principal": "mallory",
    "on_behalf_of": "mallory",
    "conversation": "talk-2",
    "tool": "close_account",
    "contract_digest": "sha256:other",
    "effective_digest": "hmac-sha256:other",
    "sandbox": "none",
    "nonce": "00",
    "display_digest": "00",
    "request_digest": "00",
    "expires_wall_ns": 2**62,
    "expires_boot_ns": 2**62,
    "boot_id": "boot-9",
    "sealed_dossier": None,
    "state": "approved",
    "created_wall_ns": "yesterday",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_c128_a_row_changed_by_hand_is_no_grant(world: World, approved: str, column: str) -> None:
    world.by_hand(f"UPDATE requests SET {column} = ?", COLUMNS[column])
    who = {"principal": "mallory"} if column == "principal" else {}
    with contextlib.suppress(StateUnavailable):
        looked = world.clear().look_up(approved, Principal(who.get("principal", "alice")))
        assert isinstance(looked, Refusal) or column == "sealed_dossier", looked
    where = {"conversation": "talk-2"} if column == "conversation" else {}
    try:
        result = world.redeem(approved, **who, **where)
    except StateUnavailable:
        return
    assert isinstance(result, Refusal), result
    assert world.desk().requests()  # and the desk still opens


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, "text", None])
def test_c128_a_vote_written_by_hand_is_no_grant_and_blocks_no_real_one(world: World, signature: object) -> None:
    request_id = world.park()
    value = b"" if signature is None else signature
    world.by_hand("INSERT INTO votes VALUES (?, 'bob', 'approve', 'k', ?, '', 1, 0)", request_id, value)
    assert isinstance(world.redeem(request_id), Parked | Refusal)
    view = world.desk().show(request_id)
    assert view is not None
    assert [bool(vote.rejected) for vote in view.votes] == [True]
    world.vote(request_id)
    assert isinstance(world.redeem(request_id), ClearedCall)


def test_c128_a_dev_key_cannot_pass_for_a_real_one(world: World) -> None:
    world.approvers["bob"] = Approver(id="bob", key=world.approvers["bob"].key, dev=True)
    request_id = world.park()
    world.vote(request_id)
    world.by_hand("UPDATE votes SET dev = 0, key_id = 'other'")
    cleared = world.redeem(request_id)
    assert isinstance(cleared, ClearedCall)
    assert cleared.permit.proofs[0]["dev_key"] is True
    assert cleared.permit.proofs[0]["key_id"] != "other"


def test_c128_sealed_bytes_do_not_move_between_requests(world: World, approved: str) -> None:
    big = world.park(world.call({**ARGUMENTS, "amount": "9999.00"}))
    world.by_hand(
        "UPDATE requests SET sealed_wire = (SELECT sealed_wire FROM requests WHERE id = ?) WHERE id = ?", big, approved
    )
    with pytest.raises(StateUnavailable):
        world.clear().look_up(approved, Principal("alice"))


def test_c128_a_result_is_not_paired_with_another_call(world: World, approved: str) -> None:
    world.by_hand("UPDATE requests SET provider_call_id = 'call_other'")
    with pytest.raises(StateUnavailable):
        world.clear().look_up(approved, Principal("alice"))


def test_c130_an_unknown_holds_its_effect_key_in_every_session_until_settled(world: World) -> None:
    first = world.clear_call(world.call(obligations=(), effect_key="order A-7"))
    assert isinstance(first, ClearedCall)
    world.finish(first, "unknown", None)
    elsewhere = World(world.folder, clock=world.clock, origin="worker-2")
    again = elsewhere.call(obligations=(), effect_key="order A-7", conversation="talk-9", principal="bob")
    assert reason(drive(elsewhere.clear().generation(again.shaped, WAITS))) is ReasonCode.EFFECT_HELD
    assert reason(elsewhere.clear_call(again)) is ReasonCode.BUSY  # also if step 4 had not looked


def test_c131_not_yours_and_not_there_read_alike(world: World, approved: str) -> None:
    absent = "req_" + "0" * 32
    not_there = world.redeem(absent)
    assert isinstance(not_there, Refusal)
    for who in ({"principal": "mallory"}, {"conversation": "talk-2"}):
        not_mine = world.redeem(approved, **who)
        assert isinstance(not_mine, Refusal)
        assert (not_mine.reason, not_mine.message, not_mine.suggestion) == (
            not_there.reason,
            not_there.message,
            not_there.suggestion,
        )
    looked = [world.clear().look_up(found, Principal("mallory")) for found in (approved, absent)]
    assert looked[0] == looked[1]


def test_c141_a_nested_call_may_not_park(world: World) -> None:
    assert reason(world.clear_call(world.call(depth=1))) is ReasonCode.MAY_NOT_PARK
    assert world.store.ids("pending") == ()
