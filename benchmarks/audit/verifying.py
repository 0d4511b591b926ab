"""What it costs to verify a log and to open one, each in a fresh interpreter, so that its memory is its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.speed.table import Row

ROOT = Path(__file__).resolve().parents[2]

_VERIFY = """
import json, resource, sys, time
from pathlib import Path
from benchmarks.audit.made import KEYS
from gateway.audit.verify import verify
if __name__ == "__main__":
    base, jobs = Path(sys.argv[1]), int(sys.argv[2])
    cpu, began = time.process_time(), time.perf_counter()
    report = verify(base / "audit", base / "checkpoints", {"bench": KEYS}, jobs=jobs)
    took = time.perf_counter() - began
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    peak = max(own.ru_maxrss, children.ru_maxrss)
    print(json.dumps([report.ok, report.origins[0].records, took, used, peak / 1024]))
"""

_OPEN = """
import json, sys, time
from pathlib import Path
from benchmarks.audit.made import open_store
began = time.perf_counter()
store = open_store(Path(sys.argv[1]))
took = time.perf_counter() - began
print(json.dumps([store.size, took]))
store.close()
"""

_START = """
import json, sys, time
from pathlib import Path
from benchmarks.audit.made import open_log
from gateway.clear.markers import SpentMarkers
from gateway.clear.store import RequestStore
from gateway.settings import locate, prepare
from gateway.starting import one_start_at_a_time, reconcile_dead
from gateway.state.database import Database
base = Path(sys.argv[1])
where = locate(base, base)
prepare(where)
store = RequestStore(Database(where.database), SpentMarkers(where.spent))
began = time.perf_counter()
with one_start_at_a_time(where), open_log(base) as log:
    reconcile_dead(store, where, own=log)
    size, took = log.size, time.perf_counter() - began
began = time.perf_counter()
with one_start_at_a_time(where):
    reconcile_dead(store, where)
print(json.dumps([size, took, time.perf_counter() - began]))
"""


def measure(folder: Path, records: int) -> list[Row]:
    """On the log that lies in `folder`."""
    ok, count, alone, used, peak = _run(_VERIFY, folder, "1")
    two_ok, _, both, two_used, two_peak = _run(_VERIFY, folder, "2")
    size, opened = _run(_OPEN, folder)
    seen, own, other = _run(_START, folder)
    if not (ok and two_ok and count == size == seen == records):
        raise SystemExit("the log that was made does not verify")
    return [
        Row(
            f"verify {records:,} records, one process",
            alone / records * 1e6,
            "us",
            10.0,
            f"{records / alone:,.0f} a second",
        ),
        Row("  of which processor time", used / records * 1e6, "us", 10.0, f"{records / used:,.0f} a second and core"),
        Row("  memory at most", peak, "MiB", 300.0),
        Row("verify, two processes", both / records * 1e6, "us", None, f"{alone / both:.2f} times as fast"),
        Row("  of which processor time, both together", two_used / records * 1e6, "us"),
        Row("  memory at most, the largest process", two_peak, "MiB", 300.0),
        Row("open it for appending", opened, "s", 1.0),
        Row("start a gateway on it: open, and explain what was left in doubt", own, "s", 1.0),
        Row("start a gateway beside it, its process being dead", other, "s", 1.0),
    ]


def _run(program: str, folder: Path, *words: str) -> list[float]:
    script = folder / "measure.py"
    script.write_text(program, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script), str(folder), *words],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[float] = json.loads(ran.stdout)
    return found
