"""A list of host names: itself, or with `*.` every name beneath it, but not the name itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final


@final
class Hosts:
    """Names in lower case."""

    def __init__(self, patterns: Iterable[str]) -> None:
        listed = tuple(patterns)
        self._exact = frozenset(one for one in listed if not one.startswith("*."))
        self._beneath = tuple(one[1:] for one in listed if one.startswith("*."))

    def __contains__(self, host: str) -> bool:
        return host in self._exact or (bool(self._beneath) and host.endswith(self._beneath))
