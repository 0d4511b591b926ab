"""Definitions that are shared by every session and changed by none (C084).

They are dictionaries and lists to whoever reads, compares, copies or encodes them. Changing one raises TypeError; a
copy (`copy.deepcopy`, `dict(...)`, `|`) is a plain one of the caller's own. To make a list of 200 definitions anew for
each request instead would take a hundred times as long.
"""

from __future__ import annotations

from typing import Any, NoReturn, final


def _changed(*_: object, **__: object) -> NoReturn:
    raise TypeError("a tool definition is shared and read-only: change a copy of it (copy.deepcopy)")


@final
class ReadOnlyDict(dict[str, Any]):
    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _changed
    clear = pop = popitem = setdefault = update = _changed

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


@final
class ReadOnlyList(list[Any]):
    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _changed
    append = clear = extend = insert = pop = remove = reverse = sort = _changed

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def read_only(value: Any) -> Any:
    """The same JSON value, unchangeable all the way down."""
    if isinstance(value, dict):
        return ReadOnlyDict({key: read_only(item) for key, item in value.items()})
    return ReadOnlyList(map(read_only, value)) if isinstance(value, list) else value
