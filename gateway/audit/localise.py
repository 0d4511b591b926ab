"""What happened at the first bad record, once it is known which one that is.

Two questions decide. Does the line that stands there belong later? Does what belongs there stand later?

    belongs later   stands later
    yes             yes            reordered
    yes             no             deleted
    no              yes            inserted
    no              no             edited
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.audit.damage import Damage, Kind
from gateway.audit.segment import read_leaves
from gateway.audit.shape import Shape, numbered, shape_of
from gateway.audit.tree import leaf_hash


def _kind(*, belongs_later: bool, stands_later: bool) -> Kind:
    if belongs_later:
        return Kind.REORDERED if stands_later else Kind.DELETED
    return Kind.INSERTED if stands_later else Kind.EDITED


def _stands_after(segments: list[Path], index: int, wanted: Callable[[bytes], bool]) -> bool:
    return any(not line.torn and line.at > index and wanted(line.data) for line in numbered(segments))


def by_leaves(segments: list[Path], origin: str, index: int, covered: int) -> Damage:
    """Judge the line at `index` against leaf hashes that the signature vouches for."""
    line = next(line.data for line in numbered(segments) if line.at == index)
    leaf = leaf_hash(line)
    right = b""
    belongs_later = False
    for at, stored in enumerate(read_leaves(segments, covered)):
        if at == index:
            right = stored
        elif at > index and stored == leaf:
            belongs_later = True
            break
    shape = shape_of(line)
    if shape is not None and shape.origin == origin and shape.seq >= covered:
        belongs_later = True
    stands_later = _stands_after(segments, index, lambda data: leaf_hash(data) == right)
    kind = _kind(belongs_later=belongs_later, stands_later=stands_later)
    return Damage(kind, index, "the line is not the record that was signed")


def by_shape(segments: list[Path], origin: str, index: int, shape: Shape | None) -> Damage:
    """Judge the line at `index` by numbering alone, where no signature reaches."""
    belongs_later = shape is not None and shape.origin == origin and shape.seq > index
    stands_later = _stands_after(segments, index, lambda data: shape_of(data) == (index, origin))
    kind = _kind(belongs_later=belongs_later, stands_later=stands_later)
    return Damage(kind, index, "the line is not a record with this number and origin")
