"""The process's own log, through structlog: faults and first starts. Not the audit log, and never on a call's hot path.

A host that has configured structlog gets these events in its own form. Otherwise they go to standard error: folded
text on a terminal, else JSON lines. Untrusted text stays escaped in both (I9).
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import MutableMapping
from functools import cache
from typing import Any, Final

import structlog

WIDTH: Final = 80


def alarm() -> Any:
    """The logger: `alarm().error("event", key=value)`."""
    if structlog.is_configured():
        return structlog.get_logger("toolgate")
    return _own(sys.stderr is not None and sys.stderr.isatty())  # None: a service that was started with it closed


@cache
def _own(terminal: bool) -> Any:
    logger: Any = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _plain
            if terminal
            else structlog.processors.JSONRenderer(default=lambda value: f"<{type(value).__name__}>"),
        ],
    )
    return logger.bind(logger="toolgate")


def _plain(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """`toolgate: warning: what happened`, then a line for each thing said of it; ASCII, whatever it holds."""
    del event["logger"], event["timestamp"]
    lines = [f"toolgate: {event.pop('level')}: {_ascii(event.pop('event')).replace('_', ' ')}"]
    for name, value in event.items():
        said = ", ".join(map(_ascii, value)) if isinstance(value, list | tuple) else _ascii(value)
        lines += textwrap.wrap(
            f"{name}: {said}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join(lines)


def _ascii(value: object) -> str:
    text = json.dumps(value, default=lambda other: f"<{type(other).__name__}>")
    return text[1:-1] if isinstance(value, str) else text
