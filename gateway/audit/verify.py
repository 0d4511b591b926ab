"""Is what lies on the disk what was recorded? Answers with the first bad record and the kind of damage.

Guarantee: against anyone without the signing key, every edit, insertion, deletion, reordering and cut up to
the last checkpoint is found (C113, C114). Streaming: one line in memory. After the checkpoint only the form is
proved (numbering, origin, JSON), and `uncovered` says how many records that concerns. Log *and* checkpoint
rolled back together look whole from here: that takes a witness (C115).

What is trusted: the checkpoint, because an enrolled key signed it. A `.leaves` file is believed only when it
reproduces the signed root; then the first line that differs from its leaf is the first bad record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from gateway.audit.damage import Damage, Kind
from gateway.audit.errors import NoteInvalid
from gateway.audit.localise import by_leaves, by_shape
from gateway.audit.lock import held
from gateway.audit.note import Checkpoint, Verifier, open_checkpoint
from gateway.audit.segment import Place, list_origins, read_leaves
from gateway.audit.shape import Shape, numbered, shape_of
from gateway.audit.tree import EMPTY_ROOT, Frontier, leaf_hash


@final
@dataclass(frozen=True, slots=True)
class OriginReport:
    """One origin's verdict. `covered` is the signed size, None without a valid checkpoint."""

    origin: str
    records: int
    covered: int | None
    damage: tuple[Damage, ...]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.damage

    @property
    def uncovered(self) -> int:
        """Records that no signature protects yet."""
        return max(0, self.records - (self.covered or 0))


@final
@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All origins, by name."""

    origins: tuple[OriginReport, ...]

    @property
    def ok(self) -> bool:
        return all(report.ok for report in self.origins)


@final
@dataclass(slots=True)
class _Pass:
    """What one reading of the log showed."""

    count: int = 0
    root: bytes | None = None
    leaves_root: bytes | None = None
    first_difference: int | None = None
    misfit: tuple[int, Shape | None] | None = None
    torn: bool = False
    frontier: Frontier = field(default_factory=Frontier)


def verify(audit_root: Path, checkpoints_root: Path, trust: Mapping[str, Verifier]) -> VerifyReport:
    """Check every origin that left a trace or is enrolled. `trust` comes from `origin.load_trusted`. Raises OSError."""
    names = sorted({*list_origins(audit_root, checkpoints_root), *trust})
    return VerifyReport(
        tuple(verify_origin(Place(name, audit_root, checkpoints_root), trust.get(name)) for name in names)
    )


def verify_origin(place: Place, key: Verifier | None) -> OriginReport:
    """Check one origin. `key` is None for an origin that nobody enrolled."""
    live = held(place.lock)
    damage: list[Damage] = []
    checkpoint = _checkpoint(place, key, damage)  # before the log: a live writer only ever runs ahead of it
    seen = _read(place, checkpoint.size if checkpoint else 0)
    located, warnings = _locate(place, checkpoint, seen)
    if located is None and seen.torn and not live:
        located = Damage(Kind.TORN, seen.count, "the last line is unfinished; the next start will set it aside")
    if located is not None:
        damage.append(located)
    aside = len(place.torn())
    if aside:
        warnings.append(f"{aside} file(s) of bytes that were set aside")
    return OriginReport(
        place.origin, seen.count, checkpoint.size if checkpoint else None, tuple(damage), tuple(warnings)
    )


def _checkpoint(place: Place, key: Verifier | None, damage: list[Damage]) -> Checkpoint | None:
    if key is None:
        damage.append(Damage(Kind.UNKNOWN_ORIGIN, None, "nobody enrolled this origin: its records prove nothing"))
        return None
    try:
        return open_checkpoint(place.checkpoint.read_bytes(), key)
    except FileNotFoundError:
        if place.segments():  # an enrolled origin that was never opened has neither
            damage.append(Damage(Kind.CHECKPOINT_MISSING, None, "no signed checkpoint: a cut tail would not show"))
    except NoteInvalid as error:
        damage.append(Damage(Kind.CHECKPOINT_INVALID, None, error.why))
    return None


def _read(place: Place, covered: int) -> _Pass:
    seen = _Pass()
    segments = place.segments()
    stored = read_leaves(segments, covered)
    leaves = Frontier()
    if covered == 0:
        seen.root = seen.leaves_root = EMPTY_ROOT
    for index, data, torn in numbered(segments):
        if torn:
            seen.torn = True
            break
        leaf = leaf_hash(data)
        seen.frontier.append(leaf)
        seen.count = index + 1
        if index < covered:
            kept = next(stored, None)
            if kept is not None:
                leaves.append(kept)
            if kept != leaf and seen.first_difference is None:
                seen.first_difference = index
            if seen.count == covered:
                seen.root = seen.frontier.root()
        if seen.misfit is None:
            shape = shape_of(data)
            if shape != (index, place.origin):
                seen.misfit = (index, shape)
    for kept in stored:
        leaves.append(kept)
    if leaves.size == covered:
        seen.leaves_root = leaves.root()
    return seen


def _locate(place: Place, checkpoint: Checkpoint | None, seen: _Pass) -> tuple[Damage | None, list[str]]:
    """The first damaged record as far as it can be known."""
    warnings: list[str] = []
    segments = place.segments()
    covered = checkpoint.size if checkpoint else 0
    signed_root = checkpoint.root if checkpoint else EMPTY_ROOT
    if seen.root == signed_root:
        if checkpoint is not None and (seen.leaves_root != signed_root or seen.first_difference is not None):
            warnings.append("the .leaves file is missing or damaged; the next start rebuilds it")
        if seen.misfit is None:
            return None, warnings
        index, shape = seen.misfit
        if index < covered:
            return Damage(Kind.MALFORMED, index, "signed as it stands, but not a record of this log"), warnings
        return by_shape(segments, place.origin, index, shape), warnings
    if seen.leaves_root == signed_root:
        if seen.first_difference is None:
            return Damage(Kind.TRUNCATED, seen.count, f"{covered} records were signed, {seen.count} are left"), warnings
        return by_leaves(segments, place.origin, seen.first_difference, covered), warnings
    warnings.append("the .leaves file is missing or damaged too: the place is a lower bound, not a certainty")
    found: list[Damage] = []
    if seen.misfit is not None and seen.misfit[0] < covered:
        found.append(by_shape(segments, place.origin, *seen.misfit))
    if seen.count < covered:
        found.append(Damage(Kind.TRUNCATED, seen.count, f"{covered} records were signed, {seen.count} are left"))
    elif seen.first_difference is not None and not _leaves_missing(segments, seen.first_difference):
        found.append(Damage(Kind.EDITED, seen.first_difference, "the first line that differs from its stored leaf"))
    if not found:
        return Damage(Kind.FORK, None, "a consistent history, but not the one that was signed"), warnings
    return min(found, key=_place), warnings


def _leaves_missing(segments: list[Path], index: int) -> bool:
    return sum(1 for _ in read_leaves(segments, index + 1)) <= index


def _place(damage: Damage) -> int:
    return -1 if damage.seq is None else damage.seq
