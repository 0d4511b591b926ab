"""Inclusion and consistency proofs (RFC 6962 sections 2.1.1 and 2.1.2) of a log of any length.

`Leaves` reads the side files, those of retired segments too, one chunk in memory. The side files are not trusted: a
proof made from damaged ones does not verify.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, final

from gateway.audit.tree import HASH_BYTES, Frontier, root_of

Root = Callable[[int, int], bytes]
"""The RFC 6962 root over leaves `start` to `end`."""
_CHUNK: Final = 65_536 * HASH_BYTES


def _split(size: int) -> int:
    """The largest power of two below `size` (size >= 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion(index: int, size: int, root: Root) -> list[bytes]:
    """Siblings from leaf `index` up to the root of the first `size` leaves, lowest first."""
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} is outside a tree of {size}")
    start, end, proof = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append((middle, end))
            end = middle
        else:
            proof.append((start, middle))
            start = middle
    return [root(*each) for each in reversed(proof)]


def consistency(old_size: int, size: int, root: Root) -> list[bytes]:
    """Proof that the tree over the first `old_size` leaves is a prefix of the tree over the first `size`."""
    if not 0 <= old_size <= size:
        raise IndexError(f"size {old_size} is outside a tree of {size}")
    if old_size in (0, size):
        return []
    start, end, proof = 0, size, []
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append((middle, end))
            end = middle
        else:
            proof.append((start, middle))
            start = middle
    if start:  # else the old root itself, which whoever checks has
        proof.append((start, end))
    return [root(*each) for each in reversed(proof)]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """`inclusion` over leaf hashes held in memory."""
    return inclusion(index, len(leaves), lambda start, end: root_of(leaves[start:end]))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """`consistency` over leaf hashes held in memory."""
    return consistency(old_size, len(leaves), lambda start, end: root_of(leaves[start:end]))


@final
class Leaves:
    """The stored leaf hashes of one origin, addressed by record. `files` are its side files in name order."""

    def __init__(self, files: list[Path], known: Frontier | None = None, *, base: int = 0) -> None:
        """`known`, the tree at an earlier size, saves reading what stands before it. `base`: where the files begin."""
        self._files: list[tuple[int, int, Path]] = []
        at = base
        for path in files:
            count = path.stat().st_size // HASH_BYTES
            self._files.append((at, at + count, path))
            at += count
        self.size = at
        self._peaks: dict[tuple[int, int], bytes] = {}
        start = 0
        for peak in known.peaks if known is not None else ():
            width = 1 << ((known.size - start).bit_length() - 1) if known is not None else 0
            self._peaks[start, start + width] = peak
            start += width

    def between(self, start: int, end: int) -> Iterator[bytes]:
        """Leaf hashes `start` to `end`; fewer where they are missing."""
        for first, last, path in self._files:
            if last <= start or first >= end:
                continue
            skip = max(start - first, 0)
            with path.open("rb") as file:
                file.seek(skip * HASH_BYTES)
                yield from islice(_hashes(file.read, _CHUNK), min(end, last) - first - skip)

    def root(self, start: int, end: int) -> bytes:
        """The root over that stretch. Raises LookupError where leaves are missing."""
        peak = self._peaks.get((start, end))
        if peak is not None:
            return peak
        frontier = self.frontier(start, end)
        if frontier.size != end - start:
            raise LookupError(f"the leaf hashes of records {start} to {end} are not all there")
        return frontier.root()

    def frontier(self, start: int, end: int) -> Frontier:
        """The tree over that stretch alone, as far as it is there."""
        frontier = Frontier()
        frontier.extend(self.between(start, end))
        return frontier


def _hashes(read: Callable[[int], bytes], chunk: int) -> Iterator[bytes]:
    while data := read(chunk):
        for at in range(0, len(data) - HASH_BYTES + 1, HASH_BYTES):
            yield data[at : at + HASH_BYTES]
