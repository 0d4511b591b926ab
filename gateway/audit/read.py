"""Reading records back, beside a live writer or at rest. Reading proves nothing: that is `verify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gateway.audit.segment import Place
from gateway.audit.shape import decode, numbered


class Stored(NamedTuple):
    """One line of the log. `record` is None where the line is no JSON object; values are untrusted text."""

    seq: int
    line: bytes
    record: dict[str, Any] | None


def read_origin(audit_root: Path, origin: str) -> Iterator[Stored]:
    """Every finished line in order; `seq` is its place, which damage may have made differ from `record["seq"]`.

    An unfinished last line (a writer at work, or a torn one) is left out. Lines that a live writer has not
    acknowledged yet may show, and may be set aside later. Raises OSError.
    """
    for index, data, torn in numbered(Place(origin, audit_root, audit_root).segments()):
        if torn:
            return
        try:
            yield Stored(index, data, decode(data))
        except ValueError:
            yield Stored(index, data, None)
