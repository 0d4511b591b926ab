"""The table: what was measured, beside its target. A missed target is shown, never an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One line. `value` is None for what could not be measured; `target` is the most it may be, None for none."""

    what: str
    value: float | None
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met` or `missed` where there is a target, else the note."""
        if self.value is None or self.target is None:
            return self.note
        return "met" if self.value <= self.target else "missed"


def show(title: str, sections: Mapping[str, Sequence[Row]]) -> None:
    """Print every section."""
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for name, rows in sections.items():
        table.add_row(f"[bold]{escape(name)}[/]", "", "", "")
        for row in rows:
            measured = "-" if row.value is None else f"{row.value:,.2f} {row.unit}"
            target = "" if row.target is None else f"<= {row.target:,.2f} {row.unit}"
            verdict = f"[yellow]{row.verdict}[/]" if row.verdict == "missed" else escape(row.verdict)
            table.add_row(f"  {escape(row.what)}", measured, target, verdict)
        table.add_section()
    Console(width=120).print(table)
