"""What a running gateway says of itself beyond one line of a table: that it denies nothing, an error, a shadow."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from gateway.cli.present import safe, styled
from gateway.domain.instant import Instant
from gateway.state.epoch import Worker


def standing_lines(workers: Iterable[Worker]) -> Iterator[str]:
    for worker in workers:
        yield from _standing(worker)


def _standing(worker: Worker) -> Iterator[str]:
    name = safe(worker.origin)
    if worker.mode == "observe":
        yield from _said(f"{name}: observe mode, NOTHING IS DENIED in this process", "bad")
    if worker.fault:
        why = f"{name}: could not take over what was found at {_time(worker.fault_wall_ns)}: {safe(worker.fault)}"
        yield from _said(why, "bad")
        good = f"{name}: {worker.digest[:19]}, the last good one, stays in force, as since"
        yield from _said(f"{good} {_time(worker.since_wall_ns)}", "dim")
    if worker.shadow is not None:
        yield from _shadow(name, worker.shadow)


def _shadow(name: str, shadow: dict[str, object]) -> Iterator[str]:
    if shadow["digest"]:
        said = (
            f"{shadow['judged']} calls judged, {shadow['differences']} otherwise, {shadow['undecidable']} undecidable"
        )
        yield from _said(f"{name}: shadow {str(shadow['digest'])[:19]}: {said}, {shadow['skipped']} skipped", "warn")
    if shadow["fault"]:
        yield from _said(f"{name}: the shadow failed: {safe(str(shadow['fault']))}", "bad")


def _said(text: str, style: str) -> Iterator[str]:
    for line in textwrap.wrap(text, 78, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False):
        yield styled(f"  {line}", style)


def _time(wall_ns: int) -> str:
    return Instant(wall_ns, 0, "").rfc3339()
