"""The approvers' desk: what waits for a person, shown in full, and the votes people cast on it (C057-C072, C128).

Guarantees: nobody votes on what she was not shown, since the vote signs the digest of the dossier on the desk; a vote
that would not count is refused with the reason; a confirmation is by the requester through an enrolled host. Order for
whoever calls: `ballot` (or `confirm`), record `event`, then `cast`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from gateway.clear import votes
from gateway.clear.dossier import Dossier, display_digest
from gateway.clear.port import Rules, Sealer
from gateway.clear.request import PENDING, STATES, StoredRequest, dossier_place
from gateway.clear.store import RequestStore
from gateway.clear.view import RequestView, render, unreadable
from gateway.clear.votes import Ballot, Needs
from gateway.domain.decision import ORDER, Obligation
from gateway.domain.errors import StateUnavailable, ToolgateError
from gateway.domain.event import ApprovalExpired, ApprovalVoted
from gateway.domain.ids import Principal
from gateway.domain.instant import Clock
from gateway.policy.documents import Approval

APPROVED: Final = "approved"
OVERDUE: Final = "overdue"
SPENT: Final = "spent"
ALTERED: Final = "altered"


class VoteRefused(ToolgateError):
    """This vote would not count. The message says why and may be shown to the voter."""


@final
class Desk:
    """For people, under the policy of one moment. All methods block and raise StateUnavailable."""

    def __init__(
        self,
        store: RequestStore,
        rules: Rules,
        *,
        sealer: Sealer,
        clock: Clock,
        newest_log_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._rules = rules
        self._sealer = sealer
        self._clock = clock
        self._newest_log_ns = newest_log_ns

    # reading

    def pending(self) -> tuple[RequestView, ...]:
        """What waits, oldest first; approved ones too until they are redeemed. One bad row hides no other."""
        return self.requests(PENDING)

    def requests(self, *states: str) -> tuple[RequestView, ...]:
        """Every request in one of these stored states (all, if none is named), oldest first."""
        views = []
        for request_id in self._store.ids(*(states or STATES)):
            try:
                view = self.show(request_id)
            except StateUnavailable as fault:  # one bad row must not hide the others; it is shown as what it is
                view = unreadable(str(request_id), ALTERED, str(fault))
            if view is not None:
                views.append(view)
        return tuple(views)

    def show(self, request_id: str, *, reveal: bool = False) -> RequestView | None:
        """One request in full, or None. `reveal` shows secret parameters; record that it was used."""
        request = self._store.get(request_id)
        if request is None:
            return None
        counted = votes.tally(self._store.ballots(request_id), request.binding, request.digest, self._rules)
        nothing = Needs(0, confirmation=False)
        if not request.intact:
            note = "this row was changed by hand: it grants nothing"
            return render(request, None, counted, nothing, state=ALTERED, note=note, reveal=False)
        dossier = self._dossier(request)
        needs = nothing if dossier is None else self._needs(request, dossier)
        state, note = request.state, ""
        if state == PENDING:
            overdue = self._overdue(request)
            if self._store.markers.spent(request_id):
                state, note = SPENT, "it was used or closed before: this database came back from a backup"
            elif overdue is not None:
                state, note = OVERDUE, overdue
            elif counted.meets(needs) and not counted.denials:
                state = APPROVED
                if dossier is not None and any(found["kind"] == ORDER for found in dossier.obligations):
                    note = "it comes after earlier calls of its conversation that wait"
        return render(request, dossier, counted, needs, state=state, note=note, reveal=reveal)

    def show_to(self, request_id: str, principal: Principal, on_behalf_of: Principal | None = None) -> RequestView:
        """A request as its requester is shown it before she confirms. Raises VoteRefused for one that is not hers."""
        request = self._store.get(request_id)
        view = (
            self.show(request_id) if request is not None and request.binding.asked_by(principal, on_behalf_of) else None
        )
        if view is None:
            raise VoteRefused("there is no such request")  # not hers and not there read alike (C131)
        return view

    # voting

    def ballot(
        self,
        request_id: str,
        verdict: votes.Verdict,
        *,
        voter: str,
        sign_with: Callable[[bytes], bytes],
        comment: str = "",
        shown: str,
    ) -> Ballot:
        """An approver's vote, checked. `shown` is the digest of the view she was shown. Raises VoteRefused."""
        if verdict not in (votes.APPROVE, votes.DENY):
            raise VoteRefused("an approver approves or denies; only the requester confirms")
        request = self._open(request_id)
        approver = votes.enrolled(voter, self._rules)
        if approver is None:
            raise VoteRefused(f"{voter!a} is not enrolled. Add her key with `toolgate approvers add`.")
        key_id = votes.key_id_of(votes.public_bytes(approver))
        return self._signed(request, verdict, voter, key_id, sign_with, comment, shown=shown, dev=approver.dev)

    def confirm(
        self,
        request_id: str,
        principal: Principal,
        on_behalf_of: Principal | None = None,
        *,
        key_id: str,
        sign_with: Callable[[bytes], bytes],
    ) -> Ballot:
        """The requester's own confirmation, attested by the host's enrolled key. Raises VoteRefused."""
        self.show_to(request_id, principal, on_behalf_of)
        request = self._open(request_id)
        return self._signed(
            request, votes.CONFIRM, principal.id, key_id, sign_with, "", shown=request.digest, dev=False
        )

    def event(self, ballot: Ballot) -> ApprovalVoted:
        """What to record, durably, before `cast`."""
        return ApprovalVoted(
            request_id=ballot.request_id,
            request_digest=ballot.request_digest,
            verdict=ballot.verdict,
            voter=ballot.voter,
            key_id=ballot.key_id,
            dev_key=ballot.dev,
            comment=ballot.comment,
            proof=str(votes.proof(ballot)["signature"]),
        )

    def cast(self, ballot: Ballot) -> RequestView:
        """Keep the vote; the same vote again changes nothing. A denial ends the request. Raises VoteRefused."""
        request = self._open(ballot.request_id)
        why = votes.objection(ballot, request.binding, request.digest, self._rules)
        if why is not None:
            raise VoteRefused(f"this vote does not count: {why}")
        if not self._store.cast(ballot):
            raise VoteRefused("the request was decided or closed meanwhile; look at it again")
        view = self.show(ballot.request_id)
        if view is None:
            raise StateUnavailable(f"request {ballot.request_id} is gone from the state database")
        return view

    # expiry

    def expire(self) -> tuple[ApprovalExpired, ...]:
        """Close what nobody answered in time; record what is returned. Expired requests deny even before this runs."""
        closed = []
        for request_id in self._store.ids(PENDING):
            request = self._store.get(request_id)
            if request is not None and request.expired(self._clock.now()) and self._store.expire(request_id):
                closed.append(ApprovalExpired(request_id, request.digest))
        return tuple(closed)

    # within

    def _open(self, request_id: str) -> StoredRequest:
        request = self._store.get(request_id)
        if request is None:
            raise VoteRefused("there is no such request")
        if not request.intact:
            raise VoteRefused("this request's row was changed by hand; it grants nothing")
        if request.state != PENDING or self._store.markers.spent(request_id):
            raise VoteRefused(f"this request is {request.state if request.state != PENDING else SPENT} already")
        overdue = self._overdue(request)
        if overdue is not None:
            raise VoteRefused(f"nobody can vote on this request any more: {overdue}")
        self._dossier(request)  # what cannot be shown cannot be voted on (C066)
        return request

    def _signed(
        self,
        request: StoredRequest,
        verdict: votes.Verdict,
        voter: str,
        key_id: str,
        sign_with: Callable[[bytes], bytes],
        comment: str,
        *,
        shown: str,
        dev: bool,
    ) -> Ballot:
        if shown != request.digest:
            raise VoteRefused("the request that was shown is not the one that is stored; look at it again")
        if len(comment) > votes.MAX_COMMENT_CHARS or _has_surrogates(comment):
            raise VoteRefused(f"a comment is valid Unicode of at most {votes.MAX_COMMENT_CHARS} characters")
        made = votes.sign(
            request.binding.id,
            request.digest,
            verdict,
            voter=voter,
            key_id=key_id,
            sign_with=sign_with,
            comment=comment,
            at_wall_ns=self._clock.now().wall_ns,
            dev=dev,
        )
        why = votes.objection(made, request.binding, request.digest, self._rules)
        if why is not None:
            raise VoteRefused(f"this vote does not count: {why}")
        return made

    def _dossier(self, request: StoredRequest) -> Dossier | None:
        if request.sealed_dossier is None:
            if request.state == PENDING:
                raise StateUnavailable(f"what {request.binding.id} shows was removed by hand; it grants nothing")
            return None
        encoded = self._sealer.unseal(request.sealed_dossier, dossier_place(request.digest))
        if display_digest(encoded) != request.binding.display_digest:
            raise StateUnavailable(f"what {request.binding.id} shows is not what its digest covers")
        return Dossier.decode(encoded)

    def _needs(self, request: StoredRequest, dossier: Dossier) -> Needs:
        """What it needs as far as can be told now; the obligations of the moment of redemption decide."""
        contract = self._rules.contracts.get(request.binding.tool)
        asked = [Obligation(str(found["kind"]), str(found["why"])) for found in dossier.obligations]
        return votes.needs_of(asked, Approval() if contract is None else contract.clearance)

    def _overdue(self, request: StoredRequest) -> str | None:
        return request.overdue(self._clock.now(), self._newest_log_ns)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
