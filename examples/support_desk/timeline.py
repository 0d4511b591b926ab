"""The demonstration's display: what the log says happened, one line a call, readable at 80 columns."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from dataclasses import dataclass, field
from itertools import groupby
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


def told(messages: list[dict[str, Any]]) -> None:
    """What the model was told about its calls that did not run: each kind of error once."""
    seen: set[str] = set()
    for message in messages:
        if message.get("role") != "tool":
            continue
        error = json.loads(message["content"]).get("error")
        if error is not None and error["message"] not in seen:
            seen.add(error["message"])
            print(wrap(f"{error['code']}: {error['message']} {error['suggestion']}", 9, "  told:"))


def wrap(text: str, indent: int, first: str = "") -> str:
    """Untrusted text, escaped and whole, on as many lines as it takes; `first` stands before the first."""
    lines = textwrap.wrap(visible(text), WIDTH - indent, break_on_hyphens=False) or [""]
    pad = " " * indent
    return "\n".join((first.ljust(indent) if number == 0 else pad) + line for number, line in enumerate(lines))


@dataclass(frozen=True)
class Row:
    """One line of the timeline. `us` is the whole call, in microseconds, where it has ended."""

    mark: str
    tool: str
    word: str
    us: int | None
    why: str


@dataclass
class Timeline:
    """Prints the records that came since the last look. `seen` counts them by origin."""

    audit: Path
    seen: dict[str, int] = field(default_factory=dict)
    _intents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def fresh(self) -> list[dict[str, Any]]:
        """New records of every origin, in the order of their times."""
        found: list[dict[str, Any]] = []
        for origin in origins_in(self.audit):
            records = [stored.record for stored in read_origin(self.audit, origin) if stored.record is not None]
            found += records[self.seen.get(origin, 0) :]
            self.seen[origin] = len(records)
        return sorted(found, key=lambda record: (record["mono_ns"], record["seq"]))

    def show(self) -> list[dict[str, Any]]:
        """Print what is new and give it back. Equal rows are counted instead of repeated."""
        records = self.fresh()
        self._intents |= {each["call"]["call_id"]: each for each in records if each["kind"] == "call.intent"}
        rows = [row for record in records if (row := self._row(record)) is not None]
        for same, group in groupby(rows, key=lambda row: (row.mark, row.tool, row.word, row.why)):
            together = list(group)
            taken = [row.us for row in together if row.us is not None]
            took = f"{sum(taken) / len(taken) / 1000:7.1f} ms" if taken else " " * 10
            times = f" x{len(together)}" if len(together) > 1 else ""
            mark, tool, word, why = same
            colour = {"ran": "good", "waits": "wait"}.get(word, "bad")
            line = wrap(why + times, 43, f"  {mark}{tool:19} {'@' * 7} {took}  ")
            print(line.replace("@" * 7, paint(f"{word:7}", colour), 1))
        for record in records:
            aside = _aside(record)
            if aside:
                print(f"   {aside}")
        return records

    def _row(self, record: dict[str, Any]) -> Row | None:
        """One call's end: which step decided, and why (the rule, the grant, or what the sandbox says)."""
        call = record.get("call") or {}
        tool = visible(str(call.get("tool") or record.get("asked") or ""))[:19]
        mark = "+" if call.get("parent_id") else " "
        kind = record["kind"]
        if kind == "call.denied":
            step = f"{record['step']} {_STEPS[record['step']]}"
            return Row(mark, tool, "denied", _total(record), f"{step}: {record['rule'] or record['reason']}")
        if kind == "approval.requested":
            asked = dict.fromkeys(each["rule"] for each in record["obligations"])
            return Row(mark, tool, "waits", None, f"5 clear: {', '.join(asked)}")
        if kind == "call.outcome":
            good = record["status"] == "released"
            grant = self._intents.get(str(call.get("call_id")), {}).get("grant", "")
            verdict = record["evidence"].get("verdict")
            why = grant if good else f"7 execute: {record['code']}"
            return Row(
                mark,
                tool,
                "ran" if good else record["status"],
                _total(record),
                why + (f", sandbox: {verdict}" if verdict else ""),
            )
        return None


def _aside(record: dict[str, Any]) -> str | None:
    kind = record["kind"]
    if kind == "approval.voted":
        return (
            f"{visible(record['voter'])}: {paint(record['verdict'], 'wait')}, signed with key {record['key_id'][:12]}"
        )
    if kind == "answer.checked":
        return f"the final answer was {paint(record['verdict'], 'bad')}: {record['detail']}"
    if kind == "loop.ended":
        return f"the loop was {paint('stopped', 'bad')}: {record['reason']} after {record['calls']} calls"
    return None


_STEPS = ("admit", "parse", "authorize", "limit", "validate", "clear", "record", "execute", "release")


def _total(record: dict[str, Any]) -> int:
    return sum(record["steps_us"].values())
