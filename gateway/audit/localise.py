"""What happened at the first bad record, once it is known which one that is.

Two questions decide. Does the line that stands there belong later? Does what belongs there stand later?

    belongs later   stands later
    yes             yes            reordered
    yes             no             deleted
    no              yes            inserted
    no              no             edited
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from gateway.audit.damage import Damage, Kind
from gateway.audit.proofs import Leaves
from gateway.audit.retention import Retired, stored_leaves
from gateway.audit.segment import Place
from gateway.audit.shape import Numbered, Shape, numbered, shape_of
from gateway.audit.tree import leaf_hash


@final
@dataclass(frozen=True, slots=True)
class Lines:
    """What is left of one origin, as it lies there."""

    place: Place
    retired: Retired
    segments: list[Path]

    @classmethod
    def of(cls, place: Place, retired: Retired) -> Lines:
        return cls(place, retired, place.segments(retired.first))

    def __iter__(self) -> Iterator[Numbered]:
        return numbered(self.segments, self.retired.size)

    def leaves(self) -> Leaves:
        """The side files beside them."""
        return stored_leaves(self.place, self.retired)

    def stands_after(self, index: int, wanted: Callable[[bytes], bool]) -> bool:
        return any(not line.torn and line.at > index and wanted(line.data) for line in self)


def _kind(*, belongs_later: bool, stands_later: bool) -> Kind:
    if belongs_later:
        return Kind.REORDERED if stands_later else Kind.DELETED
    return Kind.INSERTED if stands_later else Kind.EDITED


def by_leaves(lines: Lines, index: int, covered: int) -> Damage:
    """Judge the line at `index` against leaf hashes that the signature vouches for."""
    line = next(line.data for line in lines if line.at == index)
    leaf = leaf_hash(line)
    right = b""
    belongs_later = False
    for at, stored in enumerate(lines.leaves().between(index, covered), index):
        if at == index:
            right = stored
        elif stored == leaf:
            belongs_later = True
            break
    shape = shape_of(line)
    if shape is not None and shape.origin == lines.place.origin and shape.seq >= covered:
        belongs_later = True
    stands_later = lines.stands_after(index, lambda data: leaf_hash(data) == right)
    kind = _kind(belongs_later=belongs_later, stands_later=stands_later)
    return Damage(kind, index, "the line is not the record that was signed")


def by_shape(lines: Lines, index: int, shape: Shape | None) -> Damage:
    """Judge the line at `index` by numbering alone, where no signature reaches."""
    origin = lines.place.origin
    belongs_later = shape is not None and shape.origin == origin and shape.seq > index
    stands_later = lines.stands_after(index, lambda data: shape_of(data) == (index, origin))
    kind = _kind(belongs_later=belongs_later, stands_later=stands_later)
    return Damage(kind, index, "the line is not a record with this number and origin")
