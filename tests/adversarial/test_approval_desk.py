"""Catalogue, Approval (C064-C072): what approvers see, and which votes count."""

from __future__ import annotations

import json

import pytest

from gateway.clear import votes
from gateway.clear.desk import VoteRefused
from gateway.domain.call import ClearedCall, Parked
from gateway.domain.decision import ReasonCode
from gateway.domain.errors import StateUnavailable
from gateway.domain.ids import Principal
from gateway.waiting import drive
from tests.adversarial.clearing import reason
from tests.unit.clear.world import ARGUMENTS, CONFIRMATION, HOST, WAITS, World

HOUR = 3600


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
