"""Step 5 on its happy paths and at its edges; what an adversary tries stands in tests/adversarial/test_approval.py."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.clear.stage import Draft, Resumable, Verdict
from gateway.domain.call import ClearedCall, Parked
from gateway.domain.decision import Obligation, ReasonCode, Refusal
from gateway.domain.errors import UsageError
from gateway.domain.event import ApprovalRequested, Subject
from gateway.domain.ids import Principal
from gateway.policy.documents import Approval
from gateway.waiting import drive
from tests.unit.clear.world import APPROVAL, CONFIRMATION, WAITS, World, contract

SUBJECT = Subject("call_1", "call_abc", "alice", None, "talk-1", "refund", None, 0, None, "policy-1")


class NoWaits:
    """Nothing may wait here."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"waited: {name}")


def reason(result: object) -> ReasonCode:
    assert isinstance(result, Refusal), result
    return result.reason


def cleared(result: object) -> ClearedCall:
    assert isinstance(result, ClearedCall), result
    return result


def test_a_call_without_obligation_and_effect_key_touches_no_database(world: World) -> None:
    world.database.close()
    world.path.unlink()
    call = world.call(obligations=())
    result = drive(world.clear()(call, NoWaits()))
    assert cleared(result).permit.request_id is None
    drive(world.clear().finish(cleared(result), "done", "x", NoWaits()))
    assert drive(world.clear().generation(call.shaped, NoWaits())) == 0


def test_a_draft_can_be_recorded_before_anything_is_stored(world: World) -> None:
    draft = world.clear_call(world.call({"order": "A-7", "pin": "1234"}))
    assert isinstance(draft, Draft)
    assert world.store.ids("pending") == ()
    event = draft.event(SUBJECT)
    assert isinstance(event, ApprovalRequested)
    assert event.request_id == draft.parked.request_id
    assert event.request_digest == draft.request.digest
    assert b"1234" not in bytes(str(event), "utf-8") + draft.request.masked.encode()
    assert event.obligations[0]["rule"] == "tools/refund.yaml:12 (limit)"


def test_parked_approved_redeemed_done(world: World) -> None:
    request_id = world.park()
    assert isinstance(world.redeem(request_id), Parked)
    assert world.vote(request_id).state == "approved"
    found = world.clear().look_up(request_id, Principal("alice"))
    assert isinstance(found, Resumable)
    assert found.arguments == b'{"order": "A-7", "amount": "250.00", "reason": "broken"}'
    permit = cleared(call := world.redeem(request_id)).permit
    assert permit.request_id == request_id
    assert [(p["verdict"], p["voter"], p["dev_key"]) for p in permit.proofs] == [("approve", "bob", False)]
    world.finish(cleared(call), "done", "refund R-1")
    verdict = world.clear().look_up(request_id, Principal("alice"))
    assert isinstance(verdict, Verdict)
    assert (verdict.state, verdict.content) == ("done", "refund R-1")
    assert verdict.refusal.reason is ReasonCode.GRANT_SPENT


def test_parked_bytes_are_unreadable_at_rest_and_gone_at_the_end(world: World) -> None:
    request_id = world.park(world.call({"order": "A-7", "amount": "250.00", "reason": "sesame-sesame"}))
    parked = world.store.get(request_id)
    assert parked is not None
    assert b"sesame" not in (parked.sealed_wire or b"") + (parked.sealed_dossier or b"")
    world.vote(request_id)
    call = cleared(world.redeem(request_id, arguments={"order": "A-7", "amount": "250.00", "reason": "sesame-sesame"}))
    world.finish(call)
    ended = world.store.get(request_id)
    assert ended is not None
    assert (ended.sealed_wire, ended.sealed_dossier) == (None, None)


def test_quorum_of_two(world: World) -> None:
    world.contracts["refund"] = contract(approvers=2)
    request_id = world.park()
    world.vote(request_id, "bob")
    assert isinstance(world.redeem(request_id), Parked)
    world.vote(request_id, "carol")
    assert len(cleared(world.redeem(request_id)).permit.proofs) == 2


def test_confirmation_and_approval_are_both_needed(world: World) -> None:
    world.contracts["refund"] = contract(confirm=True)
    both = (APPROVAL, CONFIRMATION)
    request_id = world.park(world.call(obligations=both))
    world.vote(request_id)
    assert isinstance(world.redeem(request_id, obligations=both), Parked)
    world.confirm(request_id)
    permit = cleared(world.redeem(request_id, obligations=both)).permit
    assert [proof["verdict"] for proof in permit.proofs] == ["approve", "confirm"]


