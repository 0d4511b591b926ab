"""Requests, votes and claims in the shared database, every change a compare-and-set on the state (C055, C062, C073).

Guarantees: a request is claimed once, whoever tries at the same time; what ends is marked beside the log before the
database commits, so it stays ended when the database is restored (C127); parked bytes are gone once they are of no use.
Whether a claim is *deserved* is not asked here: `stage.py` does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from gateway.clear import effects
from gateway.clear.effects import Effect, Holder
from gateway.clear.markers import SpentMarkers
from gateway.clear.port import Transactions
from gateway.clear.request import (
    BURNT,
    CLAIMED,
    DENIED,
    DONE,
    EXPIRED,
    FAILED,
    PENDING,
    STATES,
    UNKNOWN,
    Binding,
    StoredRequest,
)
from gateway.clear.tables import METADATA, REQUESTS, VOTES
from gateway.clear.votes import DENY, Ballot
from gateway.domain.charge import Charge
from gateway.domain.errors import StateUnavailable
from gateway.domain.instant import Instant
from gateway.state import budgets
from gateway.state.budgets import Exceeded

_TEXT: Final = ("id", "state", "nonce", "conversation", "principal", "tool", "contract_digest", "effective_digest")
_TEXT_TOO: Final = ("display_digest", "request_digest", "boot_id", "policy_digest", "provider_call_id", "masked")
_NUMBERS: Final = ("created_wall_ns", "created_boot_ns", "expires_wall_ns", "expires_boot_ns")
_TEXT_OR_NONE: Final = ("on_behalf_of", "sandbox", "claim_origin", "claim_call")
_BYTES_OR_NONE: Final = ("sealed_wire", "sealed_dossier", "sealed_verdict")


class _Lost(Exception):
    """A compare-and-set found another state: roll everything back."""


@final
class RequestStore:
    """All SQL about requests and votes. Every method raises StateUnavailable."""

    def __init__(self, database: Transactions, markers: SpentMarkers) -> None:
        self.database = database
        self.markers = markers
        with database.write() as connection:
            METADATA.create_all(connection)
            budgets.METADATA.create_all(connection)

    # reading

    def get(self, request_id: str) -> StoredRequest | None:
        with self.database.read() as connection, _believable(f"request {request_id!a}"):
            row = connection.execute(select(REQUESTS).where(REQUESTS.c.id == request_id)).one_or_none()
            return None if row is None else _stored(row)

    def ids(self, *states: str) -> tuple[str, ...]:
        """Oldest first."""
        with self.database.read() as connection:
            found = select(REQUESTS.c.id).where(REQUESTS.c.state.in_(states)).order_by(REQUESTS.c.created_wall_ns)
            return tuple(connection.execute(found).scalars())

    def ballots(self, request_id: str) -> tuple[Ballot, ...]:
        """As found: a row here proves nothing until `votes.tally` has verified it."""
        with self.database.read() as connection, _believable(f"a vote on {request_id!a}"):
            rows = connection.execute(
                select(VOTES, REQUESTS.c.request_digest)
                .join(REQUESTS, REQUESTS.c.id == VOTES.c.request_id)
                .where(VOTES.c.request_id == request_id)
                .order_by(VOTES.c.at_wall_ns)
            ).all()
            return tuple(_ballot(row) for row in rows)

    def pending_in(self, conversation: str, now: Instant) -> int:
        with self.database.read() as connection:
            return _pending_in(connection, conversation, now)

    def pending_of(self, conversation: str) -> tuple[StoredRequest, ...]:
        """What waits in a conversation of this name, whoever's it is, expired or not."""
        with self.database.read() as connection, _believable(f"a request of {conversation!a}"):
            found = select(REQUESTS).where(REQUESTS.c.conversation == conversation, REQUESTS.c.state == PENDING)
            return tuple(_stored(row) for row in connection.execute(found))

    def effects(self, keys: Sequence[str]) -> tuple[Effect, ...]:
        """One thing in all its spellings."""
        with self.database.read() as connection:
            return tuple(effects.read(connection, key) for key in keys)

    def exceeded(self, charges: Sequence[Charge], now: Instant) -> Exceeded | None:
        """The first charge that would not fit now. Reserves nothing: waiting for a person holds nothing (I13)."""
        with self.database.read() as connection:
            return budgets.exceeded(connection, charges, now)

    # before the claim

    def insert(self, request: StoredRequest, most: int) -> bool:
        """Make a request durable. False if its conversation has `most` waiting already (C068)."""
        binding = request.binding
        with self.database.write() as connection:
            if _pending_in(connection, binding.conversation, request.created) >= most:
                return False
            connection.execute(
                insert(REQUESTS).values(
                    id=binding.id,
                    state=PENDING,
                    nonce=binding.nonce,
                    conversation=binding.conversation,
                    principal=binding.principal,
                    on_behalf_of=binding.on_behalf_of,
                    tool=binding.tool,
                    contract_digest=binding.contract_digest,
                    effective_digest=binding.effective_digest,
                    sandbox=binding.sandbox,
                    display_digest=binding.display_digest,
                    request_digest=request.digest,
                    created_wall_ns=request.created.wall_ns,
                    created_boot_ns=request.created.boot_ns,
                    expires_wall_ns=binding.expires.wall_ns,
                    expires_boot_ns=binding.expires.boot_ns,
                    boot_id=binding.expires.boot_id,
                    policy_digest=request.policy_digest,
                    provider_call_id=request.provider_call_id,
                    masked=request.masked,
                    sealed_wire=request.sealed_wire,
                    sealed_dossier=request.sealed_dossier,
                )
            )
        return True

    def cast(self, ballot: Ballot) -> bool:
        """Keep a vote; a denial ends the request. The same vote again changes nothing (C058). False if not pending."""
        try:
            with self.database.write() as connection:
                row = connection.execute(
                    select(REQUESTS.c.state).where(REQUESTS.c.id == ballot.request_id)
                ).one_or_none()
                if row is None or row.state != PENDING or self.markers.spent(ballot.request_id):
                    return False
                connection.execute(  # a row of that name may be a forged one: the verified vote takes its place
                    delete(VOTES).where(
                        VOTES.c.request_id == ballot.request_id,
                        VOTES.c.voter == ballot.voter,
                        VOTES.c.verdict == ballot.verdict,
                    )
                )
                connection.execute(
                    insert(VOTES).values(
                        request_id=ballot.request_id,
                        voter=ballot.voter,
                        verdict=ballot.verdict,
                        key_id=ballot.key_id,
                        signature=ballot.signature,
                        comment=ballot.comment,
                        at_wall_ns=ballot.at_wall_ns,
                        dev=int(ballot.dev),
                    )
                )
                if ballot.verdict == DENY:
                    self._end(connection, ballot.request_id, DENIED)
        except _Lost:
            return False
        return True

    def expire(self, request_id: str) -> bool:
        """End a request nobody answered in time. False if it was not pending."""
        try:
            with self.database.write() as connection:
                self._end(connection, request_id, EXPIRED)
        except _Lost:
            return False
        return True

    def _end(self, connection: Connection, request_id: str, state: str) -> None:
        ended = connection.execute(
            update(REQUESTS)
            .where(REQUESTS.c.id == request_id, REQUESTS.c.state == PENDING)
            .values(state=state, sealed_wire=None, sealed_dossier=None)
        )
        if ended.rowcount != 1:
            raise _Lost
        self.markers.mark(request_id, state)  # it may be marked already: then this row came back with a backup

    # the claim, and what became of it

    def claim(
        self,
        holder: Holder,
        digest: str | None,
        effect: tuple[Sequence[str], int] | None,
        charges: Sequence[Charge] = (),
        now: Instant | None = None,
    ) -> str | Exceeded | None:
        """Claim the request `holder.request_id` (of that digest), an effect (at that generation), and `charges`.

        One transaction: all of it or nothing. None if it was claimed, else what was lost: `effect`, `request`, or the
        charge that does not fit. `now` is needed where there are charges.
        """
        lost: str | Exceeded | None = None
        try:
            with self.database.write() as connection:
                if effect is not None and not effects.take(connection, *effect, holder):
                    lost = "effect"
                    raise _Lost
                if charges and now is not None:
                    lost = budgets.reserve(connection, charges, holder.origin, holder.call_id, now)
                    if lost is not None:
                        raise _Lost
                if holder.request_id is not None:  # the last, because a mark beside the log is not rolled back
                    lost = "request"
                    self._claim_request(connection, holder, holder.request_id, digest)
                lost = None
        except _Lost:
            return lost
        return None

    def _claim_request(self, connection: Connection, holder: Holder, request_id: str, digest: str | None) -> None:
        claimed = connection.execute(
            update(REQUESTS)
            .where(REQUESTS.c.id == request_id, REQUESTS.c.state == PENDING, REQUESTS.c.request_digest == digest)
            .values(state=CLAIMED, claim_origin=holder.origin, claim_call=holder.call_id)
        )
        why = f"claimed by {holder.call_id} of {holder.origin}"
        if claimed.rowcount != 1 or not self.markers.mark(request_id, why):
            raise _Lost

    def forget_results(self, subject: str) -> int:
        """Remove what spent requests made by, or for, `subject` would give back; how many there were."""
        asked_for = func.coalesce(REQUESTS.c.on_behalf_of, REQUESTS.c.principal)
        with self.database.write() as connection:
            forgotten = connection.execute(
                update(REQUESTS)
                .where(asked_for == subject, REQUESTS.c.sealed_verdict.is_not(None))
                .values(sealed_verdict=None)
            )
        return int(forgotten.rowcount)

    def finish(self, holder: Holder, state: str, sealed_verdict: bytes | None) -> None:
        """Write down what became of a claim: DONE, FAILED, UNKNOWN or BURNT. Somebody else's is never touched."""
        with self.database.write() as connection:
            finish(connection, holder, state, sealed_verdict)


