"""A machine that parks, votes, redeems, crashes, restores and forges in any order, beside a model of what must hold.

Held after every step: a request runs at most once, only for its own arguments, only with the votes it needs, never once
it was denied, expired or spent; and of one effect key there is at most one holder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from gateway.clear.desk import VoteRefused
from gateway.clear.recovery import LoggedIntent, reconcile, settle
from gateway.domain.call import ClearedCall
from gateway.domain.errors import StateUnavailable
from tests.unit.clear.world import ARGUMENTS, World, contract

KEY = "order A-7"
QUORUM = 2
LIFE_S = 3600
OTHER = {**ARGUMENTS, "amount": "1.00"}


class Clearing(RuleBasedStateMachine):
    requests = Bundle("requests")
    running = Bundle("running")

    @initialize(target=requests)
    def open(self) -> str:
        self.folder = tempfile.TemporaryDirectory()
        self.world = self._open(World(Path(self.folder.name)))
        self.approvals: dict[str, set[str]] = {}
        self.closed: set[str] = set()  # denied or claimed: never to run (again)
        self.deadline: dict[str, float] = {}
        self.now = 0.0  # boot time, as the model counts it
        self.ran: list[str] = []
        self.log: dict[str, LoggedIntent] = {}
        self.unknown: set[str] = set()
        self.holder: str | None = None
        self.kept: tuple[Path, dict[str, set[str]]] | None = None
        return self.park(("bob", "carol"))

    def _open(self, world: World) -> World:
        world.contracts["refund"] = contract(approvers=QUORUM, expires_s=LIFE_S)
        return world

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.database.close()
            self.folder.cleanup()

    @rule(target=requests, voters=st.sampled_from([(), ("bob",), ("bob", "carol"), ("carol", "bob")]))
    def park(self, voters: tuple[str, ...]) -> str:
        request_id = self.world.park(self.world.call(effect_key=KEY, conversation=f"talk-{len(self.deadline)}"))
        self.approvals[request_id] = set()
        self.deadline[request_id] = self.now + LIFE_S
        for voter in voters:
            self.vote(request_id, voter, "approve")
        return request_id

    def _talk(self, request_id: str) -> str:
        return f"talk-{list(self.deadline).index(request_id)}"

    @rule(
        request_id=requests,
        voter=st.sampled_from(["alice", "bob", "carol"]),
        verdict=st.sampled_from(["approve"] * 4 + ["deny"]),
    )
    def vote(self, request_id: str, voter: str, verdict: str) -> None:
        if self.world.store.get(request_id) is None:  # restored to before it was parked
            return
        try:
            self.world.vote(request_id, voter, verdict)
        except (VoteRefused, StateUnavailable):  # the latter: a row set back by hand, its dossier long deleted
            return
        assert request_id not in self.closed
        if verdict == "deny":
            self.closed.add(request_id)
        else:
            assert voter != "alice"
            self.approvals[request_id].add(voter)

    @rule(request_id=requests, forged=st.sampled_from(["vote", "state", "expiry", "claim"]))
    def forge(self, request_id: str, forged: str) -> None:
        """An intruder writes into the database. It must never help."""
        if forged == "vote":
            self.world.by_hand(
                "INSERT OR IGNORE INTO votes VALUES (?, 'carol', 'approve', 'k', zeroblob(64), '', 1, 0)", request_id
            )
        elif forged == "state":
            self.world.by_hand("UPDATE requests SET state='pending' WHERE id=? AND state!='claimed'", request_id)
        elif forged == "claim":
            self.world.by_hand("UPDATE effects SET generation = generation + 1")
        elif self.now >= self.deadline[request_id]:
            self.world.by_hand(
                "UPDATE requests SET expires_wall_ns=?, expires_boot_ns=? WHERE id=?", 2**62, 2**62, request_id
            )

    @precondition(lambda self: self.holder is None)
    @rule(target=running)
    def approve_and_redeem(self) -> ClearedCall | MultipleResults[ClearedCall]:
        """What deserves to run does run, whatever happened before."""
        request_id = self.park(("bob", "carol"))
        cleared = self.redeem(request_id, ARGUMENTS, stale=False)
        assert request_id in self.ran
        return cleared

    @rule(
        target=running,
        request_id=requests,
        arguments=st.sampled_from([ARGUMENTS] * 4 + [OTHER]),
        stale=st.sampled_from([False] * 4 + [True]),
    )
    def redeem(
        self, request_id: str, arguments: Mapping[str, object], stale: bool
    ) -> ClearedCall | MultipleResults[ClearedCall]:
        effect = self.world.store.effects((KEY,))[0]
        call = self.world.call(
            arguments,
            request_id=request_id,
            conversation=self._talk(request_id),
            effect_key=KEY,
            generation=effect.generation - 1 if stale else effect.generation,
        )
        result = self.world.clear_call(call)
        if not isinstance(result, ClearedCall):
            return multiple()
        event("a call was cleared")
        assert arguments is not OTHER
        assert not stale
        assert request_id not in self.closed
        assert len(self.approvals[request_id]) >= QUORUM
        assert self.now < self.deadline[request_id]
        assert self.holder is None
        self.closed.add(request_id)
        self.holder = call.ctx.id
        self.ran.append(request_id)
        return result

    @rule(cleared=consumes(running), logged=st.sampled_from(["claim", "intent", "outcome"]), crash=st.booleans())
    def end(self, cleared: ClearedCall, logged: str, crash: bool) -> None:
        """The call goes as far as `logged`; then it is written down, or the process dies and the log is read."""
        if self.holder != cleared.ctx.id:
            return
        if logged != "claim":
            outcome = "released" if logged == "outcome" else None
            self.log[cleared.ctx.id] = LoggedIntent(cleared.ctx.id, KEY, cleared.permit.request_id, outcome)
        if crash:
            reconcile(self.world.store, self.world.origin, self.log)
        else:
            self.world.finish(cleared, {"claim": "burnt", "intent": "unknown", "outcome": "done"}[logged])
        if logged == "intent":
            self.unknown.add(cleared.ctx.id)
        else:
            self.holder = None

    @precondition(lambda self: self.holder in self.unknown)
    @rule(finding=st.sampled_from(["happened", "did_not_happen", "cannot_tell"]))
    def settle(self, finding: str) -> None:
        assert self.holder is not None
        old = self.log[self.holder]
        self.log[self.holder] = LoggedIntent(old.call_id, old.effect_key, old.request_id, old.outcome, finding)
        assert settle(self.world.store, self.holder, finding)  # type: ignore[arg-type]
        if finding != "cannot_tell":
            self.unknown.discard(self.holder)
            self.holder = None

    @rule(seconds=st.sampled_from([1, 60, 900, 3599]), wall=st.sampled_from([0, -3600]), sweep=st.booleans())
    def time(self, seconds: int, wall: int, sweep: bool) -> None:
        self.world.clock.advance(seconds)
        self.world.clock.set_wall(wall)  # forward only ends requests early, which the model does not follow
        self.now += seconds
        if sweep:
            for closed in self.world.desk().expire():
                assert self.now >= self.deadline[closed.request_id]

    @rule()
    def back_up(self) -> None:
        self.kept = (self.world.backup(), {name: set(voters) for name, voters in self.approvals.items()})

    @precondition(lambda self: self.kept is not None and (self.holder is None or self.holder in self.unknown))
    @rule()
    def restore(self) -> None:
        """The database comes back as it was; log and markers stay, and the next start reads the log."""
        assert self.kept is not None
        kept, self.approvals = self.kept[0], {name: set() for name in self.deadline} | self.kept[1]
        self.world = self._open(self.world.restored(kept))
        self.kept = None
        reconcile(self.world.store, self.world.origin, self.log)

    @invariant()
    def nothing_ran_twice(self) -> None:
        if hasattr(self, "ran"):
            assert len(self.ran) == len(set(self.ran))

    @invariant()
    def an_unknown_goes_on_holding(self) -> None:
        if hasattr(self, "unknown") and self.unknown:
            assert self.world.store.effects((KEY,))[0].state == "unknown"


TestClearing = Clearing.TestCase
TestClearing.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
