"""A stretch of the tree hashed apart from what stands before it, so that segments can be hashed side by side.

Guarantee: a `Range` that began at `start` holds the roots of the fewest perfect subtrees of the *whole* tree that cover
its leaves; pushing them onto the frontier of the first `start` leaves gives the same tree as appending the leaves.
(The "compact range" of transparency logs.)
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import final

from gateway.audit.tree import Frontier


@final
class Range:
    """Leaves `start` to `end`. `nodes` are (level, hash), left to right. Can be pickled."""

    __slots__ = ("end", "nodes", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.nodes: list[tuple[int, bytes]] = []

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes."""
        nodes, at = self.nodes, self.end
        for node in leaves:
            level, carry = 0, at
            while carry & 1 and nodes and nodes[-1][0] == level:
                node = sha256(b"\x01" + nodes.pop()[1] + node).digest()  # noqa: PLW2901 -- it grows upwards
                carry >>= 1
                level += 1
            nodes.append((level, node))
            at += 1
        self.end = at

    def onto(self, frontier: Frontier) -> None:
        """Append to the tree over the first `start` leaves."""
        if frontier.size != self.start:
            raise ValueError(f"a range from {self.start} does not follow a tree of {frontier.size}")
        for level, node in self.nodes:
            frontier.push(node, level)
