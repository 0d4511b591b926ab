"""The words with which step 5 says no. The model learns nothing about other people's requests (I7, C131)."""

from __future__ import annotations

from gateway.clear.request import BURNT, CLAIMED, DENIED, DONE, EXPIRED, UNKNOWN
from gateway.clear.visible import visible
from gateway.domain.charge import in_words
from gateway.domain.decision import ReasonCode, Refusal, Step
from gateway.state.budgets import Exceeded


def no(reason: ReasonCode, message: str, detail: str = "", suggestion: str = "") -> Refusal:
    return Refusal(Step.CLEAR, reason, message, suggestion, detail)


def request_unknown(detail: str) -> Refusal:
    """Not yours, not of this conversation, or not there at all: one answer."""
    return no(ReasonCode.REQUEST_UNKNOWN, "There is no such request.", detail, "Make the call anew if it is wanted.")


def unconfirmed() -> Refusal:
    """For a model that would carry out a draft to which not everybody has agreed."""
    return no(
        ReasonCode.NOT_CONFIRMED,
        "This draft is not confirmed yet, so nothing has happened.",
        "the draft waits for people",
        "Ask the user to confirm it in the application. What is said here confirms nothing.",
    )


def may_not_park() -> Refusal:
    return no(
        ReasonCode.MAY_NOT_PARK,
        "This call needs a person's agreement, and a call made inside a tool cannot wait for one.",
        suggestion="Make the call directly instead.",
    )


def full(most: int) -> Refusal:
    return no(
        ReasonCode.APPROVALS_FULL,
        "Too many calls of this conversation wait for a person already.",
        f"{most} requests are pending",
        "Wait until some of them are decided.",
    )


def invalid(detail: str) -> Refusal:
    return no(
        ReasonCode.APPROVAL_INVALID,
        "The approval does not fit this call any more.",
        detail,
        "Ask again: make the call anew.",
    )


def unreadable(fault: OSError) -> Refusal:
    """People agree to what an argument leads to, and it cannot be read. A grant is not burnt by it."""
    return no(
        ReasonCode.FACT_UNAVAILABLE,
        "This call cannot be checked now.",
        f"what it refers to cannot be read: {fault}",
        "Try again later.",
    )


def expired(detail: str) -> Refusal:
    return no(
        ReasonCode.APPROVAL_EXPIRED,
        "Nobody agreed to this call in time.",
        detail,
        "Tell the user. Ask again only if it is still wanted.",
    )


def denied(comment: str, by: str) -> Refusal:
    said = f' They wrote: "{visible(comment)}"' if comment else ""
    return no(
        ReasonCode.APPROVAL_DENIED,
        f"A person refused this call.{said}",
        f"denied by {by}",
        "Do not ask for it again unless the user wants something else. Tell the user.",
    )


def busy() -> Refusal:
    return no(
        ReasonCode.BUSY,
        "Another call is acting on the same thing.",
        "its effect key changed hands after the facts were read",
        "Look at its present state, then decide whether this call is still needed.",
    )


def over_budget(too_much: Exceeded) -> Refusal:
    """How much is left is told only where the policy says so: it tells what others have spent."""
    charge, left = too_much.charge, in_words(too_much.left)
    return no(
        ReasonCode.VALUE_BUDGET,
        "This is more than may still be spent now.",
        f"budget `{charge.budget}`: {in_words(charge.units)} does not fit, {left} of {in_words(charge.most)} is left "
        f"in account {charge.account}",
        f"At most {left} is left." if charge.tell_left else "Do not split it up: tell the user, or ask again later.",
    )


def effect_held() -> Refusal:
    return no(
        ReasonCode.EFFECT_HELD,
        "An earlier call on the same thing may or may not have taken effect, and a person must find out first.",
        "its effect key is held by an unknown outcome; see `toolgate audit unfinished` and `settle`",
        "Do not repeat it. Tell the user that it is being looked into.",
    )


def spent(state: str, detail: str = "") -> Refusal:
    """A request that was claimed, whatever became of it."""
    said = {
        CLAIMED: "This call is being carried out.",
        DONE: "This call has been carried out.",
        UNKNOWN: "This call was begun, and a person must find out whether it took effect.",
        BURNT: "This call was approved, and did not run.",
    }
    return no(ReasonCode.GRANT_SPENT, said[state], detail or state)


def ended(state: str, denials: tuple[tuple[str, str], ...]) -> Refusal:
    """The verdict on a request in a state other than pending. `denials` are (voter, comment)."""
    if state == DENIED:
        voter, comment = denials[0] if denials else ("somebody", "")
        return denied(comment, voter)
    if state == EXPIRED:
        return expired("it was closed as expired")
    return spent(state)
