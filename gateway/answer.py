"""The output check: what of a model's final answer a user may read (OWASP LLM02).

Guarantee: an answer in which a declared secret or something like a credential stands does not leave unrecorded, and
leaves as settings.yaml says: not at all, with what was found masked, or through a person. `session.run` asks this for
every final answer; a program with a loop of its own asks `session.check_answer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from gateway.domain.call import Parked
from gateway.domain.errors import AuditUnavailable
from gateway.domain.event import AnswerChecked
from gateway.domain.waits import Waits

if TYPE_CHECKING:
    from gateway.session import Session

Verdict = Literal["passed", "masked", "refused", "handed_over"]
_VERDICTS: dict[str, Verdict] = {"refuse": "refused", "mask": "masked", "hand_over": "handed_over"}


@final
@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """`text` is what the user may read, or None if the answer is held back.

    `request_id` is the request to deliver a held answer, where the policy names a tool for that: approvers see it, and
    `resume` redeems it.
    """

    text: str | None
    verdict: Verdict
    request_id: str | None = None


async def check_answer(session: Session, text: str, waits: Waits, *, whole: bool = True) -> CheckedAnswer:
    """Check `text`. `whole=False` for words that are no answer (a model's refusal): those are never handed over."""
    engine = session.engine
    policy = engine.policy()
    masked, found = policy.stages.release.answer(text, session.principal.id, session.conversation)
    if not found:
        return CheckedAnswer(text, "passed")
    verdict = _VERDICTS[policy.on_secret]
    event = AnswerChecked(
        session.principal.id,
        session.conversation,
        verdict,
        f"{found} secret or credential-like text(s)",
        engine.key.digest(text.encode("utf-8", "replace"), domain=b"answer"),
    )
    try:
        await engine.record.event(event, waits)
    except AuditUnavailable:
        return CheckedAnswer(None, verdict)  # the record has raised its alarm, and what is not recorded does not leave
    if policy.observing:
        return CheckedAnswer(text, verdict)
    if verdict == "handed_over" and whole:
        outcome = await session.deliver(text, waits)
        return CheckedAnswer(None, verdict, outcome.request_id if isinstance(outcome, Parked) else None)
    return CheckedAnswer(masked if verdict == "masked" else None, verdict)
