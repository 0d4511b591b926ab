"""Records for other people's programs: JSON Lines as they stand, a CSV table, or OCSF events.

Guarantee: ASCII throughout for JSON; in CSV every hidden character is spelled out and no cell can be taken for a
formula by a spreadsheet, also by one that parts cells at semicolons, as in most of Europe (OWASP, CSV injection). An
export is a copy: it proves nothing, receipts do.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from gateway.audit_tools.facts import facts_of
from gateway.audit_tools.index import Found
from gateway.audit_tools.names import OTEL, ocsf
from gateway.audit_tools.plain import ascii_json
from gateway.clear.visible import visible, visible_json

Format = Literal["jsonl", "csv", "ocsf"]
MAX_CELL_CHARS: Final = 32_000  # spreadsheets cut or refuse a longer one
# Where a cell may begin, whatever stands before its first sign; signs of full width count in East Asian settings.
_FORMULA: Final = re.compile(r"(\A|;)(?=[\s\"']*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def exported(records: Iterable[Found], form: Format) -> Iterator[str]:
    """Lines without their newline."""
    if form == "csv":
        yield _row(OTEL)
        for found in records:
            facts, record = facts_of(found.record), found.record or {}
            yield _row(_cell(column(found, facts, record)) for column in OTEL.values())
    else:
        for found in records:
            yield ascii_json(found.as_json() if form == "jsonl" else ocsf(found))


def _cell(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    text = visible(value) if isinstance(value, str) else visible_json(value)
    text = _FORMULA.sub(r"\1'", text)
    return text if len(text) <= MAX_CELL_CHARS else f"{text[:MAX_CELL_CHARS]}... [{len(text) - MAX_CELL_CHARS} more]"


def _row(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
