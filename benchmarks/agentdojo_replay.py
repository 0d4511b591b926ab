"""Replay AgentDojo's banking and travel tasks through Toolgate, and show what Toolgate lets through and what not.

No model is needed: each user task carries the calls that solve it. First AgentDojo alone, then the same with every call
taken through a session, then wrong calls, then a role that may only read; at the end the log is checked. Exit code 1 if
anything falls short. Run by `make agentdojo`; `--json` prints figures for a program.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.dojo import evidence, policies, replay, suites, walk
from benchmarks.dojo.checks import Check
from benchmarks.dojo.governed import Desk
from gateway.settings import locate


def main() -> int:
    """Run it all. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # AgentDojo's own
    loaded = suites.load()
    tools = suites.tools(loaded)
    changing, declared = replay.measured_effects(loaded)
    sections = {"AgentDojo alone": [replay.utility(loaded, "user tasks solved"), declared]}
    beside: dict[str, Any] = {
        "agentdojo": version("agentdojo"),
        "suite_version": suites.VERSION,
        "tools": len(tools),
        "ground_truth_calls_that_change_something": changing,
        "wrong_calls_that_agentdojo_itself_accepts": replay.converting_validator_accepts(tools),
    }
    with tempfile.TemporaryDirectory(prefix="toolgate-agentdojo-") as folder:
        sections |= _governed(Path(folder), loaded, tools)
        (Path(folder) / "walk").mkdir()
        sections["Observed, proposed, applied"] = list(walk.walk(Path(folder) / "walk", loaded))
    met = all(check.met for checks in sections.values() for check in checks)
    if asked.json:
        rows = {name: [asdict(c) | {"met": c.met} for c in checks] for name, checks in sections.items()}
        print(json.dumps({"met": met, "checks": rows, "beside": beside}, indent=2))
    else:
        _print(sections, beside, met)
    return 0 if met else 1


def _governed(folder: Path, loaded: replay.Suites, tools: replay.Tools) -> dict[str, list[Check]]:
    functions = {name: function for name, (_, function) in tools.items()}
    policies.write(folder / "policies", functions)
    desk = Desk(folder / "policies", folder / "home", functions)
    sections: dict[str, list[Check]] = {}
    try:
        sections["Through Toolgate"] = list(replay.governed_utility(desk, loaded))
        sections["Malformed calls"] = list(replay.malformed(desk, loaded, tools))
        sections["A role limited to reading"] = list(replay.reading_only(desk, loaded))
    finally:
        desk.gateway.close()
    places = locate(folder / "policies", folder / "home")
    sections["The log"] = [
        *evidence.recorded(desk.outcomes, desk.secrets, places),
        *evidence.verified(folder / "policies", places, folder / "damaged"),
    ]
    return sections


def _print(sections: dict[str, list[Check]], beside: dict[str, Any], met: bool) -> None:
    table = Table(title=f"AgentDojo {beside['agentdojo']}, suites {beside['suite_version']}", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("")
    for name, checks in sections.items():
        table.add_row(f"[bold]{name}[/]", "", "", end_section=False)
        for check in checks:
            table.add_row(f"  {check.question}", f"{check.got} of {check.of}", "ok" if check.met else "[red]SHORT[/]")
        table.add_section()
    console = Console(width=110)
    console.print(table)
    accepted = beside["wrong_calls_that_agentdojo_itself_accepts"]
    console.print(
        f"For comparison: AgentDojo's own validation accepts {accepted['wrong_type']} of the calls with a wrong type "
        f"and {accepted['extra_argument']} of those with an argument too many (it converts, and ignores what it does "
        f"not know). {beside['ground_truth_calls_that_change_something']} ground-truth calls change something."
    )
    for check in _short(sections.values()):
        for line in check.missed[:10]:
            console.print(f"  short: {check.question}: {line!a}", markup=False)
    console.print("Everything held." if met else "[red]Something fell short.[/]")


def _short(sections: Iterable[list[Check]]) -> list[Check]:
    return [check for checks in sections for check in checks if not check.met]


if __name__ == "__main__":
    sys.exit(main())
