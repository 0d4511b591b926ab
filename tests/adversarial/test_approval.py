"""Catalogue, Approval (C053-C072), and C087, C127, C128, C130, C131, C141: what must never make a grant."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from pathlib import Path

import pytest

from gateway.clear import votes
from gateway.clear.desk import VoteRefused
from gateway.clear.stage import Verdict
from gateway.domain.call import ClearedCall, Parked
from gateway.domain.decision import ReasonCode, Refusal
from gateway.domain.errors import StateUnavailable
from gateway.domain.ids import Principal
from gateway.domain.instant import NS
from gateway.policy.documents import Approver
from gateway.waiting import drive
from tests.unit.clear.world import APPROVAL, ARGUMENTS, CONFIRMATION, HOST, WAITS, World, contract

HOUR = 3600


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def approved(world: World) -> str:
    """A request with its one approval, ready to be redeemed."""
    request_id = world.park()
    world.vote(request_id)
    return request_id


def reason(result: object) -> ReasonCode:
    assert isinstance(result, Refusal), result
    return result.reason


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


def test_c064_c067_nothing_hostile_reaches_an_approvers_screen(world: World) -> None:
    hostile = "pay\x1b]0;x\x07 \u202eevil\u2066 \U000e0041 \u3164 \u200b \u00a0 \ud7ff \\u202e"
    request_id = world.park(world.call({"order": hostile, hostile: "v", "reason": "approve me, I am the boss"}))
    view = world.desk().show(request_id)
    assert view is not None
    text = repr([(a.name, a.value) for a in view.arguments])
    assert text.isascii() or all(c.isprintable() for c in text)
    for hidden in "\x1b\x07\u202e\u2066\U000e0041\u3164\u200b\u00a0":
        assert hidden not in "".join(a.name + a.value for a in view.arguments)
    by_name = {argument.name: argument for argument in view.arguments}
    assert "\\u202e" in by_name["order"].value
    assert "\\\\u202e" in by_name["order"].value  # the six characters typed out read differently
    assert by_name["order"].authority
    assert not by_name["reason"].authority  # the model's own words, to be labelled so


def test_c066_every_argument_in_full_however_long(world: World) -> None:
    payload = "a" * 200_000 + "; rm -rf /"
    request_id = world.park(world.call({"order": "A-7", "reason": payload}))
    view = world.desk().show(request_id)
    assert view is not None
    assert json.loads(view.arguments[1].value) == payload


def test_c066_what_cannot_be_shown_cannot_be_approved(world: World) -> None:
    request_id = world.park()
    view = world.desk().show(request_id)
    assert view is not None
    world.by_hand("UPDATE requests SET sealed_dossier = zeroblob(200)")
    with pytest.raises(StateUnavailable):
        world.desk().ballot(request_id, "approve", voter="bob", sign_with=world.people["bob"].sign, shown=view.digest)


def test_c068_c069_too_many_pending_is_a_no_and_not_a_question(world: World) -> None:
    world.pending_requests = 3
    for _ in range(3):
        world.park()
    assert reason(world.clear_call(world.call())) is ReasonCode.APPROVALS_FULL
    assert world.park(world.call(conversation="talk-2"))


def test_c068_what_is_overdue_takes_no_place(world: World) -> None:
    world.pending_requests = 1
    world.park()
    world.clock.advance(HOUR)
    assert world.park()


def test_c068_the_bound_holds_for_drafts_made_at_the_same_time(world: World) -> None:
    world.pending_requests = 1
    drafts = [world.clear_call(world.call()) for _ in range(2)]
    results = [drive(world.clear().park(draft, WAITS)) for draft in drafts]  # type: ignore[arg-type]
    assert isinstance(results[0], Parked)
    assert reason(results[1]) is ReasonCode.APPROVALS_FULL


def test_c070_a_vote_on_what_was_not_shown_is_refused(world: World) -> None:
    one, other = world.park(), world.park(world.call({**ARGUMENTS, "amount": "900.00"}))
    shown = world.desk().show(one)
    assert shown is not None
    with pytest.raises(VoteRefused, match="shown"):
        world.desk().ballot(other, "approve", voter="bob", sign_with=world.people["bob"].sign, shown=shown.digest)


def test_c070_somebody_elses_signature_is_refused(world: World) -> None:
    request_id = world.park()
    view = world.desk().show(request_id)
    assert view is not None
    with pytest.raises(VoteRefused, match="signature"):
        world.desk().ballot(request_id, "approve", voter="bob", sign_with=world.people["dave"].sign, shown=view.digest)
    with pytest.raises(VoteRefused, match="not enrolled"):
        world.desk().ballot(request_id, "approve", voter="dave", sign_with=world.people["dave"].sign, shown=view.digest)


def test_c070_a_verdict_cannot_be_turned_round(world: World) -> None:
    request_id = world.park()
    world.vote(request_id, "bob", "deny")
    world.by_hand("UPDATE votes SET verdict='approve'")
    world.by_hand("UPDATE requests SET state='pending'")
    (world.folder / "spent" / request_id).unlink()
    assert not isinstance(world.redeem(request_id), ClearedCall)


def test_c070_a_confirmation_needs_the_requester_and_an_enrolled_host(world: World) -> None:
    request_id = world.park(world.call(obligations=(CONFIRMATION,)))
    with pytest.raises(VoteRefused, match="no such request"):
        world.confirm(request_id, "bob")
    with pytest.raises(VoteRefused, match="does not count"):
        world.desk().confirm(request_id, Principal("alice"), key_id=HOST, sign_with=world.people["dave"].sign)
    with pytest.raises(VoteRefused, match="enrolled"):
        world.desk().confirm(request_id, Principal("alice"), key_id="?", sign_with=world.people["host"].sign)
    world.confirm(request_id)
    world.hosts.clear()  # the host process was struck off
    assert isinstance(world.redeem(request_id, obligations=(CONFIRMATION,)), Parked)


def test_c070_a_host_cannot_confirm_for_somebody_else(world: World) -> None:
    request_id = world.park(world.call(obligations=(CONFIRMATION,)))
    request = world.store.get(request_id)
    assert request is not None
    forced = votes.sign(
        request_id,
        request.digest,
        "confirm",
        voter="bob",
        key_id=HOST,
        sign_with=world.people["host"].sign,
        comment="",
        at_wall_ns=0,
    )
    assert world.store.cast(forced)
    assert isinstance(world.redeem(request_id, obligations=(CONFIRMATION,)), Parked)


def test_c071_only_what_is_overdue_is_swept(world: World) -> None:
    request_id = world.park()
    world.clock.advance(HOUR - 1)
    assert world.desk().expire() == ()
    assert world.state_of(request_id) == "pending"


def test_c071_nobody_answered_in_time(world: World) -> None:
    request_id = world.park()
    world.clock.advance(HOUR)
    assert reason(world.redeem(request_id)) is ReasonCode.APPROVAL_EXPIRED
    with pytest.raises(VoteRefused, match="expired"):
        world.vote(request_id)
    assert [event.request_id for event in world.desk().expire()] == [request_id]
    assert world.desk().expire() == ()
    assert world.state_of(request_id) == "expired"
    assert reason(world.redeem(request_id)) is ReasonCode.APPROVAL_EXPIRED


def test_c072_declared_secrets_are_masked_and_nothing_else_is(world: World) -> None:
    arguments = {"order": "sk-live-0123456789abcdef0123456789abcdef", "pin": "9274"}
    request_id = world.park(world.call(arguments))
    view = world.desk().show(request_id)
    assert view is not None
    shown = {argument.name: argument for argument in view.arguments}
    assert shown["order"].value == '"sk-live-0123456789abcdef0123456789abcdef"'
    assert shown["pin"].masked
    assert "9274" not in repr(view)
    revealed = world.desk().show(request_id, reveal=True)
    assert revealed is not None
    assert {argument.name: argument.value for argument in revealed.arguments}["pin"] == '"9274"'


def test_c072_a_mask_that_equals_the_secret_is_no_mask(world: World) -> None:
    request_id = world.park(world.call({"order": "A-7", "pin": "hmac-sha256:00"}))  # what the test's mask is
    view = world.desk().show(request_id)
    assert view is not None
    assert "hmac-sha256:00" not in repr(view.arguments)


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
