"""A candidate policy judged beside the one in force, on live calls: what would it have decided?

Guarantees: no outcome depends on it. A call is judged after it has ended, in a thread of its own; nothing is executed,
opened, looked up or counted: arguments and facts are those of the call. What cannot be said from them is counted as
undecidable and never guessed, as `impact` does it over the log. When calls come faster than they are judged some are
skipped, and counted. Whatever goes wrong here is told once, in the process's log and in `toolgate policy status`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import orjson

from gateway.alarm import alarm
from gateway.audit.stage import Partial, Record
from gateway.domain.call import Outcome
from gateway.domain.errors import PolicyError, ToolgateError, UsageError, described
from gateway.domain.event import PolicyShadow
from gateway.domain.masking import MASK
from gateway.policy.documents import Contract
from gateway.policy.loader import load
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.dry import Decision, DryRun, Question
from gateway.policy_tools.ended import Ended, ended_call
from gateway.policy_tools.recorded import OF_POLICY

MAX_WAITING: Final = 256  # ended calls that wait to be judged
MAX_WAITING_BYTES: Final = 16 << 20  # and their arguments
DRAIN_S: Final = 5.0  # how long a gateway that is closed waits for those that are left
TELL_S: Final = 1.0  # how often, at most, the figures are handed on


@final
@dataclass(frozen=True, slots=True)
class Tally:
    """What came of it so far. `digest` is empty and `fault` says why where there is no candidate to judge by."""

    digest: str = ""
    fault: str = ""
    judged: int = 0
    differences: int = 0
    undecidable: int = 0
    skipped: int = 0


@final
class Shadow:
    """Give it ended calls; it records where the candidate would have decided otherwise."""

    def __init__(self, folder: Path) -> None:
        """Never raises: a candidate that cannot be loaded is told, and nothing is judged."""
        self._folder = folder
        self._guard = threading.Condition()
        self._waiting: deque[Ended] = deque()
        self._bytes = 0
        self._closing = False
        self._failed = False
        self._tally = Tally()
        self._run: DryRun | None = None
        self._opened: list[DryRun] = []
        self._thread: threading.Thread | None = None
        self.load()

    @property
    def tally(self) -> Tally:
        return self._tally

    def load(self) -> None:
        """Read the candidate, now or anew. Figures begin again with another digest."""
        try:
            found = load(self._folder, locked=False)
            if found.digest == self._tally.digest:
                return
            run = DryRun(found)
        except Exception as error:  # a candidate is work in progress: whatever is wrong with it must stop nobody
            why = str(error) if isinstance(error, ToolgateError) else described(error)
            alarm().error("shadow_not_loaded", folder=str(self._folder), fault=why, effect="no call is judged by it")
            with self._guard:
                self._tally, self._run = Tally(fault=why), None
            return
        with self._guard:
            self._tally, self._run, self._failed = Tally(found.digest), run, False
            self._opened.append(run)
        alarm().info("shadow_loaded", folder=str(self._folder), digest=found.digest)

    def start(
        self,
        active: Callable[[], PolicySet],
        stage: Callable[[], Record],
        record: Callable[[PolicyShadow], object],
        tell: Callable[[], None],
    ) -> None:
        """`active` is the policy in force, `stage` its step 6; `record` appends to the log, `tell` hands figures on."""
        self._active, self._stage, self._record, self._tell = active, stage, record, tell
        self._thread = threading.Thread(target=self._work, name="toolgate-shadow", daemon=True)
        self._thread.start()

    def __call__(self, seen: Partial, outcome: Outcome) -> None:
        """Take a call that has ended. Never raises, never waits."""
        try:
            ended = ended_call(seen, outcome)
            if ended is None:
                return
            with self._guard:
                if self._run is None or self._closing:
                    return
                if len(self._waiting) >= MAX_WAITING or self._bytes + len(ended.wire) > MAX_WAITING_BYTES:
                    self._tally = replace(self._tally, skipped=self._tally.skipped + 1)
                    return
                self._waiting.append(ended)
                self._bytes += len(ended.wire)
                self._guard.notify()
        except Exception as surprise:  # the call has ended and its outcome stands: only the shadow is at fault
            self._fail(surprise)

    def close(self) -> None:
        """Judge what is left, for a while, and stop. Idempotent."""
        with self._guard:
            self._closing = True
            self._guard.notify()
        if self._thread is not None:
            self._thread.join(DRAIN_S)
        while self._opened:
            self._opened.pop().close()

    def _work(self) -> None:
        told = 0.0
        while True:
            with self._guard:
                while not self._waiting and not self._closing:
                    self._guard.wait()
                if not self._waiting:
                    return
                ended, run = self._waiting.popleft(), self._run
                self._bytes -= len(ended.wire)
            try:
                if run is not None:
                    self._judge(run, ended)
                if time.monotonic() - told > TELL_S:
                    told = time.monotonic()
                    self._tell()
            except Exception as surprise:  # a thread that died would leave the shadow silent
                self._fail(surprise)

    def _judge(self, run: DryRun, ended: Ended) -> None:
        policy = self._active()
        verdict = None
        if ended.ctx.policy_digest == policy.digest:
            verdict = _verdict(run, policy, ended)
        differs = verdict is not None and verdict[0] != ended.decided
        if verdict is not None and differs:
            after, reason, rule = verdict
            subject = self._stage().subject(ended.ctx, ended.tool)
            digest = run.policy.digest
            self._record(PolicyShadow(subject, digest, ended.decided, ended.reason, after, reason, rule))
        with self._guard:
            if run is not self._run:
                return
            now = self._tally
            self._tally = replace(
                now,
                judged=now.judged + (verdict is not None),
                differences=now.differences + differs,
                undecidable=now.undecidable + (verdict is None),
            )

    def _fail(self, surprise: Exception) -> None:
        """Said once, loudly; the figures keep saying it."""
        with self._guard:
            first, self._failed = not self._failed, True
            self._tally = replace(self._tally, fault=described(surprise)[:512])
        if first:
            alarm().error("shadow_failed", folder=str(self._folder), fault=described(surprise), effect="calls go on")


def _verdict(run: DryRun, policy: PolicySet, ended: Ended) -> tuple[Decision, str, str] | None:
    """(decision, reason, rule) of the candidate, or None where the call does not say enough."""
    candidate = run.policy.contracts.get(ended.tool)
    known = policy.contracts.get(ended.tool)
    facts: dict[str, object] = {}
    if candidate is not None and candidate.contract.facts:
        taken = _facts(candidate.contract, known.contract if known is not None else None, ended)
        if taken is None:
            return None
        facts = taken
    ctx = ended.ctx
    question = Question(
        principal=ctx.principal.id,
        tool=ended.tool,
        arguments=ended.wire or b"{}",
        on_behalf_of=None if ctx.on_behalf_of is None else ctx.on_behalf_of.id,
        conversation=ctx.conversation,
        calls=ended.calls,
        facts=facts,
        fallback=ctx.fallback,
        at=ctx.at.rfc3339(),
    )
    try:
        verdict = run.judge(question)
    except (PolicyError, UsageError):
        return None  # it asks for something that the call does not hold
    finally:
        run.tidy()
    if verdict.reason == "fact_unavailable" or (verdict.decision == "deny" and verdict.reason not in OF_POLICY):
        return None
    if ended.reason == "guard_found" and verdict.decision != "deny" and run.looks(ended.tool):
        return None  # a guard refused what it found there, and here it looks at nothing
    if facts and candidate is not None and not _same_question(candidate.contract, verdict.effective, ended.effective):
        return None
    return verdict.decision, verdict.reason, str(verdict.rules[0]) if verdict.rules else ""


def _facts(candidate: Contract, known: Contract | None, ended: Ended) -> dict[str, object] | None:
    """The candidate's facts from those of the call: same provider, same parameters. None if something is masked."""
    found: dict[tuple[str, tuple[str, ...]], object] = {}
    for name, fact in known.facts.items() if known is not None else ():
        if name in ended.facts:
            found[fact.provider, fact.args] = ended.facts[name]
    facts = {
        name: found[fact.provider, fact.args]
        for name, fact in candidate.facts.items()
        if (fact.provider, fact.args) in found
    }
    return None if facts and MASK.encode() in orjson.dumps(facts) else facts


def _same_question(contract: Contract, asked: bytes | None, was: bytes | None) -> bool:
    """Whether the facts were looked up for the arguments that the candidate makes of the call."""
    if asked is None or was is None:
        return True  # it was decided before any fact was looked at
    now, then = orjson.loads(asked), orjson.loads(was)
    names = {name for fact in contract.facts.values() for name in fact.args}
    return all(now.get(name) == then.get(name) for name in names)
