"""A machine that reserves, ends, crashes, restores, settles and sets clocks in any order, beside a model that adds up.

Held after every step: what an account has open, and has spent in its window, is never more than its budget; and what is
left can be spent, so nothing is lost either.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from gateway.clear.recovery import LoggedIntent, reconcile, settle
from gateway.domain.call import ClearedCall
from gateway.domain.charge import Charge
from gateway.domain.decision import ReasonCode, Refusal
from gateway.domain.instant import NS
from gateway.state.budgets import Entry
from tests.unit.clear.world import World

MOST = 100
WINDOW_S = 3600
ACCOUNTS = ("k1", "k2")
ORIGINS = ("worker-1", "worker-2")


@dataclass
class Spent:
    """One call, as the model has it. `at` is boot time in seconds; None once it was given back."""

    origin: str
    charges: tuple[Charge, ...]
    at: float | None
    wall_ns: int
    open: bool = True


def charge(account: str, units: int) -> Charge:
    return Charge("refunds", (account, f"{account} under an old key"), units, MOST, WINDOW_S * NS, tell_left=False)


class Budgets(RuleBasedStateMachine):
    running = Bundle("running")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.worlds = {"worker-1": World(Path(self.folder.name))}
        self.clock = self.worlds["worker-1"].clock
        self.worlds["worker-2"] = World(Path(self.folder.name), clock=self.clock, origin="worker-2")
        self.now = 0.0
        self.exact = True  # until a clock was set or a backup came back: then more may be held than the model knows
        self.spent: dict[str, Spent] = {}
        self.log: dict[str, dict[str, LoggedIntent]] = {origin: {} for origin in ORIGINS}
        self.kept: Path | None = None

    def teardown(self) -> None:
        if hasattr(self, "worlds"):
            for world in self.worlds.values():
                world.database.close()
            self.folder.cleanup()

    def _used(self, account: str) -> int:
        return sum(
            each.units
            for call in self.spent.values()
            for each in call.charges
            if each.account == account and call.at is not None and (call.open or self.now - call.at < WINDOW_S)
        )

    @rule(
        target=running,
        origin=st.sampled_from(ORIGINS),
        accounts=st.sampled_from([("k1",), ("k2",), ACCOUNTS]),
        units=st.sampled_from([0, 1, 33, 50, 60, 100, 101]),
    )
    def reserve(self, origin: str, accounts: tuple[str, ...], units: int) -> object:
        charges = tuple(charge(account, units) for account in accounts)
        world = self.worlds[origin]
        call = world.call(obligations=(), charges=charges)
        fits = units == 0 or all(self._used(account) + units <= MOST for account in accounts)
        got = world.clear_call(call)
        if isinstance(got, Refusal):
            assert got.reason is ReasonCode.VALUE_BUDGET
            assert not (fits and self.exact), "what is left cannot be spent"
            return multiple()
        assert isinstance(got, ClearedCall)
        assert fits, "more was given than there is"
        self.spent[call.ctx.id] = Spent(origin, charges, self.now, call.ctx.at.wall_ns)
        return origin, got

    @rule(
        call=consumes(running),
        end=st.sampled_from(["burnt", "unknown", "done", "failed"]),
        crash=st.booleans(),
    )
    def end(self, call: tuple[str, ClearedCall], end: str, crash: bool) -> None:
        """The call ends; or its process dies there, and the next start reads the log."""
        origin, cleared = call
        known = self.spent[cleared.ctx.id]
        if not known.open:
            return  # its process died long ago
        if end != "burnt":
            outcome, spent = {"unknown": (None, None), "done": ("released", True), "failed": ("failed", False)}[end]
            entries = tuple(
                Entry(cleared.ctx.id, origin, each.budget, each.account, each.units, known.wall_ns)
                for each in known.charges
                if each.units
            )
            self.log[origin][cleared.ctx.id] = LoggedIntent(
                cleared.ctx.id, None, None, outcome, charges=entries, spent=spent
            )
        if crash:
            event("crashed")
            self._restart(origin)
        else:
            self.worlds[origin].finish(cleared, end)
        self._ended(cleared.ctx.id, end)
        if crash:
            for call_id, other in self.spent.items():
                if other.origin == origin and other.open and call_id not in self.log[origin]:
                    self._ended(call_id, "burnt")

    def _ended(self, call_id: str, end: str) -> None:
        known = self.spent[call_id]
        known.open = end == "unknown"
        if end in ("burnt", "failed"):
            known.at = None

    def _restart(self, origin: str) -> None:
        """The next start of this origin: what has no intent never ran, the rest is what the log says."""
        world = self.worlds[origin]
        reconcile(world.store, origin, self.log[origin])

    @rule(finding=st.sampled_from(["happened", "did_not_happen", "cannot_tell"]), pick=st.integers(0, 5))
    def settle(self, finding: str, pick: int) -> None:
        unknown = [
            (origin, each)
            for origin, log in self.log.items()
            for each in log.values()
            if each.outcome is None and each.settled is None
        ]
        if not unknown:
            return
        origin, old = unknown[pick % len(unknown)]
        held = settle(self.worlds[origin].store, old.call_id, finding)  # type: ignore[arg-type]
        assert held is bool(old.charges)
        if finding == "cannot_tell":
            return
        self.log[origin][old.call_id] = LoggedIntent(
            old.call_id, None, None, None, finding, charges=old.charges, spent=None
        )
        self._ended(old.call_id, "done" if finding == "happened" else "failed")

    @rule(seconds=st.sampled_from([1, 600, 1800, 3599, 3600]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.now += seconds

    @rule(seconds=st.sampled_from([-3600, -60, 7200, 40 * 86_400]))
    def set_the_clock(self, seconds: int) -> None:
        """Whoever sets the wall clock of a running machine gets nothing for it."""
        if seconds > 0 and self.kept is not None:
            return  # what a backup brings back has only its wall time; test_budgets has that case
        self.clock.set_wall(seconds)
        self.exact = False

    @rule()
    def back_up(self) -> None:
        self.kept = self.worlds["worker-1"].backup()

    @rule()
    def restore(self) -> None:
        """The database of some time ago comes back; every process has gone, and its log is read."""
        if self.kept is None:
            return
        event("restored")
        self.worlds["worker-2"].database.close()
        self.worlds["worker-1"] = self.worlds["worker-1"].restored(self.kept)
        self.worlds["worker-2"] = World(Path(self.folder.name), clock=self.clock, origin="worker-2")
        self.kept, self.exact = None, False
        for origin in ORIGINS:
            self._restart(origin)
        for call_id, each in self.spent.items():
            if each.open and call_id not in self.log[each.origin]:
                self._ended(call_id, "burnt")

    @invariant()
    def no_account_has_spent_more_than_it_may(self) -> None:
        for account in ACCOUNTS if hasattr(self, "spent") else ():
            assert self._used(account) <= MOST


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
