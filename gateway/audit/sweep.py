"""Hashing a whole log fast: segments side by side, and nothing said but whether all of it is as it should be.

Guarantee: `Sweep.clean` only if every line from the first to the last is a well-formed record of its place and the
stored leaf hashes agree; `roots` then are the RFC 6962 roots at the sizes asked for. Whatever looks unusual is left to
the slow reading, line by line, which names it. Memory: one chunk of one segment per worker, and its leaf hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple, final

import orjson

from gateway.audit.framing import MAX_LINE_BYTES, line_prefix
from gateway.audit.progress import Meter
from gateway.audit.proofs import Leaves
from gateway.audit.ranges import Range
from gateway.audit.retention import Retired, stored_leaves
from gateway.audit.segment import Place, says_it_starts_at
from gateway.audit.shape import TIME, shape_of

_CHUNK: Final = 4 << 20
_WORTH_A_PROCESS: Final = 16 << 20


@final
@dataclass(slots=True)
class Sweep:
    """What the fast reading saw. `count` is where the log ends; `torn`: after an unfinished line."""

    clean: bool = True
    count: int = 0
    torn: bool = False
    leaves_agree: bool = True
    roots: dict[int, bytes] = field(default_factory=dict)


class _Part(NamedTuple):
    """One segment, hashed. None of it is believed before it has been joined to what stands before it."""

    ranges: list[Range]
    clean: bool
    torn: bool
    leaves_agree: bool


def sweep(
    place: Place,
    retired: Retired,
    sizes: Iterable[int],
    covered: int,
    *,
    jobs: int = 1,
    meter: Meter | None = None,
) -> Sweep:
    """Read everything that is left. Roots are taken at `sizes`; leaves are compared up to `covered`. Raises OSError."""
    meter = meter or Meter()
    cuts = sorted(set(sizes))
    segments = place.segments(retired.first)
    found = Sweep(count=retired.size)
    frontier = retired.frontier()
    if frontier.size in cuts:
        found.roots[frontier.size] = frontier.root()
    leaves = stored_leaves(place, retired)
    starts = [says_it_starts_at(path) for path in segments]
    if segments and starts[-1] is None and segments[-1].stat().st_size == 0:
        del segments[-1], starts[-1]  # made ahead by a rotation
    tasks = [
        (path, place.origin, start, cuts, leaves, covered)
        for path, start in zip(segments, starts, strict=True)
        if start is not None
    ]
    if len(tasks) != len(segments):
        found.clean = False
        return found
    total = sum(path.stat().st_size for path in segments)
    for number, part in enumerate(_parts(tasks, jobs, total, meter)):
        if not part.clean or part.ranges[0].start != frontier.size or (part.torn and number + 1 < len(tasks)):
            found.clean = False
            return found
        for each in part.ranges:
            each.onto(frontier)
            if frontier.size in cuts:
                found.roots[frontier.size] = frontier.root()
        found.leaves_agree = found.leaves_agree and part.leaves_agree
        found.torn = part.torn
    found.count = frontier.size
    found.leaves_agree = found.leaves_agree and leaves.size >= covered
    return found


_Task = tuple[Path, str, int, list[int], Leaves, int]


def _parts(tasks: list[_Task], jobs: int, total: int, meter: Meter) -> Iterator[_Part]:
    if jobs < 2 or len(tasks) < 2 or total < _WORTH_A_PROCESS:
        for task in tasks:
            yield _hash_segment(task, meter)
        return
    # Fresh interpreters: a fork would copy whatever locks and threads the caller has.
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=get_context("spawn")) as pool:
        for task, part in zip(tasks, pool.map(_hash_segment, tasks), strict=True):
            meter.add(task[0].stat().st_size, sum(each.end - each.start for each in part.ranges))
            yield part


def _hash_segment(task: _Task, meter: Meter | None = None) -> _Part:
    path, origin, start, cuts, leaves, covered = task
    ranges = [Range(start)]
    ahead = [cut for cut in cuts if cut > start]
    stored = leaves.between(start, covered)
    agree, seq = True, start
    with path.open("rb") as file:
        rest = b""
        while chunk := file.read(_CHUNK):
            lines = (rest + chunk if rest else chunk).split(b"\n")
            rest = lines.pop()
            if len(rest) > MAX_LINE_BYTES or max(map(len, lines), default=0) > MAX_LINE_BYTES:
                return _Part(ranges, clean=False, torn=False, leaves_agree=agree)
            hashes = [sha256(b"\x00" + line).digest() for line in lines]
            if not _all_records(lines, origin, seq):
                return _Part(ranges, clean=False, torn=False, leaves_agree=agree)
            known = max(0, min(len(hashes), covered - seq))
            if agree and known:
                agree = hashes[:known] == [next(stored, b"") for _ in range(known)]
            taken = 0
            while ahead and ahead[0] <= seq + len(hashes):
                upto = ahead.pop(0) - seq
                ranges[-1].extend(hashes[taken:upto])
                ranges.append(Range(ranges[-1].end))
                taken = upto
            ranges[-1].extend(hashes[taken:])
            seq += len(hashes)
            if meter is not None:
                meter.add(len(chunk), len(lines))
    return _Part(ranges, clean=True, torn=bool(rest), leaves_agree=agree)


def _all_records(lines: list[bytes], origin: str, seq: int) -> bool:
    for line in lines:
        plain = line.startswith(line_prefix(origin, seq)) and _plain(line, origin, seq)
        if not plain and shape_of(line) != (seq, origin):
            return False
        seq += 1
    return True


def _plain(line: bytes, origin: str, seq: int) -> bool:
    """What `shape_of` says, for lines that a strict and faster parser takes."""
    try:
        record = orjson.loads(line)
        return (
            record["seq"] == seq
            and record["origin"] == origin
            and type(record["mono_ns"]) is int
            and TIME.fullmatch(record["time"]) is not None
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
