"""What a start must know of the calls in a log, kept up with every record, so that no start has to read it all.

Guarantee: it holds every call that claims something outside the log (a request, an effect key) and of whose end the
log does not say; the last REMEMBERED of those that redeemed a request and ended; the last CHARGED of those that spent
something of a budget, so that a database that lacks one is seen to be older; and every finding of a person. What is
not in it and not younger than it has ended, or never began: either way it holds no effect. It is signed together
with the place in the tree that it speaks of (`resume`), so a log's own key vouches for it and nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, final

import orjson

REMEMBERED: Final = 4096  # ended calls by request; a claim or a request older than these needs the whole log
CHARGED: Final = 512  # more than any process runs at once: a database without one of these lacks what came later too
MOST: Final = 50_000  # beyond these a ledger is not kept, and the next start reads the log
_MARK: Final = b'"kind":"call.'
_CALL_ID: Final = b'"call_id":"'
_NO_REQUEST: Final = b'"request_id":null'
_NO_EFFECT: Final = b'"effect_key":null'
_NO_CHARGE: Final = b'"charges":[]'


@final
@dataclass(slots=True)
class Claim:
    """One call that passed step 6 and claims something. `time` is its intent's; `outcome` is None while unsaid.

    `charges` are as its intent has them; `spent` is what its outcome says of them.
    """

    seq: int
    request_id: str | None
    effect_key: str | None
    time: str
    outcome: str | None = None
    charges: list[dict[str, Any]] = field(default_factory=list)
    spent: bool | None = None


@final
@dataclass(slots=True)
class Ledger:
    """`calls` and `charged` by call id, `settled` by (origin, call id).

    `forgot_until` is the latest time (RFC 3339, as records write it) of a call by request that is no longer remembered,
    or empty; `forgot_spent_until` the same of one that spent something. `unreadable` is the first record that lacks
    what its kind must have: then nothing here is to be believed.
    """

    calls: dict[str, Claim] = field(default_factory=dict)
    settled: dict[tuple[str, str], str] = field(default_factory=dict)
    forgot_until: str = ""
    unreadable: int | None = None
    charged: dict[str, Claim] = field(default_factory=dict)
    forgot_spent_until: str = ""
    remember: int = field(default_factory=lambda: REMEMBERED)
    remember_charged: int = field(default_factory=lambda: CHARGED)
    _ended: dict[str, None] = field(default_factory=dict)  # those of `calls` that ended, in that order

    def take(self, seq: int, line: bytes) -> None:
        """The stored line of record `seq`, in order. Most records end here after a look at their first bytes."""
        at = line.find(_MARK)
        if at < 0:
            return
        at += len(_MARK)
        try:
            if line.startswith(b'intent"', at):
                if not _claims_nothing(line):
                    self._intent(seq, orjson.loads(line))
            elif line.startswith(b'outcome"', at):
                if _call_id(line) in self.calls:
                    self._outcome(orjson.loads(line))
            elif line.startswith(b'settled"', at):
                record = orjson.loads(line)
                self.settled[record["intent_origin"], record["call_id"]] = record["finding"]
        except (KeyError, TypeError, ValueError):
            if self.unreadable is None:
                self.unreadable = seq

    def _intent(self, seq: int, record: dict[str, Any]) -> None:
        call = record["call"]
        charges = record.get("charges", [])
        self.calls[call["call_id"]] = Claim(
            seq, call["request_id"], record["effect_key"], record["time"], charges=charges
        )
        self._ended.pop(call["call_id"], None)  # another attempt of the same call

    def _outcome(self, record: dict[str, Any]) -> None:
        call_id, status = record["call"]["call_id"], record["status"]
        known = self.calls[call_id]
        if known.seq != record["intent_seq"]:
            return
        known.outcome, known.spent = status, record.get("spent")
        if status == "unknown":
            return
        if known.spent:
            self.charged[call_id] = known
            while len(self.charged) > self.remember_charged:
                oldest = next(iter(self.charged))
                self.forgot_spent_until = max(self.forgot_spent_until, self.charged.pop(oldest).time, record["time"])
        if known.request_id is None:
            del self.calls[call_id]
            return
        self._ended[call_id] = None
        if len(self._ended) > self.remember:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self.forgot_until = max(self.forgot_until, self.calls.pop(oldest).time, record["time"])

    def stored(self) -> dict[str, object]:
        """As JSON holds it."""
        return {
            "calls": [
                [each, call.seq, call.request_id, call.effect_key, call.time, call.outcome, call.charges, call.spent]
                for each, call in self.calls.items()
            ],
            "charged": [[each, call.seq, call.time, call.charges] for each, call in self.charged.items()],
            "ended": list(self._ended),
            "settled": [[origin, call_id, finding] for (origin, call_id), finding in self.settled.items()],
            "forgot_until": self.forgot_until,
            "forgot_spent_until": self.forgot_spent_until,
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        """What `stored` gave. Raises KeyError, TypeError, ValueError."""
        return cls(
            {call_id: Claim(*rest) for call_id, *rest in stored["calls"]},
            {(origin, call_id): finding for origin, call_id, finding in stored["settled"]},
            stored["forgot_until"],
            charged={
                each: Claim(seq, None, None, time, "released", charges, spent=True)
                for each, seq, time, charges in stored["charged"]
            },
            forgot_spent_until=stored["forgot_spent_until"],
            _ended=dict.fromkeys(stored["ended"]),
        )

    @property
    def keepable(self) -> bool:
        """Whether it may stand for the records it speaks of, and is small enough to be written again and again."""
        return self.unreadable is None and len(self.calls) + len(self.settled) <= MOST


def _claims_nothing(line: bytes) -> bool:
    """Neither request, effect key nor charge, by the order in which a writer puts an intent's fields (`domain.event`).

    Text cannot pose as a field, its quotes are escaped; arguments and facts could, and stand between the two.
    """
    request = line.find(b'"request_id":')
    effect = line.rfind(b'"effect_key":')
    charges = line.rfind(b'"charges":')
    return (
        line.startswith(_NO_REQUEST, request)
        and line.startswith(_NO_EFFECT, effect)
        and line.startswith(_NO_CHARGE, charges)
    )


def _call_id(line: bytes) -> str:
    start = line.index(_CALL_ID) + len(_CALL_ID)
    return line[start : line.index(b'"', start)].decode()
