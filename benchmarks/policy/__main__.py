"""What a large policy costs: `python -m benchmarks.policy [--json]`.

100,000 grants and 1,000 contracts (2 KB each) are loaded by a gateway that starts, decide a call, and are linted;
20,000 recorded calls are judged again. A missed target is printed and is not an error: figures belong to the reference
configuration of docs/architecture.md and to a machine that does nothing else, so CPU time stands beside the clock's.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.policy import made
from benchmarks.speed import decision
from benchmarks.speed.table import Row, show
from gateway import Gateway
from gateway.policy.loader import load
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.dry import DryRun
from gateway.policy_tools.impact import impact
from gateway.policy_tools.lint import lint

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parents[2]
CONTRACTS: Final = 1_000
ROLES: Final = 500
TOOLS_OF_A_ROLE: Final = 100  # x ROLES x (see, call) = 100,000 rows
CALLS: Final = 20_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    asked = parser.parse_args()
    cache = ROOT / ".cache"  # a real disk, where /tmp may be memory
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="policy-", dir=cache) as name:
        sections = measure(Path(name))
    if asked.json:
        print(json.dumps({title: [asdict(row) for row in rows] for title, rows in sections.items()}, indent=2))
        return
    machine = f"CPython {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    show(f"{machine}; {CONTRACTS:,} contracts, {2 * ROLES * TOOLS_OF_A_ROLE:,} grants", sections)


def measure(folder: Path) -> dict[str, list[Row]]:
    policies = made.policy(folder / "policies", contracts=CONTRACTS, roles=ROLES, tools_of_a_role=TOOLS_OF_A_ROLE)
    audit = made.log(folder / "audit", calls=CALLS, contracts=CONTRACTS, roles=ROLES, tools_of_a_role=TOOLS_OF_A_ROLE)
    started, started_cpu = _timed(lambda: _start(policies, folder / "home"))
    read, read_cpu = _timed(lambda: load(policies))
    found = load(policies)
    linted, linted_cpu = _timed(lambda: lint(found))
    opened, opened_cpu = _timed(lambda: DryRun(found).__exit__())
    gc.collect()
    judged, judged_cpu = _timed(lambda: _replay(found, audit))
    rate, rate_cpu = CALLS / max(judged - opened, 1e-9), CALLS / max(judged_cpu - opened_cpu, 1e-9)
    asked = decision.measure()
    return {
        "Loading": [
            Row("a gateway starts with it: read, checked, compiled", started, "s", 3.0),
            Row("  of CPU", started_cpu, "s"),
            Row("read and checked alone", read, "s"),
            Row("  of CPU", read_cpu, "s"),
        ],
        "Deciding": [
            Row("one decision, 10 grants", asked["10"], "us"),
            Row("one decision, 100,000 grants", asked["100000"], "us"),
            Row("100,000 grants over 10", asked["100000"] / asked["10"], "x", 1.3),
        ],
        "Looking at it": [
            Row("lint", linted, "s", 10.0),
            Row("  of CPU", linted_cpu, "s"),
            Row("impact, a recorded call (100 us is 10,000 a second)", 1e6 / rate, "us", 100.0),
            Row("  of CPU", 1e6 / rate_cpu, "us"),
            Row("impact, before the first call", opened, "s"),
        ],
    }


def _start(policies: Path, home: Path) -> None:
    with contextlib.redirect_stderr(io.StringIO()):  # the first start says where it made things
        Gateway.from_policies(policies, home=home, origin="bench").close()


def _replay(policy: PolicySet, audit: Path) -> None:
    found = impact(policy, audit)
    if found.judged != CALLS:
        raise SystemExit(f"only {found.judged} calls were judged: {found.undecidable.most_common(1)}")


def _timed(work: Callable[[], T]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
