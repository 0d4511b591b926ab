"""What reading a long log costs: `python -m benchmarks.audit_reading [--records N]`.

Makes a log of N records (about 1 KB each): 5,000 principals, 40 tools, conversations of 12 calls. Indexes it with
full text and asks it what people ask. A missed target is printed and is not an error: figures belong to the reference
configuration of docs/architecture.md and to a machine that does nothing else, so the CPU time is printed beside them.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.audit_reading.made import ORIGIN, some_call, write
from gateway.audit_tools.figures import figures
from gateway.audit_tools.index import Index
from gateway.audit_tools.moment import LATEST_US
from gateway.audit_tools.query import Query
from gateway.audit_tools.story import story_of

ROOT = Path(__file__).resolve().parents[2]
INDEX_TARGET: Final = 40_000  # records/s
SEARCH_TARGET_MS: Final = 100.0  # p50
_TIMES: Final = 15
_BEGAN_US: Final = 1_800_000_000_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records
    cache = ROOT / ".cache"  # a real disk, where /tmp may be memory
    cache.mkdir(exist_ok=True)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="reading-", dir=cache) as name:
        measure(Path(name), count)


def measure(folder: Path, count: int) -> None:
    (folder / "state").mkdir()
    size = write(folder / "audit", count)
    print(f"a log of {count:,} records, {size / 1e6:,.0f} MB")
    wall, cpu = time.perf_counter(), sum(os.times()[:4])  # with the process that reads
    index = Index.open(folder / "state", folder / "audit", frozenset({ORIGIN}))
    wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
    verdict = "met" if count / wall >= INDEX_TARGET else "missed"
    print(f"indexed with full text: {count / wall:,.0f} records/s, target {INDEX_TARGET:,}: {verdict}")
    print(f"  {count / cpu:,.0f} per second of CPU; the index has {index.path.stat().st_size / 1e6:,.0f} MB")
    with index:
        searches(index, count)
    wall = time.perf_counter()
    Index.open(folder / "state", folder / "audit", frozenset({ORIGIN})).close()
    print(f"opened again with nothing new: {(time.perf_counter() - wall) * 1e3:.1f} ms")


def searches(index: Index, count: int) -> None:
    middle = _BEGAN_US + count * 250
    asked: dict[str, Callable[[], object]] = {
        "the newest 40": lambda: index.newest(Query(), 40),
        "a tool": lambda: index.newest(Query(tool="tool_4"), 40),
        "a principal": lambda: index.newest(Query(principal="user-77"), 40),
        "principal, tool and decision": lambda: index.newest(
            Query(principal="user-70", tool="tool_20", decision="denied"), 40
        ),
        "a reason within an hour": lambda: index.newest(
            Query(reason="guard", since=middle, until=middle + 3_600_000_000), 40
        ),
        "a common word": lambda: index.newest(Query(text="refund12"), 40),
        "two common words, all their records": lambda: index.newest(Query(text="refund12 parcel7"), 10_000),
        "a phrase (an order's number)": lambda: index.newest(Query(text="A-1"), 40),
        "common conditions that never meet": lambda: index.newest(Query(decision="permitted", reason="guard"), 40),
        "a conversation": lambda: index.newest(Query(conversation="conversation-1000"), 40),
        "the story of a call": lambda: story_of(index, some_call(count)),
        "figures over everything": lambda: figures(index, 0, LATEST_US),
    }
    slowest = 0.0
    for name, ask in asked.items():
        spent: list[float] = []
        if not ask() and "never" not in name:
            raise SystemExit(f"{name}: nothing was found, so nothing was measured")
        for _ in range(_TIMES):
            began = time.perf_counter()
            ask()
            spent.append((time.perf_counter() - began) * 1e3)
        p50 = statistics.median(spent)
        slowest = max(slowest, p50)
        print(f"  {name:38} p50 {p50:8.2f} ms   longest {max(spent):8.2f} ms")
    verdict = "met" if slowest <= SEARCH_TARGET_MS else "missed"
    print(f"slowest search p50: {slowest:.1f} ms, target {SEARCH_TARGET_MS:.0f}: {verdict}")


if __name__ == "__main__":
    main()
