"""What a run ends in. The verdict is the host's; texts, value and artifacts are the program's own claim.

Guarantee: `stdout`, `stderr` and `value` hold no control, bidi or invisible character and no invalid UTF-8; what the
program wrote in their place is shown as an escape such as `\\x1b` or `\\u202e`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import final

from sandbox.outputs import Artifact


class Verdict(StrEnum):
    """How a run ended; closed."""

    OK = "ok"
    CODE_FAILED = "code_failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    KILLED = "killed"
    OUTPUT_CAPPED = "output_capped"
    SANDBOX_FAILED = "sandbox_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult:
    """One run. `duration_s` is how long the host waited for the code, in seconds.

    `exit_code` is None where there was none. `value` is the repr of the last statement, where that is an expression
    other than None, at most 16 KiB. `artifacts` are the files of `/tmp/out`, and `left_out` says which were not taken
    and why. `cpu_s` and `peak_bytes` are of the whole container; None where nobody could say. `alive`: a session
    whose variables and files are still there. `detail` is for operators and says what the sandbox met.
    """

    verdict: Verdict
    exit_code: int | None
    stdout: str
    stderr: str
    duration_s: float
    image_id: str
    container_id: str
    detail: str = ""
    value: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    left_out: tuple[str, ...] = ()
    cpu_s: float | None = None
    peak_bytes: int | None = None
    alive: bool = False

    @property
    def succeeded(self) -> bool:
        """True only where the program ended by itself with exit code 0 and within every limit."""
        return self.verdict is Verdict.OK


# Control (but tab and newline), format, surrogate, private, unassigned line breaks; then the letters and marks
# that Unicode lists as Default_Ignorable (DerivedCoreProperties) or that show as blank.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


_decoder = codecs.getincrementaldecoder("utf-8")


def _escape(match: re.Match[str]) -> str:
    point = ord(match[0])
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def shown(raw: bytes) -> str:
    """`raw` as text that is safe to print, log and hand on; at most ten times as long."""
    return _UNSAFE.sub(_escape, raw.decode("utf-8", "backslashreplace"))


Hear = Callable[[str, str], None]
"""Told `stdout` or `stderr` and a piece of safe text while the program runs, in the thread that drains it: it must
neither block nor raise. All pieces of a stream together are that stream of the result; the code's claim, too."""


@final
class Shower:
    """`shown`, piece by piece, wherever the pieces were cut."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._decoders = {name: _decoder("backslashreplace") for name in ("stdout", "stderr")}

    def __call__(self, stream: str, piece: bytes, *, last: bool = False) -> None:
        text = self._decoders[stream].decode(piece, last)
        if text:
            self._hear(stream, _UNSAFE.sub(_escape, text))

    def end(self) -> None:
        """What is left of a character that never came whole."""
        for stream in self._decoders:
            self(stream, b"", last=True)
