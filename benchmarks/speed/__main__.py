"""What governing a call costs: `make bench`. Medians; figures that are compared come from the same run, turn about.

A missed target is printed and is not an error: absolute figures belong to the reference configuration of
docs/architecture.md and to a machine that does nothing else. `--json` prints the rows for a program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.speed import measure, rivals
from benchmarks.speed.table import Row, show

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--no-rivals", action="store_true", help="leave the rivals out")
    asked = parser.parse_args()
    cache = ROOT / ".cache"  # a real disk, where /tmp may be memory
    cache.mkdir(exist_ok=True)
    decisions = measure.decisions()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache) as folder:
        governed, whole_call = measure.governed(Path(folder))
        durable = measure.durable(Path(folder))
    sections = {"Deciding": decisions, "A governed call, log in memory": governed, "A durable call": durable}
    if not asked.no_rivals:
        sections["Beside it, the same calls"] = [
            Row("Toolgate: one decision, 100,000 grants", decisions[1].value, "us"),
            Row("Toolgate: one call (schema, one rule)", whole_call, "us"),
            *rivals.measure(),
        ]
    if asked.json:
        print(json.dumps({name: [asdict(row) for row in rows] for name, rows in sections.items()}, indent=2))
        return
    show(f"CPython {platform.python_version()}, {os.cpu_count()} CPUs, {platform.release()}", sections)
    print(
        "Not the same work. casbin + jsonschema + structlog: roles, schema, one log line, no rule. agent-os-kernel:\n"
        "rules compared one by one and an audit entry, no roles, no schema. Neither parses strictly, counts, masks\n"
        "results, or knows before the tool runs that its log will hold."
    )


if __name__ == "__main__":
    main()
