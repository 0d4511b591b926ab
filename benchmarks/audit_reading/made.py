"""A made-up log of any length, in the form a gateway writes, unsigned: reading needs no signature."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from gateway.audit.encode import encode
from gateway.audit.framing import Framer
from gateway.domain.event import CallDenied, CallIntent, CallOutcome, Event, Subject

ORIGIN: Final = "made"
_SEGMENT_RECORDS: Final = 100_000
_TOOLS: Final = tuple(f"tool_{number}" for number in range(40))
_REASONS: Final = ("rule", "schema", "not_granted", "guard", "call_budget", "deny_rule")
_STEPS: Final = ("parse", "authorize", "limit", "validate", "clear", "record", "execute", "release")
_WORDS: Final = tuple(f"{a}{b}" for a in ("ship", "order", "parcel", "invoice", "refund") for b in range(400))


class _Ticking:
    """A clock that goes on by half a millisecond a record."""

    def __init__(self) -> None:
        self._ns = 1_800_000_000_000_000_000

    def wall_ns(self) -> int:
        self._ns += 500_000
        return self._ns

    def monotonic_ns(self) -> int:
        return self._ns

    def now(self) -> object:
        raise NotImplementedError


def write(audit: Path, records: int, origin: str = ORIGIN, seed: int = 1) -> int:
    """Write `records` records below `audit`; the bytes written."""
    chance, total = random.Random(seed), 0
    framer = Framer(origin, _Ticking())  # type: ignore[arg-type]
    folder = audit / origin
    folder.mkdir(parents=True)
    seq = 0
    while seq < records:
        with (folder / f"{seq // _SEGMENT_RECORDS:08d}.jsonl").open("wb") as file:
            for _ in range(min(_SEGMENT_RECORDS, records - seq)):
                line = framer.line(seq, encode(_event(chance, seq))) + b"\n"
                file.write(line)
                total += len(line)
                seq += 1
    return total


def some_call(records: int) -> str:
    """The id of a call that is in a log of so many records."""
    return _call_id(records // 5)


def _call_id(number: int) -> str:
    return f"call_{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}"


def _event(chance: random.Random, seq: int) -> Event:
    number = seq // 2
    call = Subject(
        _call_id(number),
        f"call_{number:08x}",
        f"user-{number % 5000}",
        f"cust-{number % 20_000}" if number % 3 else None,
        f"conversation-{number // 12}",
        _TOOLS[number * number % 40],
        None,
        0,
        None,
        "sha256:" + "e7" * 32,
        ("support",),
    )
    steps = {step: chance.randrange(5, 400) for step in _STEPS}
    arguments = {"order_id": f"A-{chance.randrange(1_000_000)}", "note": " ".join(chance.choices(_WORDS, k=8))}
    digest = f"hmac-sha256:616b6c65:{chance.getrandbits(256):064x}"
    if seq % 2 == 0:
        facts: dict[str, object] = {"order": {"exists": True, "status": "delivered", "total_cents": 40000}}
        return CallIntent(
            call=call,
            contract="tools/made.yaml:1",
            contract_version="1",
            contract_digest="sha256:" + "22" * 32,
            risk="low",
            effect="none",
            grant="policy.csv:15 (role:support)",
            wire_digest=digest,
            effective_digest=digest,
            arguments=arguments,
            personal=None,
            authority=("order_id",),
            facts=facts,
            proofs=(),
            effect_key=None,
            attempt=1,
            sandbox=None,
        )
    if number % 10 == 0:
        reason = chance.choice(_REASONS)
        rule = "tools/made.yaml:12 (within_rest)"
        return CallDenied(
            call=call,
            step=4,
            reason=reason,
            public="not_allowed",
            detail="the rule is not met",
            rule=rule,
            asked=call.tool,
            wire_digest=digest,
            effective_digest=digest,
            arguments=arguments,
            facts={},
            coalesced=0,
            steps_us=steps,
        )
    preview = '{"untrusted_result":{"order_id":"A-1","text":"' + " ".join(chance.choices(_WORDS, k=12)) + '"}}'
    return CallOutcome(call, seq - 1, "released", None, "", digest, 200, preview, {}, {}, steps)
