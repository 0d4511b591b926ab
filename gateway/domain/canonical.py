"""Canonical JSON (RFC 8785): one value, one spelling, so one digest (I1).

`orjson` with sorted keys gives the very same bytes when a value holds no float and only ASCII keys (RFC 8785 sorts
by UTF-16 code units, orjson by UTF-8), at a fiftieth of the cost; everything else goes through `rfc8785`. That
both agree is a property test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import rfc8785

from gateway.domain.errors import ToolgateError

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

MAX_SAFE_INTEGER = 2**53 - 1  # RFC 7493 (I-JSON) section 2.2


class NotCanonical(ToolgateError, ValueError):
    """The value has no canonical form."""


def canonical(value: object, *, simple: bool = False) -> bytes:
    """The RFC 8785 bytes of `value`.

    `simple=True` promises that no float, no non-ASCII key and no integer beyond 2^53 - 1 stands in it (the strict
    parser knows).
    """
    if simple:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise NotCanonical(f"no canonical form: {error}") from error
