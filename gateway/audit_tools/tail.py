"""Following a log as it grows: every new line of every origin, new segments and new origins included."""

from __future__ import annotations

from pathlib import Path
from typing import final

from gateway.audit.intents import origins_in
from gateway.audit.segment import Place, read_lines
from gateway.audit_tools.batches import parsed
from gateway.audit_tools.index import Found
from gateway.audit_tools.story import in_time
from gateway.domain.errors import ToolgateError


class CutBack(ToolgateError):
    """What was read already is gone: retired, or set aside as never acknowledged."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        super().__init__(f"the log of {origin!a} was cut back or retired under the reader: run the command again")


@final
class Follower:
    """Remembers how far it has read."""

    def __init__(self, audit: Path, enrolled: frozenset[str], reached: dict[str, tuple[str, int, int]]) -> None:
        """`reached`: by origin the segment, the offset in it and the number of the next record."""
        self._audit = audit
        self._enrolled = enrolled
        self._at = dict(reached)

    def fresh(self) -> list[Found]:
        """What was finished since the last look, in the order of its times. Raises OSError."""
        found: list[Found] = []
        for origin in origins_in(self._audit):
            segments = Place(origin, self._audit, self._audit).segments()
            if not segments:
                continue
            name, offset, seq = self._at.get(origin, (segments[0].name, 0, 0))
            here = self._audit / origin / name
            if not here.exists() or here.stat().st_size < offset:
                raise CutBack(origin)
            for line in read_lines([each for each in segments if each.name >= name], offset):
                if not line.whole:
                    break
                found.append(Found(origin, seq, origin in self._enrolled, line.data, parsed(line.data)))
                name, offset, seq = line.segment.name, line.offset + len(line.data) + 1, seq + 1
            self._at[origin] = (name, offset, seq)
        return in_time(found)
