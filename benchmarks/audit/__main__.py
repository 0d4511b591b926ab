"""What evidence costs: `python -m benchmarks.audit [--records 10000000]`. Medians; what is compared takes turns."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from benchmarks.audit import appending, verifying
from benchmarks.audit.made import make
from benchmarks.speed.table import show

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000, help="length of the log to verify and open")
    parser.add_argument("--only", choices=("appending", "verifying"), help="only this part")
    asked = parser.parse_args()
    cache = ROOT / ".cache"  # a real disk, where /tmp may be memory
    cache.mkdir(exist_ok=True)
    sections = {}
    with tempfile.TemporaryDirectory(prefix="bench-audit-", dir=cache) as name:
        folder = Path(name)
        if asked.only != "verifying":
            sections["Appending"] = appending.measure(folder)
        if asked.only != "appending":
            (folder / "long").mkdir()
            make(folder / "long", asked.records)
            sections["A long log"] = verifying.measure(folder / "long", asked.records)
    show(f"CPython {platform.python_version()}, {os.cpu_count()} CPUs, {platform.release()}", sections)


if __name__ == "__main__":
    main()