def test_a_confirmation_alone_is_not_an_approval(world: World) -> None:
    request_id = world.park()
    world.confirm(request_id)
    assert isinstance(world.redeem(request_id), Parked)


def test_obligations_of_the_moment_decide(world: World) -> None:
    request_id = world.park()
    world.vote(request_id)
    assert isinstance(world.redeem(request_id, obligations=(APPROVAL, CONFIRMATION)), Parked)
    assert cleared(world.redeem(request_id, obligations=())).permit.request_id == request_id


def test_an_approval_asks_for_somebody_even_where_the_contract_names_nobody(world: World) -> None:
    world.contracts["refund"] = contract(approvers=0, confirm=True)
    request_id = world.park()
    world.confirm(request_id)
    assert isinstance(world.redeem(request_id), Parked)


def test_an_unknown_kind_of_obligation_is_a_bug_and_never_a_permit(world: World) -> None:
    with pytest.raises(UsageError):
        world.clear_call(world.call(obligations=(Obligation("blessing", "?"),)))


def test_a_fact_that_cannot_be_shown_denies(world: World) -> None:
    assert reason(world.clear_call(world.call(facts={"n": 2**70}))) is ReasonCode.FACT_UNAVAILABLE


def test_facts_that_are_not_for_showing_are_not_shown(world: World) -> None:
    quiet = contract().model_copy(update={"approval": Approval(show_facts=False)})
    world.contracts["refund"] = quiet
    draft = world.clear_call(world.call())
    assert isinstance(draft, Draft)
    assert draft.event(SUBJECT).facts == {}
    view = world.desk().show(world.park())
    assert view is not None
    assert view.facts == ()
    world.contracts["refund"] = contract()
    shown = world.desk().show(world.park())
    assert shown is not None
    assert shown.facts == (("order_total", "300.5"),)


def test_an_effect_key_is_claimed_and_let_go_with_a_new_generation(world: World) -> None:
    call = world.call(obligations=(), effect_key="hmac-sha256:k:1")
    first = cleared(world.clear_call(call))
    assert reason(drive(world.clear().generation(call.shaped, WAITS))) is ReasonCode.BUSY
    assert reason(world.clear_call(world.call(obligations=(), effect_key="hmac-sha256:k:1"))) is ReasonCode.BUSY
    world.finish(first)
    assert drive(world.clear().generation(call.shaped, WAITS)) == 1
    stale = world.call(obligations=(), effect_key="hmac-sha256:k:1", generation=0)
    assert reason(world.clear_call(stale)) is ReasonCode.BUSY
    fresh = world.call(obligations=(), effect_key="hmac-sha256:k:1", generation=1)
    world.finish(cleared(world.clear_call(fresh)), "unknown", None)
    assert reason(drive(world.clear().generation(call.shaped, WAITS))) is ReasonCode.EFFECT_HELD


def test_a_lost_effect_key_burns_no_grant(world: World) -> None:
    request_id = world.park(world.call(effect_key="k"))
    world.vote(request_id)
    other = cleared(world.clear_call(world.call(obligations=(), effect_key="k")))
    assert reason(world.redeem(request_id, effect_key="k")) is ReasonCode.BUSY
    world.finish(other)
    assert cleared(world.redeem(request_id, effect_key="k", generation=1)).permit.request_id == request_id


def test_a_grant_that_never_ran_is_burnt_and_frees_its_effect_key(world: World) -> None:
    request_id = world.park(world.call(effect_key="k"))
    world.vote(request_id)
    world.finish(cleared(world.redeem(request_id, effect_key="k")), "burnt", None)
    assert world.state_of(request_id) == "burnt"
    assert world.store.effects(("k",))[0].state == "free"
    assert reason(world.redeem(request_id)) is ReasonCode.GRANT_SPENT


def test_unknown_keeps_what_was_asked_for_whoever_settles_it(world: World) -> None:
    request_id = world.park()
    world.vote(request_id)
    world.finish(cleared(world.redeem(request_id)), "unknown", None)
    view = world.desk().show(request_id)
    assert view is not None
    assert view.state == "unknown"
    assert len(view.arguments) == 3


def test_only_the_claims_own_call_can_finish_it(world: World) -> None:
    request_id = world.park()
    world.vote(request_id)
    cleared(world.redeem(request_id))
    stranger = cleared(world.clear_call(world.call(obligations=(), effect_key="other")))
    stranger.permit = type(stranger.permit)(request_id)
    world.finish(stranger)
    assert world.state_of(request_id) == "claimed"


def test_keys_may_be_rotated_while_a_request_waits(world: World) -> None:
    request_id = world.park()
    world.vote(request_id)
    world.keys = world.keys.rotate()
    assert cleared(world.redeem(request_id)).permit.request_id == request_id
