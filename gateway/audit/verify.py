"""Is what lies on the disk what was recorded? Answers with the first bad record and the kind of damage.

Guarantee: against anyone without the signing key, every edit, insertion, deletion, reordering and cut up to
the last checkpoint is found (C113, C114). Bounded memory. After the checkpoint only the form is
proved (numbering, origin, JSON), and `uncovered` says how many records that concerns. Log *and* checkpoint
rolled back together look whole from here: that takes a pin, a checkpoint that somebody else kept, such as a
witness (C115, C116).

What is trusted: checkpoints, because an enrolled key signed them. A `.leaves` file is believed only when it
reproduces the signed root; then the first line that differs from its leaf is the first bad record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from gateway.audit.damage import Damage, Kind
from gateway.audit.errors import NoteInvalid
from gateway.audit.keyring import Keyring
from gateway.audit.localise import Lines, by_leaves, by_shape
from gateway.audit.lock import held
from gateway.audit.note import Checkpoint
from gateway.audit.progress import Meter, Tell
from gateway.audit.retention import Retired, read_retired
from gateway.audit.segment import Place, list_origins
from gateway.audit.shape import Shape, shape_of
from gateway.audit.sweep import sweep
from gateway.audit.tree import Frontier, leaf_hash

_LEAVES_GONE = "the .leaves files are missing or damaged; the next start rebuilds them"


@final
@dataclass(frozen=True, slots=True)
class Pin:
    """A checkpoint kept in another place. `kept_by` says where, for people."""

    raw: bytes
    kept_by: str


@final
@dataclass(frozen=True, slots=True)
class OriginReport:
    """One origin's verdict. `covered` is the signed size, None without a valid checkpoint.

    `records` counts all that were ever written, `retired` those of them that were removed on purpose. `key_id` is the
    key in force, `rotations` how often it changed. `pinned` is the largest size a checkpoint kept elsewhere confirms.
    """

    origin: str
    records: int
    covered: int | None
    damage: tuple[Damage, ...]
    warnings: tuple[str, ...]
    retired: int = 0
    key_id: str = ""
    rotations: int = 0
    pinned: int | None = None

    @property
    def ok(self) -> bool:
        return not self.damage

    @property
    def uncovered(self) -> int:
        """Records that no signature protects yet."""
        return max(0, self.records - (self.covered or 0))


def without_key(report: OriginReport, why: str) -> OriginReport:
    """The report with what can still be proven once nobody can sign any more (C119)."""
    said = (
        f"the signing key is {why}. {report.covered or 0} records stay provable by the last checkpoint; "
        f"{report.uncovered} after it are held by form only, and nothing will sign them"
    )
    return replace(report, warnings=(*report.warnings, said))


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
class _Claims:
    """What signatures say about one origin, before a single record is read."""

    checkpoint: Checkpoint | None = None
    retired: Retired = field(default_factory=lambda: Retired(""))
    pins: list[tuple[Checkpoint, str]] = field(default_factory=list)

    @property
    def covered(self) -> int:
        return self.checkpoint.size if self.checkpoint else self.retired.size


@final
@dataclass(slots=True)
class _Pass:
    """What one slow reading of the log showed."""

    count: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)
    leaves_root: bytes | None = None
    first_difference: int | None = None
    leaves_held: int = 0
    misfit: tuple[int, Shape | None] | None = None
    torn: bool = False


def verify(
    audit_root: Path,
    checkpoints_root: Path,
    trust: Mapping[str, Keyring],
    *,
    pins: Mapping[str, Iterable[Pin]] | None = None,
    jobs: int = 1,
    progress: Tell | None = None,
) -> VerifyReport:
    """Check every origin that left a trace, is enrolled or pinned. `trust` comes from `origin.load_keyrings`.

    `jobs` processes hash segments side by side; more than one starts fresh interpreters, so only from a program whose
    main module may be imported. Raises OSError.
    """
    names = sorted({*list_origins(audit_root, checkpoints_root), *trust, *(pins or {})})
    meter = Meter(progress)
    for name in names:
        meter.expect(Place(name, audit_root, checkpoints_root).segments())
    return VerifyReport(
        tuple(
            verify_origin(
                Place(name, audit_root, checkpoints_root),
                trust.get(name),
                pins=None if pins is None else pins.get(name, ()),
                jobs=jobs,
                meter=meter,
            )
            for name in names
        )
    )


def verify_origin(
    place: Place,
    keys: Keyring | None,
    *,
    pins: Iterable[Pin] | None = None,
    jobs: int = 1,
    meter: Meter | None = None,
) -> OriginReport:
    """Check one origin. `keys` is None for an origin that nobody enrolled, `pins` if nobody was asked for any."""
    live = held(place.lock)
    damage: list[Damage] = []
    claims = _claims(place, keys, pins or (), damage)  # before the log: a live writer only ever runs ahead of it
    sizes = [claims.covered, *_pinned_sizes(claims, keys)]
    swift = sweep(place, claims.retired, sizes, claims.covered, jobs=jobs, meter=meter)
    count, torn, roots = swift.count, swift.torn, swift.roots
    warnings: list[str] = []
    located = None
    if swift.clean and (claims.checkpoint is None or roots.get(claims.covered) == claims.checkpoint.root):
        if not swift.leaves_agree and claims.checkpoint is not None:
            warnings.append(_LEAVES_GONE)
    else:
        lines = Lines.of(place, claims.retired)
        seen = _read(lines, claims.covered, sizes, meter or Meter())
        count, torn, roots = seen.count, seen.torn, seen.roots
        located, warnings = _locate(lines, claims, seen)
    if located is not None and keys is not None:  # of what proves nothing, no more is to be said
        damage.append(located)
    pinned = _hold_pins(claims, keys, count, roots, damage) if located is None else None
    if located is None and torn and not live and keys is not None:
        damage.append(Damage(Kind.TORN, count, "the last line is unfinished; the next start will set it aside"))
    if pins is not None and not claims.pins and count:
        warnings.append("no checkpoint of this origin was kept elsewhere: nothing shows whether it was rolled back")
    aside = len(place.torn())
    if aside:
        warnings.append(f"{aside} file(s) of bytes that were set aside")
    return OriginReport(
        place.origin,
        count,
        claims.checkpoint.size if claims.checkpoint else None,
        tuple(damage),
        tuple(warnings),
        claims.retired.size,
        keys.current.key_id.hex() if keys else "",
        len(keys.rotations) if keys else 0,
        pinned,
    )


def _claims(place: Place, keys: Keyring | None, pins: Iterable[Pin], damage: list[Damage]) -> _Claims:
    claims = _Claims(retired=Retired(place.origin))
    if keys is None:
        damage.append(Damage(Kind.UNKNOWN_ORIGIN, None, "nobody enrolled this origin: its records prove nothing"))
        return claims
    for pin in pins:
        try:
            claims.pins.append((keys.checkpoint(pin.raw), pin.kept_by))
        except NoteInvalid as error:
            damage.append(Damage(Kind.CHECKPOINT_INVALID, None, f"kept by {pin.kept_by}: {error.why}"))
    try:
        raw = place.checkpoint.read_bytes()
    except FileNotFoundError:
        if place.segments():  # an enrolled origin that was never opened has neither
            damage.append(Damage(Kind.CHECKPOINT_MISSING, None, "no signed checkpoint: a cut tail would not show"))
        return claims
    try:
        claims.checkpoint = keys.checkpoint(raw)
    except NoteInvalid as error:
        damage.append(Damage(Kind.CHECKPOINT_INVALID, None, error.why))
    try:
        claims.retired = read_retired(place, keys)
    except NoteInvalid as error:
        damage.append(Damage(Kind.RETIREMENT_INVALID, None, error.why))
    if claims.checkpoint is not None and claims.checkpoint.size < claims.retired.size:
        why = f"signed for {claims.checkpoint.size} records, but {claims.retired.size} were retired"
        damage.append(Damage(Kind.ROLLED_BACK, None, why))
        claims.checkpoint = None
    return claims


def _pinned_sizes(claims: _Claims, keys: Keyring | None) -> list[int]:
    rotations = keys.rotations if keys else ()
    return [*(pin.size for pin, _ in claims.pins), *(rotation.size for rotation in rotations)]


def _hold_pins(
    claims: _Claims, keys: Keyring | None, count: int, roots: dict[int, bytes], damage: list[Damage]
) -> int | None:
    """Every checkpoint kept elsewhere must be one of this very history."""
    held_to = None
    wanted = [(pin.size, pin.root, f"the checkpoint kept by {kept_by}", True) for pin, kept_by in claims.pins]
    wanted += [(each.size, each.root, "the rotation of the key", False) for each in (keys.rotations if keys else ())]
    for size, root, what, outside in sorted(wanted):
        if size < claims.retired.size:
            continue  # what was retired later cannot be hashed again; the retirement itself was signed
        if size > count:
            damage.append(Damage(Kind.ROLLED_BACK, count, f"{what} covers {size} records, {count} are left"))
        elif roots.get(size) != root:
            damage.append(Damage(Kind.FORK, None, f"{what} covers {size} records of another history"))
        elif outside:
            held_to = max(size, held_to or 0)
    return held_to


def _read(lines: Lines, covered: int, sizes: list[int], meter: Meter) -> _Pass:
    retired = lines.retired
    meter.expect(lines.segments)
    seen = _Pass(count=retired.size)
    stored = lines.leaves().between(retired.size, covered)
    frontier, leaves = retired.frontier(), retired.frontier()
    if frontier.size in sizes:
        seen.roots[frontier.size] = frontier.root()
    for index, data, torn in lines:
        if torn:
            seen.torn = True
            break
        meter.line(len(data) + 1)
        leaf = leaf_hash(data)
        frontier.append(leaf)
        seen.count = index + 1
        if index < covered:
            kept = next(stored, None)
            if kept is not None:
                leaves.append(kept)
            if kept != leaf and seen.first_difference is None:
                seen.first_difference = index
        if seen.count in sizes:
            seen.roots[seen.count] = frontier.root()
        if seen.misfit is None:
            shape = shape_of(data)
            if shape != (index, lines.place.origin):
                seen.misfit = (index, shape)
    for kept in stored:
        leaves.append(kept)
    seen.leaves_held = leaves.size
    if leaves.size == covered:
        seen.leaves_root = leaves.root()
    return seen


def _locate(lines: Lines, claims: _Claims, seen: _Pass) -> tuple[Damage | None, list[str]]:
    """The first damaged record as far as it can be known."""
    warnings: list[str] = []
    covered = claims.covered
    signed = claims.checkpoint.root if claims.checkpoint else Frontier(covered, claims.retired.peaks).root()
    if seen.roots.get(covered) == signed:
        if claims.checkpoint is not None and (seen.leaves_root != signed or seen.first_difference is not None):
            warnings.append(_LEAVES_GONE)
        if seen.misfit is None:
            return None, warnings
        index, shape = seen.misfit
        if index < covered:
            return Damage(Kind.MALFORMED, index, "signed as it stands, but not a record of this log"), warnings
        return by_shape(lines, index, shape), warnings
    cut = Damage(Kind.TRUNCATED, seen.count, f"{covered} records were signed, {seen.count} are left")
    if seen.leaves_root == signed:
        if seen.first_difference is None:
            return cut, warnings
        return by_leaves(lines, seen.first_difference, covered), warnings
    warnings.append("the .leaves files are missing or damaged too: the place is what can be seen, no certainty")
    found: list[Damage] = []
    if seen.misfit is not None and seen.misfit[0] < covered:
        found.append(by_shape(lines, *seen.misfit))
    if seen.count < covered:
        found.append(cut)
    elif seen.first_difference is not None and seen.first_difference < seen.leaves_held:
        found.append(Damage(Kind.EDITED, seen.first_difference, "the first line that differs from its stored leaf"))
    if not found:
        return Damage(Kind.FORK, None, "a consistent history, but not the one that was signed"), warnings
    return min(found, key=_place), warnings


def _place(damage: Damage) -> int:
    return -1 if damage.seq is None else damage.seq
