"""Records as text that is safe to print and to hand on (I9, C064): escaped, clipped, one line each.

Guarantee: no control, bidirectional or invisible character of a record leaves this module, in JSON neither: that is
ASCII throughout, DEL included.
"""

from __future__ import annotations

import json
from typing import Any, Final

from gateway.audit_tools.facts import Facts, facts_of
from gateway.audit_tools.index import Found
from gateway.clear.visible import visible, visible_json

CLIP: Final = 240  # characters of one value in a text output; `--json` gives the whole
WOULD: Final = {"would_deny": "would have been denied", "would_park": "would have waited for a person"}
UNTRUSTED: Final = "!"  # stands before a record of an origin that nobody enrolled


def ascii_json(value: object, indent: int | None = None) -> str:
    """JSON that does nothing to a terminal, whatever it holds."""
    text = json.dumps(value, indent=indent, ensure_ascii=True, default=str)
    return text.replace("\x7f", "\\u007f")


def shown(value: object, most: int = CLIP) -> str:
    """One value, escaped and clipped; what was cut is counted."""
    if isinstance(value, str):
        cut, length = value[: most + 1], len(value)
        text = visible(cut[:most])
    else:
        whole = visible_json(value)
        text, length = whole[:most], len(whole)
    return text if length <= most else f"{text}... [{length - most} more]"


def said(facts: Facts, record: dict[str, Any] | None) -> str:
    """Who, what, what became of it and by which rule, on one line."""
    rule = record.get("rule") or record.get("code") if record is not None else None
    parts = [facts.principal, facts.tool]
    decision = facts.reason or facts.decision
    if facts.kind == "call.intent":
        decision = WOULD.get(facts.decision, "") + (f": {facts.reason}" if facts.reason else "")
    if facts.kind == "policy.shadow" and record is not None:
        decision = f"{record.get('decided')} here, {record.get('would')} there: {facts.reason}".removesuffix(": ")
    parts += [decision, rule if isinstance(rule, str) and rule != decision else ""]
    return " ".join(shown(each, 120) for each in parts if each)


def clock_of(found: Found) -> str:
    """The time of day as the record has it."""
    time = found.record.get("time") if found.record is not None else None
    return shown(time[11:23], 12) if isinstance(time, str) and len(time) >= 23 else "            "


def place_of(found: Found) -> str:
    """`origin#seq`, marked if nobody enrolled the origin."""
    mark = "" if found.enrolled else UNTRUSTED
    return f"{mark}{shown(found.origin, 80)}#{found.seq}"


def parts_of(found: Found) -> tuple[str, str, str, str]:
    """(time, place, kind, what it says), each safe to print."""
    facts = facts_of(found.record)
    return clock_of(found), place_of(found), shown(facts.kind, 24), said(facts, found.record)
