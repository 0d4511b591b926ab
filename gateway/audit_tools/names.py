"""Our names in the field's: the one place where records are translated for other people's programs.

OpenTelemetry: the GenAI semantic conventions 1.38 (`gen_ai.*`, status Development), `user.id`, `error.type`; what they
have no name for stands under `toolgate.`. OCSF: schema 1.6.0, API Activity (6003) for calls, Application Lifecycle
(6002) for starts and stops, Base Event (0) for everything else, the `security_control` profile for what was decided.
What a record does not say is left out there, and every object has what OCSF requires of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.audit_tools.facts import Facts, facts_of, text
from gateway.audit_tools.index import Found
from gateway.audit_tools.moment import record_us

OCSF_VERSION: Final = "1.6.0"
_PRODUCT: Final = {"name": "Toolgate", "vendor_name": "Toolgate"}

_CALLS: Final[frozenset[str]] = frozenset({"call.intent", "call.outcome", "call.denied", "approval.requested"})
_Column = Callable[[Found, Facts, dict[str, Any]], object]

OTEL: Final[dict[str, _Column]] = {
    "time": lambda _, __, record: record.get("time"),
    "toolgate.origin": lambda found, _, __: found.origin,
    "toolgate.seq": lambda found, _, __: found.seq,
    "toolgate.origin.enrolled": lambda found, _, __: found.enrolled,
    "toolgate.kind": lambda _, facts, __: facts.kind,
    "gen_ai.operation.name": lambda _, facts, __: "execute_tool" if facts.kind in _CALLS else None,
    "gen_ai.tool.name": lambda _, facts, __: facts.tool,
    "gen_ai.tool.call.id": lambda _, __, record: _call(record).get("provider_call_id"),
    "gen_ai.conversation.id": lambda _, facts, __: facts.conversation,
    "user.id": lambda _, facts, __: facts.principal,
    "user.roles": lambda _, __, record: _call(record).get("roles"),
    "toolgate.on_behalf_of": lambda _, facts, __: facts.on_behalf_of,
    "toolgate.call.id": lambda _, facts, __: facts.call_id,
    "toolgate.call.parent_id": lambda _, facts, __: facts.parent_id,
    "toolgate.request.id": lambda _, facts, __: facts.request_id,
    "toolgate.decision": lambda _, facts, __: facts.decision,
    "error.type": lambda _, facts, __: facts.reason,
    "toolgate.rule": lambda _, __, record: record.get("rule") or record.get("grant"),
    "toolgate.policy.digest": lambda _, __, record: _call(record).get("policy_digest") or record.get("policy_digest"),
    "toolgate.contract.digest": lambda _, __, record: record.get("contract_digest"),
    "gen_ai.tool.call.arguments": lambda _, __, record: record.get("arguments"),
    "gen_ai.tool.call.result": lambda _, __, record: record.get("preview"),
    "toolgate.result.bytes": lambda _, __, record: record.get("result_bytes"),
    "toolgate.detail": lambda _, __, record: record.get("detail") or record.get("why") or record.get("comment"),
    "toolgate.steps_us": lambda _, __, record: record.get("steps_us"),
}
"""Columns of a table of records, by OpenTelemetry attribute."""

_SUCCESS, _FAILURE, _UNKNOWN = (1, "Success"), (2, "Failure"), (0, "Unknown")
_STATUS: Final = {"released": _SUCCESS, "failed": _FAILURE, "denied": _FAILURE}
_SEVERITY: Final = {"denied": (2, "Low"), "failed": (2, "Low"), "unknown": (3, "Medium")}
_LIFECYCLE: Final = {"process.started": (3, "Start"), "process.stopped": (4, "Stop")}


def ocsf(found: Found) -> dict[str, Any]:
    """One record as an OCSF event. What has no attribute there is kept under `unmapped` by our own names."""
    record = found.record or {}
    facts = facts_of(found.record)
    activity: tuple[int, str]
    if facts.kind in _CALLS:
        klass, category, activity = (6003, "API Activity"), (6, "Application Activity"), (99, facts.kind)
    elif facts.kind in _LIFECYCLE:
        klass, category = (6002, "Application Lifecycle"), (6, "Application Activity")
        activity = _LIFECYCLE[facts.kind]
    else:
        klass, category, activity = (0, "Base Event"), (0, "Uncategorized"), (99, facts.kind or "?")
    severity = _SEVERITY.get(facts.decision, (1, "Informational"))
    status = _STATUS.get(facts.decision, _UNKNOWN)
    event: dict[str, Any] = {
        "class_uid": klass[0],
        "class_name": klass[1],
        "category_uid": category[0],
        "category_name": category[1],
        "activity_id": activity[0],
        "activity_name": activity[1],
        "type_uid": klass[0] * 100 + activity[0],
        "time": record_us(record.get("time"), {}) // 1000,
        "severity_id": severity[0],
        "severity": severity[1],
        "status_id": status[0],
        "status": status[1],
        "metadata": _said(
            version=OCSF_VERSION,
            product=_PRODUCT,
            log_name=found.origin,
            sequence=found.seq,
            uid=f"{found.origin}#{found.seq}",
            event_code=facts.kind,
            correlation_uid=facts.call_id or facts.request_id,
            original_time=text(record.get("time")),
            profiles=["security_control"] if facts.kind in _CALLS else [],
        ),
        "unmapped": {"enrolled": found.enrolled, "record": found.record},
    }
    if facts.reason:
        event["status_detail"] = facts.reason
    if facts.kind in _CALLS:
        event |= {
            "actor": _actor(facts, record),
            "api": _said(operation=facts.tool or "?", request=_said(uid=facts.call_id)),
            "src_endpoint": {"name": found.origin},
            **_control(facts),
        }
    elif facts.kind in _LIFECYCLE:
        event["app"] = _PRODUCT | _said(version=text(record.get("version")))
    return event


def _actor(facts: Facts, record: dict[str, Any]) -> dict[str, object]:
    user = _said(uid=facts.principal) and {"uid": facts.principal, **_groups(record)}
    return _said(user=user, session=_said(uid=facts.conversation)) or {"app_name": "?"}


def _control(facts: Facts) -> dict[str, object]:
    if facts.decision.startswith("would_"):
        return {"action_id": 3, "action": "Observed", "disposition_id": 17, "disposition": "Logged"}
    if facts.decision == "denied":
        return {"action_id": 2, "action": "Denied", "disposition_id": 2, "disposition": "Blocked"}
    if facts.decision == "parked":
        return {"action_id": 0, "action": "Unknown", "disposition_id": 14, "disposition": "Delayed"}
    return {"action_id": 1, "action": "Allowed", "disposition_id": 1, "disposition": "Allowed"}


def _groups(record: dict[str, Any]) -> dict[str, object]:
    """Roles: OCSF has groups, which have a type."""
    roles = _call(record).get("roles")
    return {"groups": [{"name": str(role), "type": "role"} for role in roles]} if isinstance(roles, list) else {}


def _said(**members: object) -> dict[str, object]:
    """Without those that say nothing; `sequence` 0 says something."""
    return {name: value for name, value in members.items() if value not in ("", {}, [])}


def _call(record: dict[str, Any]) -> dict[str, Any]:
    call = record.get("call")
    return call if isinstance(call, dict) else {}
