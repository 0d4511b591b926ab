"""A request as people see it: in full, with nothing hidden and nothing that acts on a terminal or a page (C064-C067).

Guarantee: every text in a view has been through `visible`, none is shortened, and what the model wrote (arguments)
stands apart from what the host found out (facts). Only parameters that the contract declares secret are masked (C072).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, final

from gateway.clear.dossier import Dossier
from gateway.clear.request import StoredRequest
from gateway.clear.visible import visible, visible_json
from gateway.clear.votes import Ballot, Needs, Tally
from gateway.domain.instant import NS

HIDDEN: Final = "(secret)"


@final
@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, as JSON. `authority`: it says who, where or how much; else it is content, the model's claim.

    `leads_to` says what stands behind it, where it is a reference: what it holds, or that nobody can hold it (C133).
    """

    name: str
    value: str
    masked: bool
    authority: bool
    leads_to: str


@final
@dataclass(frozen=True, slots=True)
class VoteView:
    """One vote. `rejected` says why it does not count now; empty if it counts."""

    verdict: str
    voter: str
    key_id: str
    dev_key: bool
    comment: str
    at: str
    rejected: str


@final
@dataclass(frozen=True, slots=True)
class RequestView:
    """Everything about one request, safe to print. Times are RFC 3339.

    `state` is the stored state, or `approved` (pending with all it needs), `overdue`, `spent` (restored from a backup)
    or `altered` (changed by hand: it grants nothing). `arguments`, `facts`, `obligations` are empty once it has ended.
    """

    id: str
    digest: str
    state: str
    note: str
    principal: str
    on_behalf_of: str | None
    conversation: str
    tool: str
    contract_digest: str
    sandbox: str | None
    created: str
    expires: str
    arguments: tuple[Argument, ...]
    facts: tuple[tuple[str, str], ...]
    obligations: tuple[str, ...]
    scopes: tuple[str, ...]
    needs: Needs
    votes: tuple[VoteView, ...]


def render(
    request: StoredRequest,
    dossier: Dossier | None,
    counted: Tally,
    needs: Needs,
    *,
    state: str,
    note: str,
    reveal: bool,
) -> RequestView:
    """`dossier` is None once the parked bytes are gone. `reveal` shows secret parameters: a right to be recorded."""
    binding = request.binding
    return RequestView(
        id=visible(binding.id),
        digest=visible(request.digest),
        state=state,
        note=visible(note),
        principal=visible(binding.principal),
        on_behalf_of=None if binding.on_behalf_of is None else visible(binding.on_behalf_of),
        conversation=visible(binding.conversation),
        tool=visible(binding.tool),
        contract_digest=visible(binding.contract_digest),
        sandbox=None if binding.sandbox is None else visible(binding.sandbox),
        created=_time(request.created.wall_ns),
        expires=_time(binding.expires.wall_ns),
        arguments=() if dossier is None else _arguments(dossier, reveal=reveal),
        facts=() if dossier is None else tuple((visible(k), visible_json(v)) for k, v in dossier.facts.items()),
        obligations=() if dossier is None else tuple(_obligation(found) for found in dossier.obligations),
        scopes=() if dossier is None else tuple(map(visible, dossier.scopes)),
        needs=needs,
        votes=_votes(counted),
    )


def unreadable(request_id: str, state: str, note: str) -> RequestView:
    """A row that cannot be read: shown as such, so that it neither hides nor hides others."""
    return RequestView(
        id=visible(request_id),
        digest="",
        state=state,
        note=visible(note),
        principal="",
        on_behalf_of=None,
        conversation="",
        tool="",
        contract_digest="",
        sandbox=None,
        created="",
        expires="",
        arguments=(),
        facts=(),
        obligations=(),
        scopes=(),
        needs=Needs(0, confirmation=False),
        votes=(),
    )


def _arguments(dossier: Dossier, *, reveal: bool) -> tuple[Argument, ...]:
    effective: dict[str, object] = json.loads(dossier.effective)
    masked: dict[str, object] = json.loads(dossier.masked)
    shown = []
    for name, value in effective.items():
        hide = name in dossier.secrets and not reveal
        # A mask that equals the value is no mask.
        stands_for_it = masked.get(name, HIDDEN) if masked.get(name) != value else HIDDEN
        text = visible_json(stands_for_it if hide else value)
        leads_to = "" if value is None else _leads_to(dossier, name)
        shown.append(Argument(visible(name), text, hide, name in dossier.authority, leads_to))
    return tuple(shown)


def _leads_to(dossier: Dossier, name: str) -> str:
    pin = dossier.pinned.get(name)
    if pin is None:
        return visible(dossier.mutable.get(name, ""))
    said = f"{pin['bytes']} bytes with SHA-256 {pin['sha256']}; if that changes, the call is refused"
    return visible(said)


def _obligation(found: Mapping[str, object]) -> str:
    rule = f" [{found['rule']}]" if found.get("rule") else ""
    return visible(f"{found.get('kind')}: {found.get('why')}{rule}")


def _votes(counted: Tally) -> tuple[VoteView, ...]:
    good = [(ballot, "") for ballot in (*counted.approvals, *counted.confirmations, *counted.denials)]
    return tuple(_vote(ballot, why) for ballot, why in (*good, *counted.rejected))


def _vote(ballot: Ballot, why: str) -> VoteView:
    return VoteView(
        verdict=visible(ballot.verdict),
        voter=visible(ballot.voter),
        key_id=visible(ballot.key_id),
        dev_key=ballot.dev,
        comment=visible(ballot.comment),
        at=_time(ballot.at_wall_ns),
        rejected=visible(why),
    )


def _time(wall_ns: int) -> str:
    """Seconds are enough for people; a number that is no time (a row changed by hand) is shown as it is."""
    try:
        return f"{datetime.fromtimestamp(wall_ns // NS, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return str(wall_ns)
