"""What became of a call that was recorded, and what today's policy says of it: `toolgate policy explain ID`.

The record says what was decided, by which line, under which policy (by digest). The call is then judged again, step by
step: under the very set it was decided by, where that is what stands in the folder or what was applied last, else
under what stands in the folder now, and it is said which. Where arguments were masked, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from gateway.audit.errors import LogDamaged
from gateway.audit.intents import origins_of_log
from gateway.audit.read import read_origin
from gateway.domain.errors import PolicyError, UsageError
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.dry import DryRun, Verdict
from gateway.policy_tools.impact import unanswered
from gateway.policy_tools.nearest import nearest
from gateway.policy_tools.recorded import Recorded, read_recorded

Under = Literal["the same policy", "the policy that was applied then", "today's policy, which is another"]


@final
@dataclass(frozen=True, slots=True)
class Past:
    """One recorded call. `rule` and `grant` are lines of the policy with `digest`, as they were then.

    `observed`: the gateway only observed, so the call ran whatever `call` says that was decided.
    """

    call: Recorded
    time: str
    digest: str
    step: int | None
    detail: str
    rule: str
    grant: str
    contract: str
    observed: bool = False


@final
@dataclass(frozen=True, slots=True)
class Explanation:
    """`verdict` is None where the call cannot be judged again: `why_not` says why. `changes` would have allowed it."""

    past: Past
    under: Under
    digest: str
    verdict: Verdict | None
    why_not: str
    changes: tuple[str, ...]


def find(audit_root: Path, named: str, origins: Iterable[str] | None = None) -> Past | None:
    """The call with this id, or the one that was parked under this request id; None if no log of `origins` has it.

    Raises LogDamaged if it is only named where nothing can be read.
    """
    mark = f'"{named}"'.encode()
    damage: LogDamaged | None = None
    for origin in origins_of_log(audit_root) if origins is None else origins:
        for stored in read_origin(audit_root, origin, marks=(mark,)):
            if stored.record is None:
                if mark in stored.line:
                    damage = LogDamaged(origin, "what stands there is no JSON object", stored.seq)
                continue
            try:
                recorded = read_recorded(origin, stored.seq, stored.record)
            except LogDamaged as found:
                damage = found
                continue
            if recorded is not None and named in (recorded.call_id, _request(stored.record)):
                return _past(recorded, stored.record)
    if damage is not None:
        raise damage
    return None


def explain(past: Past, now: PolicySet, then: PolicySet | None) -> Explanation:
    """`now` is what stands in the policy folder, `then` what was applied last. Raises PolicyError if it is broken."""
    under: Under = "today's policy, which is another"
    policy = now
    if past.digest == now.digest:
        under = "the same policy"
    elif then is not None and past.digest == then.digest:
        under, policy = "the policy that was applied then", then
    question = past.call.question
    access = past.call.reason in ("unknown_tool", "not_granted", "deny_rule")  # decided before arguments are looked at
    if past.call.why_not and not access:
        return Explanation(past, under, policy.digest, None, past.call.why_not, ())
    with DryRun(policy) as run:
        try:
            verdict = run.judge(question)
        except (PolicyError, UsageError) as error:
            return Explanation(past, under, policy.digest, None, str(error), ())
        why = unanswered(run, past.call, verdict)
        if why:
            return Explanation(past, under, policy.digest, None, why, ())
        return Explanation(past, under, policy.digest, verdict, "", nearest(run, question, verdict))


def _request(record: dict[str, Any]) -> str | None:
    found = record.get("request_id") or record["call"].get("request_id")
    return found if isinstance(found, str) else None


def _past(call: Recorded, record: dict[str, Any]) -> Past:
    observed = record.get("observed")
    said = observed if isinstance(observed, dict) and record.get("kind") == "call.intent" else record
    obligations = said.get("obligations") or []
    rules = [str(each["rule"]) for each in obligations if isinstance(each, dict) and each.get("rule")]
    step = said.get("step")
    return Past(
        call,
        str(record.get("time", "")),
        str(record["call"].get("policy_digest", "")),
        step if isinstance(step, int) else None,
        str(said.get("detail") or ""),
        str(said.get("rule") or ", ".join(rules)),
        str(record.get("grant") or ""),
        str(record.get("contract") or ""),
        said is observed,
    )
