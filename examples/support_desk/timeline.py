"""The demonstration's display: what the log says happened, one line a call, readable at 80 columns."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.audit.intents import origins_in
from gateway.audit.read import read_origin
from gateway.clear.visible import visible

WIDTH = 78
_COLOURS = {"good": "32", "bad": "31", "wait": "33", "dim": "2", "bold": "1"}


def paint(text: str, colour: str) -> str:
    """Colour where somebody sees it: on a terminal and without NO_COLOR."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def clip(text: str, most: int = WIDTH) -> str:
    """One line of untrusted text, escaped, cut with a mark."""
    shown = visible(text.replace("\n", " "))
    return shown if len(shown) <= most else shown[: most - 3] + "..."


@dataclass
class Timeline:
    """Prints the records that came since the last look. `seen` counts them by origin."""

    audit: Path
    seen: dict[str, int] = field(default_factory=dict)

    def fresh(self) -> list[dict[str, Any]]:
        """New records of every origin, in the order of their times."""
        found: list[dict[str, Any]] = []
        for origin in origins_in(self.audit):
            records = [stored.record for stored in read_origin(self.audit, origin) if stored.record is not None]
            found += records[self.seen.get(origin, 0) :]
            self.seen[origin] = len(records)
        return sorted(found, key=lambda record: (record["mono_ns"], record["seq"]))

    def show(self) -> list[dict[str, Any]]:
        """Print what is new and give it back."""
        records = self.fresh()
        for record in records:
            line = _line(record)
            if line:
                print(f"  {line}")
        return records


def _line(record: dict[str, Any]) -> str | None:
    call = record.get("call") or {}
    who = f"{call.get('principal')} for {call.get('on_behalf_of')}"
    tool = clip(str(call.get("tool") or record.get("asked") or ""), 19)
    nested = "+" if call.get("parent_id") else " "
    match record["kind"]:
        case "call.denied":
            step = f"{record['step']} {_STEPS[record['step']]}"
            why = record["rule"] or record["reason"]
            return _row(nested, who, tool, paint("denied", "bad"), 6, step, _total(record), str(why))
        case "call.outcome":
            good = record["status"] == "released"
            word = "ran" if good else record["status"]
            why = record["code"] or record["evidence"].get("verdict") or ""
            return _row(nested, who, tool, paint(word, "good" if good else "bad"), len(word), "", _total(record), why)
        case "approval.requested":
            why = record["obligations"][0]["rule"]
            return _row(nested, who, tool, paint("waits", "wait"), 5, "5 clear", 0, str(why))
        case "approval.voted":
            return (
                f"{'':1}{record['voter']}: {paint(record['verdict'], 'wait')}, signed with key {record['key_id'][:12]}"
            )
        case "answer.checked":
            return f" the final answer was {paint(record['verdict'], 'bad')}: {record['detail']}"
        case "loop.ended":
            return f" the loop was {paint('stopped', 'bad')}: {record['reason']} after {record['calls']} calls"
    return None


def _row(nested: str, who: str, tool: str, word: str, length: int, step: str, us: int, why: str) -> str:
    took = f"{us / 1000:7.1f} ms" if us else " " * 10
    tail = clip(f"{step} {why}".strip(), 30)
    return f"{nested}{tool:19} {word}{' ' * (8 - length)}{took}  {tail}"


_STEPS = ("admit", "parse", "authorize", "limit", "validate", "clear", "record", "execute", "release")


def _total(record: dict[str, Any]) -> int:
    return sum(record["steps_us"].values())
