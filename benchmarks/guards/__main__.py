"""`python -m benchmarks.guards FOLDER`: what each guard stops and refuses, by effect, and what a check costs.

FOLDER holds `payloads/*.txt` (one hostile string a line) and `benign/*.jsonl` (one harmless string a line). Exit code 1
if a guard stops less than 99.5% of the harm or refuses more than 0.5% of what is harmless; a missed time is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.guards import addresses, commands, cost, names, pages, paths, queries
from benchmarks.guards.trial import Data, Result
from benchmarks.speed.table import Row, show
from gateway.policy.guard_documents import KINDS

LEAST_STOPPED, MOST_REFUSED = 99.5, 0.5  # per cent


def main() -> int:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="payloads and harmless arguments")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="show N misses of each guard")
    asked = parser.parse_args()
    data = Data.read(asked.folder)
    results = [
        paths.measure(data),
        addresses.measure(data),
        queries.measure(data),
        commands.measure(data),
        *pages.measure(data),
        *names.measure(data),
    ]
    times = cost.measure()
    missed = [one for one in results if one.stopped_percent < LEAST_STOPPED or one.refused_percent > MOST_REFUSED]
    if asked.json:
        print(json.dumps({"guards": [_plain(one) for one in results], "us": {row.what: row.value for row in times}}))
    else:
        _print(results, times, asked.show)
    return 1 if missed else 0


def _plain(one: Result) -> dict[str, object]:
    counts = {key: getattr(one, key) for key in ("guard", "tried", "hostile", "harmed", "harmless", "refused")}
    return counts | {"stopped_percent": one.stopped_percent, "refused_percent": one.refused_percent}


def _print(results: list[Result], times: list[Row], shown: int) -> None:
    advisory = {kind.__name__.removesuffix("Guard").lower() for kind in KINDS if kind.advisory()}
    table = Table(
        title=f"Guards, by effect: stopped >= {LEAST_STOPPED}%, refused <= {MOST_REFUSED}%", title_justify="left"
    )
    for column in ("guard", "tried", "do harm unguarded", "got through", "stopped", "harmless", "refused", "refused %"):
        table.add_column(column, justify="left" if column == "guard" else "right")
    for one in results:
        table.add_row(
            one.guard + (" (advisory)" if one.guard in advisory else ""),
            *(f"{count:,}" for count in (one.tried, one.hostile, one.harmed)),
            f"{one.stopped_percent:.2f}%",
            *(f"{count:,}" for count in (one.harmless, one.refused)),
            f"{one.refused_percent:.2f}%",
        )
    Console(width=120).print(table)
    for one in results:
        for line in [f"through: {text}" for text in one.through[:shown]] + [
            f"refused: {text}" for text in one.turned_away[:shown]
        ]:
            Console(width=120).print(f"  {one.guard} {escape(line)}")
    show("What one check adds, median", {"Guards": times})


if __name__ == "__main__":
    sys.exit(main())
