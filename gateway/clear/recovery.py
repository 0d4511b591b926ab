"""After a crash: the log says what happened, the database is made to agree, and doubt is held (I5, C073, C127, C130).

Guarantee: a claim without an intent never ran and is burnt; an intent without an outcome is `unknown` and goes on
holding its effect key and what it charged, also when the database was restored and forgot it; an outcome means done,
and spent unless it says otherwise. Nothing is ever run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

from sqlalchemy import Connection, and_, or_, select, update

from gateway.clear import effects
from gateway.clear.effects import Holder
from gateway.clear.request import BURNT, CLAIMED, DONE, FAILED, PENDING, UNKNOWN
from gateway.clear.store import RequestStore, finish
from gateway.clear.tables import EFFECTS, REQUESTS
from gateway.state import budgets
from gateway.state.budgets import Entry

Finding = Literal["happened", "did_not_happen", "cannot_tell"]
FINDINGS: Final = ("happened", "did_not_happen", "cannot_tell")


@final
@dataclass(frozen=True, slots=True)
class LoggedIntent:
    """What the log says of one call that passed step 6.

    `outcome` is the status of its outcome (`released`, `failed`, `unknown`), or None if there is none. `settled` is
    the finding of a person, the newest one. `charges` are what it took from budgets; `spent` is False once the log
    says that the call failed for certain.
    """

    call_id: str
    effect_key: str | None
    request_id: str | None
    outcome: str | None
    settled: str | None = None
    charges: tuple[Entry, ...] = ()
    spent: bool | None = None

    @property
    def ended(self) -> str:
        """How its claim ends: as `state`, or FAILED."""
        return FAILED if self.state == DONE and self.settled is None and self.spent is False else self.state

    @property
    def state(self) -> str:
        """DONE, BURNT or UNKNOWN."""
        if self.settled == "happened":
            return DONE
        if self.settled == "did_not_happen":
            return BURNT
        return UNKNOWN if self.outcome in (None, "unknown") else DONE


@final
@dataclass(frozen=True, slots=True)
class Reconciled:
    """Ids of the calls whose rows were changed."""

    burnt: tuple[str, ...]
    unknown: tuple[str, ...]
    done: tuple[str, ...]


def reconcile(store: RequestStore, origin: str, intents: Mapping[str, LoggedIntent], since_ns: int = 0) -> Reconciled:
    """Make the rows of `origin` agree with its log. What was spent before `since_ns` (wall time) is not brought back.

    `intents`, by call id, must hold every intent of that log that claims something and whose end the log does not say,
    and of the others all that redeemed a request this database may know of (`older_than`) or spent what it does not
    (`forgets`). What is held by a call that is not among them is free: the call ended, or never began.

    Call it with the origin's lock held and before its first call, so that no call of that origin is alive. Repeating it
    changes nothing. Raises StateUnavailable.
    """
    changed: dict[str, set[str]] = {BURNT: set(), UNKNOWN: set(), DONE: set()}
    with store.database.write() as connection:
        for holder, is_unknown in _open_claims(connection, origin).items():
            intent = intents.get(holder.call_id)
            if is_unknown and (intent is None or intent.state == UNKNOWN):
                continue  # only a person's finding ends it
            finish(connection, holder, BURNT if intent is None else intent.ended, None)
            changed[BURNT if intent is None else intent.state].add(holder.call_id)
        for intent in intents.values():
            if intent.request_id is not None:  # a restored database may think that it still waits
                stale = connection.execute(
                    update(REQUESTS)
                    .where(REQUESTS.c.id == intent.request_id, REQUESTS.c.state == PENDING)
                    .values(state=intent.state, claim_origin=origin, claim_call=intent.call_id)
                )
                if stale.rowcount == 1:
                    store.markers.mark(intent.request_id, f"the log of {origin} says that it was used")
                    changed[intent.state].add(intent.call_id)
            if intent.effect_key is not None and intent.state == UNKNOWN:
                holder = Holder(origin, intent.call_id, intent.request_id)
                if effects.hold_unknown(connection, intent.effect_key, holder):
                    changed[UNKNOWN].add(intent.call_id)
            if intent.ended in (DONE, UNKNOWN):
                for entry in intent.charges:
                    counts = intent.state == UNKNOWN or entry.at_wall_ns > since_ns
                    if counts and budgets.restore(connection, entry, unknown=intent.state == UNKNOWN):
                        changed[intent.state].add(intent.call_id)
    burnt, unknown, done = (tuple(sorted(changed[state])) for state in (BURNT, UNKNOWN, DONE))
    return Reconciled(burnt, unknown, done)


def older_than(store: RequestStore, origin: str, intents: Mapping[str, LoggedIntent], forgot_until_ns: int) -> bool:
    """Whether a request may have been redeemed by one of `origin`'s calls that `intents` do not hold any more.

    Calls whose intents are not younger than `forgot_until_ns` are missing there. Raises StateUnavailable.
    """
    if not forgot_until_ns:
        return False
    redeemed = {intent.request_id for intent in intents.values()}
    with store.database.read() as connection:
        rows = connection.execute(
            select(REQUESTS.c.id, REQUESTS.c.state).where(
                REQUESTS.c.created_wall_ns <= forgot_until_ns,
                or_(
                    REQUESTS.c.state == PENDING,
                    and_(REQUESTS.c.claim_origin == origin, REQUESTS.c.state.in_((CLAIMED, UNKNOWN))),
                ),
            )
        ).all()
    return any(row.id not in redeemed and not (row.state == PENDING and store.markers.spent(row.id)) for row in rows)


def forgets(
    store: RequestStore, origin: str, intents: Mapping[str, LoggedIntent], since_ns: int, forgot_until_ns: int
) -> bool:
    """Whether this database lacks what one of `intents` spent since `since_ns`: then it may lack what came before too.

    So does one that holds an open charge of a call that may have ended before `forgot_until_ns` and is no longer known.
    """
    with store.database.read() as connection:
        for intent in intents.values():
            for entry in intent.charges if intent.ended == DONE else ():
                if entry.at_wall_ns > since_ns and not budgets.knows(connection, entry):
                    return True
        held = budgets.held_by(connection, origin)
        return any(
            call_id not in intents and budgets.opened_ns(connection, call_id) <= forgot_until_ns for call_id in held
        )


def open_claims(store: RequestStore, origin: str) -> frozenset[str]:
    """Ids of the calls of `origin` that hold something in this database. Raises StateUnavailable."""
    with store.database.read() as connection:
        return frozenset(holder.call_id for holder in _open_claims(connection, origin))


def _open_claims(connection: Connection, origin: str) -> dict[Holder, bool]:
    """Every call of `origin` that holds a request, an effect key or a charge; True if it is known to be unknown."""
    claims = connection.execute(
        select(REQUESTS.c.claim_call, REQUESTS.c.id, REQUESTS.c.state).where(
            REQUESTS.c.claim_origin == origin, REQUESTS.c.state.in_((CLAIMED, UNKNOWN))
        )
    ).all()
    found = {Holder(origin, row.claim_call, row.id): row.state == UNKNOWN for row in claims}
    for effect in effects.held_by(connection, origin):
        if effect.holder is not None:
            found.setdefault(effect.holder, effect.state == effects.UNKNOWN)
    known = {holder.call_id for holder in found}
    for call_id, is_unknown in budgets.held_by(connection, origin).items():
        if call_id not in known:
            found[Holder(origin, call_id)] = is_unknown
    return found


def settle(store: RequestStore, call_id: str, finding: Finding) -> bool:
    """What a person found out about an unknown call; record `CallSettled` first. False if nothing was held by it.

    `cannot_tell` goes on holding: letting go would let the same effect be asked for again. Run `reconcile` at the next
    start as ever: another unknown call on the same key is then held again.
    """
    if finding not in FINDINGS:
        raise ValueError(f"a finding is one of {FINDINGS}, not {finding!r}")
    with store.database.write() as connection:
        requests = connection.execute(
            select(REQUESTS.c.claim_origin, REQUESTS.c.id).where(
                REQUESTS.c.claim_call == call_id, REQUESTS.c.state == UNKNOWN
            )
        ).all()
        holders = {Holder(row.claim_origin, call_id, row.id) for row in requests}
        held = connection.execute(
            select(EFFECTS.c.holder_origin, EFFECTS.c.holder_request).where(
                EFFECTS.c.holder_call == call_id, EFFECTS.c.state == effects.UNKNOWN
            )
        ).all()
        holders |= {Holder(row.holder_origin, call_id, row.holder_request) for row in held}
        origins = {holder.origin for holder in holders}
        holders |= {Holder(each, call_id) for each in budgets.holders_of(connection, call_id) if each not in origins}
        if finding != "cannot_tell":
            for holder in holders:
                finish(connection, holder, DONE if finding == "happened" else BURNT, None)
    return bool(holders)
