"""What one record is about, as readers ask for it: who, which tool, which decision, which ids, which words.

Guarantee: never raises, whatever a line holds: records of an origin that nobody enrolled may say anything. Values are
untrusted text; whoever prints them escapes them (I9).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

MAX_TEXT_CHARS: Final = 4_096  # of one record's own text that the index takes in
MAX_VALUE_CHARS: Final = 256  # as long as any id may be; a longer one is cut

# Digests, keys and ids have fields of their own or are not words that anybody looks for.
_TEXTS: Final = {
    "call.intent": ("arguments", "facts", "grant", "contract", "authority", "sandbox"),
    "call.outcome": ("preview", "detail", "code", "evidence"),
    "call.denied": ("arguments", "facts", "detail", "rule", "asked", "reason"),
}
_NOT_TEXT: Final = frozenset(
    {
        *("seq", "origin", "time", "mono_ns", "v", "kind", "call", "files", "policy_digest", "before", "answer_digest"),
        *("contract_digest", "effective_digest", "request_digest", "proof", "key_id", "intent_seq", "expires"),
    }
)
_DECISIONS: Final = {
    "call.intent": "permitted",
    "call.denied": "denied",
    "approval.requested": "parked",
    "approval.expired": "expired",
}
DECISIONS: Final = (
    *("permitted", "released", "failed", "unknown", "denied", "parked", "expired"),
    *("would_allow", "would_deny", "would_park"),
    *("approve", "deny", "confirm", "happened", "did_not_happen", "cannot_tell", "refused", "masked"),
)
"""What a record can decide: an intent permits, an outcome releases or fails, a vote approves, a finding settles.

`would_deny` and `would_park` are calls of a gateway that only observes: they ran all the same. With `would_allow` they
are also what a policy that is judged beside the one in force says.
"""
_WOULD: Final = {"allow": "would_allow", "deny": "would_deny", "escalate": "would_park"}


NOT_A_RECORD: Final = "not a record"
"""The kind of a line that is no JSON object."""


class Facts(NamedTuple):
    """Empty strings where a record does not say."""

    kind: str
    decision: str
    principal: str
    on_behalf_of: str
    tool: str
    reason: str
    conversation: str
    call_id: str
    parent_id: str
    request_id: str


def text(value: object) -> str:
    """A field's value as bounded text that can be encoded; empty for null, false and anything that is no scalar."""
    if value is None:
        return ""
    if isinstance(value, str):
        short = value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS]
        return short if short.isascii() else short.encode("utf-8", "replace").decode("utf-8")
    return "" if not value or isinstance(value, (dict, list)) else str(value)[:MAX_VALUE_CHARS]


def facts_of(record: dict[str, Any] | None) -> Facts:
    """What a stored line says; a line that is no record says only that."""
    if record is None:
        return _NO_RECORD
    get = record.get
    kind = text(get("kind"))
    about = get("call")
    call = about.get if isinstance(about, dict) else get
    observed = get("observed")
    would = observed.get if isinstance(observed, dict) and kind == "call.intent" else {}.get
    would_be = _WOULD.get(text(get("would"))) if kind == "policy.shadow" else None
    if text(would("decision")) in ("deny", "escalate"):
        would_be = _WOULD[text(would("decision"))]
    return Facts(
        kind,
        would_be or _DECISIONS.get(kind) or text(get("status") or get("verdict") or get("finding")),
        text(call("principal") or get("voter") or get("by")),
        text(call("on_behalf_of")),
        text(call("tool") or get("asked")),
        text(get("reason") or get("code") or would("reason")),
        text(call("conversation")),
        text(call("call_id")),
        text(call("parent_id")),
        text(get("request_id") or call("request_id")),
    )


def words_of(record: dict[str, Any] | None) -> str:
    """The text of a record that full-text search looks through: names and values, no digests; bounded."""
    if record is None:
        return ""
    get = record.get
    kind = get("kind")
    keys: Iterable[str] = _TEXTS.get(kind, ()) if isinstance(kind, str) else ()
    parts: list[str] = []
    for key in keys or record.keys() - _NOT_TEXT:
        value = get(key)
        if value:
            parts.append(value if isinstance(value, str) else _as_json(value))
    about = get("call")
    if isinstance(about, dict):
        parts += [each for each in (about.get("tool"), about.get("principal")) if isinstance(each, str)]
    joined = " ".join(parts)[:MAX_TEXT_CHARS]
    if "\\" in joined:  # what JSON escapes must not grow together with the word behind it
        joined = joined.replace("\\\\", " ").replace("\\n", " ").replace("\\t", " ").replace("\\r", " ")
    return joined if joined.isascii() else joined.encode("utf-8", "replace").decode("utf-8")


def _as_json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except (orjson.JSONEncodeError, RecursionError):  # half a character or a huge number: JSON all the same
        return json.dumps(value, ensure_ascii=False)


_NO_RECORD: Final = Facts(NOT_A_RECORD, "", "", "", "", "", "", "", "", "")
