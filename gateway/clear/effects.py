"""Effect keys: what an unknown outcome holds, in every session and process (I5, C130).

Guarantee: at most one call holds a key; a key changes hands only by compare-and-set on the generation that the call
read before its facts, so two calls that saw the same facts cannot both act (I13). One thing has a spelling for each
digest key of the deployment, and is held in all of them: a rotated key lets go of nothing, and a process that does not
know the newest key meets the others. Every function runs in a transaction of the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.clear.tables import EFFECTS
from gateway.domain.errors import StateUnavailable

FREE: Final = "free"
HELD: Final = "held"
UNKNOWN: Final = "unknown"


@final
@dataclass(frozen=True, slots=True)
class Holder:
    """The call that holds something, and the origin whose log tells what became of it."""

    origin: str
    call_id: str
    request_id: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Effect:
    """One effect key as found. A key nobody ever used is `free` at generation 0."""

    key: str
    generation: int
    state: str
    holder: Holder | None


def read(connection: Connection, key: str) -> Effect:
    """Raises StateUnavailable for a row that Toolgate did not write."""
    row = connection.execute(select(EFFECTS).where(EFFECTS.c.key == key)).one_or_none()
    if row is None:
        return Effect(key, 0, FREE, None)
    if type(row.generation) is not int or row.state not in (FREE, HELD, UNKNOWN):
        raise StateUnavailable(f"the row of effect key {key} was changed by hand. Restore the database or settle it.")
    holder = None
    if row.holder_call is not None:
        holder = Holder(row.holder_origin, row.holder_call, row.holder_request)
    return Effect(key, row.generation, row.state, holder)


def generation(found: Iterable[Effect]) -> int:
    """Of one thing in all its spellings: each only ever grows, so their sum tells whether any of them did."""
    return sum(each.generation for each in found)


def take(connection: Connection, keys: Sequence[str], seen: int, holder: Holder) -> bool:
    """Hold a free thing. False if anybody acted on it since its generation was `seen`: then undo what was begun."""
    found = [read(connection, key) for key in keys]
    return generation(found) == seen and all(_take(connection, each.key, each.generation, holder) for each in found)


def _take(connection: Connection, key: str, generation: int, holder: Holder) -> bool:
    held = {
        "state": HELD,
        "holder_origin": holder.origin,
        "holder_call": holder.call_id,
        "holder_request": holder.request_id,
    }
    taken = connection.execute(
        update(EFFECTS)
        .where(EFFECTS.c.key == key, EFFECTS.c.state == FREE, EFFECTS.c.generation == generation)
        .values(**held)
    )
    if taken.rowcount == 1:
        return True
    if generation != 0 or connection.execute(select(EFFECTS.c.key).where(EFFECTS.c.key == key)).first() is not None:
        return False
    try:
        connection.execute(insert(EFFECTS).values(key=key, generation=0, **held))
    except IntegrityError:  # where writers are not serialised by the database, somebody was first
        return False
    return True


def free(connection: Connection, holder: Holder) -> None:
    """Let go of what `holder` holds, one generation on: whoever read the facts before must read them again."""
    connection.execute(
        update(EFFECTS)
        .where(EFFECTS.c.holder_call == holder.call_id, EFFECTS.c.holder_origin == holder.origin)
        .values(
            state=FREE, generation=EFFECTS.c.generation + 1, holder_origin=None, holder_call=None, holder_request=None
        )
    )


def keep_unknown(connection: Connection, holder: Holder) -> None:
    """Nobody knows what became of the holder's call: it goes on holding until a person settles it."""
    connection.execute(
        update(EFFECTS)
        .where(EFFECTS.c.holder_call == holder.call_id, EFFECTS.c.holder_origin == holder.origin)
        .values(state=UNKNOWN)
    )


def hold_unknown(connection: Connection, key: str, holder: Holder) -> bool:
    """Make `key` held by an unknown call that the log knows and the database forgot. False if it is so already."""
    now = read(connection, key)
    if now.state == UNKNOWN:
        return False
    values = {
        "state": UNKNOWN,
        "generation": now.generation + 1,
        "holder_origin": holder.origin,
        "holder_call": holder.call_id,
        "holder_request": holder.request_id,
    }
    changed = connection.execute(update(EFFECTS).where(EFFECTS.c.key == key).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(EFFECTS).values(key=key, **values))
    return True


def held_by(connection: Connection, origin: str) -> tuple[Effect, ...]:
    """What calls of `origin` hold, be it as unknown."""
    rows = connection.execute(
        select(EFFECTS.c.key).where(EFFECTS.c.state != FREE, EFFECTS.c.holder_origin == origin)
    ).all()
    return tuple(read(connection, row.key) for row in rows)
