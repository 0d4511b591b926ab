"""Others on the same calls, each in a process of its own. Their figures stand beside ours, not against a target.

`casbin_stack` runs in Toolgate's environment, `agent_os` in one of its own (requirements/rivals.txt).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.speed.table import Row

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 600

_SAYS = {
    "decision_10_us": "one decision, 10 grants",
    "decision_10k_us": "one decision, 10,000 grants",
    "decision_100k_us": "one decision, 100,000 grants",
    "call_us": "one call",
}


def measure() -> list[Row]:
    """Every rival's rows. One that cannot be run is a row that says why."""
    return [*_rows("casbin_stack", [sys.executable]), *_rows("agent_os", _own_python())]


def _own_python() -> list[str]:
    made = _run([str(ROOT / "scripts" / "own-env.sh"), "rivals"])
    return made.stdout.split() if made.returncode == 0 else []


def _rows(module: str, python: list[str]) -> list[Row]:
    if not python:
        return [Row(f"{module}: not measured", None, "us", note="its environment could not be made")]
    ran = _run([*python, "-m", f"benchmarks.rivals.{module}"])
    if ran.returncode != 0:
        last = ascii((ran.stderr.strip().splitlines() or ["no message"])[-1])
        return [Row(f"{module}: not measured", None, "us", note=last)]
    found = json.loads(ran.stdout)
    name = found.pop("name")
    return [Row(f"{name}: {_SAYS[key]}", value, "us") for key, value in found.items()]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