def finish(connection: Connection, holder: Holder, state: str, sealed_verdict: bytes | None) -> None:
    """The same inside a transaction of the caller's."""
    if holder.request_id is not None:
        ended = DONE if state == FAILED else state  # a request whose call ran and failed is done with all the same
        values: dict[str, object] = {"state": ended, "sealed_verdict": sealed_verdict}
        if state != UNKNOWN:  # who settles an unknown must still see what was asked
            values |= {"sealed_wire": None, "sealed_dossier": None}
        connection.execute(
            update(REQUESTS)
            .where(
                REQUESTS.c.id == holder.request_id,
                REQUESTS.c.state.in_((CLAIMED, UNKNOWN)),
                REQUESTS.c.claim_origin == holder.origin,
                REQUESTS.c.claim_call == holder.call_id,
            )
            .values(**values)
        )
    if state == UNKNOWN:
        effects.keep_unknown(connection, holder)
        budgets.keep_unknown(connection, holder.origin, holder.call_id)
    elif state in (DONE, FAILED, BURNT):
        effects.free(connection, holder)
        let_go = budgets.spend if state == DONE else budgets.release
        let_go(connection, holder.origin, holder.call_id)
    else:
        raise ValueError(f"a claim ends as done, failed, unknown or burnt, not {state!r}")


