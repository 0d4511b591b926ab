"""What is measured, and against which target. Targets hold on the reference configuration of docs/architecture.md."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.speed import decision, worlds
from benchmarks.speed.table import Row
from benchmarks.speed.timing import Batch, medians

CROWD_TOOLS = 200
CROWD_ROLES = 50
CROWD_ROWS = 2 * (CROWD_TOOLS + 1) * CROWD_ROLES  # `see` and `call`


def decisions() -> list[Row]:
    """Step 2 alone, with few and many grants."""
    found = decision.measure()
    return [
        Row("decision, 10 grants", found["10"], "us", 2.0),
        Row("decision, 100,000 grants", found["100000"], "us", 2.0),
        Row("100,000 grants over 10", found["100000"] / found["10"], "x", 1.3),
    ]


def governed(folder: Path) -> tuple[list[Row], float]:
    """A call without the disk: over the same call made bare, then what each addition costs.

    Also gives what a call with schema and rule takes in all, to stand beside the rivals.
    """
    plain = worlds.build(folder / "plain")
    rule = worlds.build(folder / "rule", rules=[worlds.RULE])
    limit = worlds.build(folder / "limit", limits={"per_minute": worlds.ENOUGH})
    crowd = worlds.build(folder / "crowd", others=CROWD_TOOLS, roles=CROWD_ROLES)
    contestants: dict[str, Batch] = {
        "bare": worlds.bare,
        "plain": plain.blocking,
        "awaited": plain.awaited,
        "rule": rule.blocking,
        "limit": limit.blocking,
        "crowd": crowd.blocking,
    }
    found = medians(contestants, batch=500, rounds=21)
    for world in (plain, rule, limit, crowd):
        world.gateway.close()
    rows = [
        Row("bare: json.loads, look up, call, json.dumps", found["bare"], "us"),
        Row("governed, schema only", found["plain"], "us"),
        Row("governed, over bare", found["plain"] - found["bare"], "us", 25.0),
        Row("+ one CEL rule", found["rule"] - found["plain"], "us", 15.0),
        Row("+ one limit", found["limit"] - found["plain"], "us", 8.0),
        Row("+ awaited", found["awaited"] - found["plain"], "us", 5.0),
        Row(f"with {CROWD_ROWS:,} grants and {CROWD_TOOLS} more rules", found["crowd"] / found["plain"], "x", 1.3),
    ]
    return rows, found["rule"]


def durable(folder: Path) -> list[Row]:
    """One synchronous caller with the log on disk, beside the disk alone. A call that runs writes two records."""
    world = worlds.build(folder / "durable", durable=True)
    segments = folder / "durable" / "home" / "audit" / "bench"
    before = _bytes_and_lines(segments)
    world.blocking(200)
    after = _bytes_and_lines(segments)
    record = (after[0] - before[0]) // (after[1] - before[1])
    found = medians({"disk": _synced_append(folder, record), "call": world.blocking}, batch=50, rounds=31)
    world.gateway.close()
    return [
        Row(f"disk alone: write + fdatasync of one record of {record} bytes", found["disk"], "us"),
        Row("durable call, one synchronous caller", found["call"], "us", 2 * found["disk"] + 80),
    ]


def _bytes_and_lines(segments: Path) -> tuple[int, int]:
    data = b"".join(path.read_bytes() for path in sorted(segments.glob("*.jsonl")))
    return len(data.rstrip(b"\0")), data.count(b"\n")


def _synced_append(folder: Path, record_bytes: int) -> Batch:
    descriptor = os.open(folder / "baseline.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    record = b"x" * (record_bytes - 1) + b"\n"

    def run(turns: int) -> None:
        for _ in range(turns):
            os.write(descriptor, record)
            os.fdatasync(descriptor)

    return run
