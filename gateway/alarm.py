"""The process's own log, through structlog: faults and first starts. Not the audit log, and never on a call's hot path.

A host that has configured structlog gets these events in its own form; otherwise they are JSON lines on standard
error, where untrusted text stays escaped (I9).
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import structlog


def alarm() -> Any:
    """The logger: `alarm().error("event", key=value)`."""
    return structlog.get_logger("toolgate") if structlog.is_configured() else _own()


@cache
def _own() -> Any:
    logger: Any = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=lambda value: f"<{type(value).__name__}>"),
        ],
    )
    return logger.bind(logger="toolgate")