def _pending_in(connection: Connection, conversation: str, now: Instant) -> int:
    found = connection.execute(
        select(func.count())
        .select_from(REQUESTS)
        .where(
            REQUESTS.c.conversation == conversation,
            REQUESTS.c.state == PENDING,
            REQUESTS.c.expires_wall_ns > now.wall_ns,
        )
    )
    return int(found.scalar_one())


@contextmanager
def _believable(what: str) -> Iterator[None]:
    """SQLite keeps any type in any column, so a row written by hand may hold anything."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise StateUnavailable(f"the row of {what} was changed by hand. It grants nothing.") from error


def _stored(row: Row[Any]) -> StoredRequest:
    values = row._mapping
    sound = (
        all(isinstance(values[name], str) for name in (*_TEXT, *_TEXT_TOO))
        and all(isinstance(values[name], str | None) for name in _TEXT_OR_NONE)
        and all(type(values[name]) is int for name in _NUMBERS)
        and all(isinstance(values[name], bytes | None) for name in _BYTES_OR_NONE)
        and values["state"] in STATES
    )
    if not sound:
        raise TypeError("a column holds a value of another type")
    binding = Binding(
        id=row.id,
        nonce=row.nonce,
        conversation=row.conversation,
        principal=row.principal,
        on_behalf_of=row.on_behalf_of,
        tool=row.tool,
        contract_digest=row.contract_digest,
        effective_digest=row.effective_digest,
        sandbox=row.sandbox,
        expires=Instant(row.expires_wall_ns, row.expires_boot_ns, row.boot_id),
        display_digest=row.display_digest,
    )
    return StoredRequest(
        binding=binding,
        digest=row.request_digest,
        state=row.state,
        created=Instant(row.created_wall_ns, row.created_boot_ns, row.boot_id),
        policy_digest=row.policy_digest,
        provider_call_id=row.provider_call_id,
        masked=row.masked,
        sealed_wire=row.sealed_wire,
        sealed_dossier=row.sealed_dossier,
        sealed_verdict=row.sealed_verdict,
        claim_origin=row.claim_origin,
        claim_call=row.claim_call,
    )


def _ballot(row: Row[Any]) -> Ballot:
    signature = row.signature if isinstance(row.signature, bytes) else b""
    at = row.at_wall_ns if type(row.at_wall_ns) is int else 0
    return Ballot(
        row.request_id,
        row.request_digest,
        str(row.verdict),
        str(row.voter),
        str(row.key_id),
        signature,
        str(row.comment),
        at,
        row.dev == 1,
    )
