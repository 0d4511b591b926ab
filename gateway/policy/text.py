"""Bytes of a policy file -> text that reads the same to a person and to every parser.

Refused, with file and line: anything that is not UTF-8, a byte order mark (C021), NUL and other control characters,
line ends that only some parsers see (U+0085, U+2028, U+2029, a lone carriage return) and the bidirectional controls
with which one line can be shown as another (CVE-2021-42574).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from gateway.domain.errors import PolicyError

BOM = "\ufeff"
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]|\r(?!\n)"
)


def decode(raw: bytes, *, file: str, max_bytes: int) -> str:
    """The text of `raw`, with `\\n` as the only line end. Raises PolicyError."""
    if len(raw) > max_bytes:
        raise PolicyError(f"the file has {len(raw)} bytes; at most {max_bytes} are read. Split it", file=file)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PolicyError("this line is not UTF-8. Save the file as UTF-8", file=file, line=line) from error
    if text.startswith(BOM):
        message = "the file begins with a byte order mark. Save it as UTF-8 without BOM"
        raise PolicyError(message, file=file, line=1, column=1)
    hidden = _HIDDEN.search(text)
    if hidden:
        start = hidden.start()
        raise PolicyError(
            f"the character U+{ord(hidden[0]):04X} is not visible or ends a line for some readers only. Remove it",
            file=file,
            line=text.count("\n", 0, start) + 1,
            column=start - text.rfind("\n", 0, start),
        )
    return text.replace("\r\n", "\n")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing where no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
