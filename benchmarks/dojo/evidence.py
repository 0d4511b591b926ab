"""What the log says afterwards, read from its files once the gateway is closed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.dojo.checks import Check, tally
from gateway.audit.origin import load_trusted
from gateway.audit.read import read_origin
from gateway.audit.segment import Place, list_origins
from gateway.audit.verify import verify
from gateway.domain.call import Denied, Outcome, Released
from gateway.settings import Home


def recorded(outcomes: Sequence[Outcome], secrets: Sequence[str], home: Home) -> Iterator[Check]:
    """Every call stands in the log: intent then outcome if it ran, one denial if it did not, and no secret anywhere."""
    kinds: dict[str, list[str]] = {}
    lines: list[bytes] = []
    for origin in list_origins(home.audit, home.checkpoints):
        for stored in read_origin(home.audit, origin):
            lines.append(stored.line)
            call = (stored.record or {}).get("call")
            if stored.record is not None and isinstance(call, dict):
                kinds.setdefault(str(call["call_id"]), []).append(str(stored.record["kind"]))
    wanted = {Released: ["call.intent", "call.outcome"], Denied: ["call.denied"]}
    yield tally(
        "calls recorded, the refused ones too",
        {f"{one.ctx.id} {one.tool}": kinds.get(one.ctx.id) == wanted.get(type(one)) for one in outcomes},
    )
    yield Check("calls in the log, and no others", len(kinds), len({one.ctx.id for one in outcomes}))
    written = [secret.encode() for secret in secrets]
    free = {f"line {number}": not any(one in line for one in written) for number, line in enumerate(lines)}
    yield tally(f"log lines free of the {len(set(secrets))} secret values used", free)


def verified(home: Home, scratch: Path) -> Iterator[Check]:
    """The log verifies up to its last record; a copy with one byte changed does not."""
    trust = load_trusted(home.trust)
    report = verify(home.audit, home.checkpoints, trust)
    whole = {f"{one.origin}: {len(one.damage)} damaged": one.ok and not one.uncovered for one in report.origins}
    yield tally("logs that verify, signed to the last record", whole)
    found: dict[str, bool] = {}
    for one in report.origins:
        copy = scratch / one.origin
        shutil.copytree(home.audit, copy)
        segment = Place(one.origin, copy, home.checkpoints).segments()[0]
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        found[one.origin] = not verify(copy, home.checkpoints, trust).ok
    yield tally("copies with one bit changed, found out", found)
