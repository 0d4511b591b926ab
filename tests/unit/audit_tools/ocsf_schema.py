"""What OCSF 1.6.0 asks of the events that we export, stated by hand from its published schema (checked 2026-11-20).

`enums` give an id's captions: the sibling attribute (`action` beside `action_id`) must be the caption, except at 99
(Other), where it is the source's own word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

_STATUS: Final = {0: "Unknown", 1: "Success", 2: "Failure", 99: "Other"}
_SEVERITY: Final = dict(enumerate(["Unknown", "Informational", "Low", "Medium", "High", "Critical", "Fatal"])) | {
    99: "Other"
}
_ACTION: Final = {0: "Unknown", 1: "Allowed", 2: "Denied", 3: "Observed", 4: "Modified", 99: "Other"}
_DISPOSITION: Final = {0: "Unknown", 1: "Allowed", 2: "Blocked", 8: "Approved", 14: "Delayed", 27: "Error", 99: "Other"}
_ACTIVITY: Final = {
    6003: {0: "Unknown", 1: "Create", 2: "Read", 3: "Update", 4: "Delete", 99: "Other"},
    6002: {0: "Unknown", 1: "Install", 2: "Remove", 3: "Start", 4: "Stop", 99: "Other"},
    0: {0: "Unknown", 99: "Other"},
}
_CLASSES: Final = {
    6003: ("API Activity", 6, "Application Activity"),
    6002: ("Application Lifecycle", 6, "Application Activity"),
    0: ("Base Event", 0, "Uncategorized"),
}


@dataclass(frozen=True)
class Shape:
    """One object: attributes by type (a shape for an object), those required, and those of which one must be there."""

    attributes: dict[str, Any]
    required: set[str] = field(default_factory=set)
    at_least_one: set[str] = field(default_factory=set)


PRODUCT: Final = Shape({"name": str, "vendor_name": str, "version": str}, {"name", "vendor_name"})
METADATA: Final = Shape(
    dict.fromkeys(("version", "log_name", "uid", "event_code", "correlation_uid", "original_time"), str)
    | {"product": PRODUCT, "sequence": int, "profiles": list},
    {"version", "product"},
)
USER: Final = Shape({"uid": str, "groups": list}, at_least_one={"uid", "name", "account"})
SESSION: Final = Shape({"uid": str})
ACTOR: Final = Shape(
    {"user": USER, "session": SESSION, "app_name": str},
    at_least_one={"process", "user", "invoked_by", "session", "app_name", "app_uid"},
)
API: Final = Shape({"operation": str, "request": Shape({"uid": str}, {"uid"})}, {"operation"})
ENDPOINT: Final = Shape({"name": str}, at_least_one={"ip", "uid", "name", "hostname", "svc_name", "instance_uid"})
_COMMON: Final = (
    dict.fromkeys(("class_uid", "category_uid", "activity_id", "type_uid", "time", "severity_id", "status_id"), int)
    | dict.fromkeys(("class_name", "category_name", "activity_name", "severity", "status", "status_detail"), str)
    | {"metadata": METADATA, "unmapped": Shape({"enrolled": bool, "record": Any})}
)
_REQUIRED: Final = {"class_uid", "category_uid", "activity_id", "type_uid", "time", "severity_id", "metadata"}
_CONTROL: Final = {"action_id": int, "action": str, "disposition_id": int, "disposition": str}
EVENTS: Final = {
    6003: Shape(
        _COMMON | _CONTROL | {"actor": ACTOR, "api": API, "src_endpoint": ENDPOINT},
        _REQUIRED | {"actor", "api", "src_endpoint"},
    ),
    6002: Shape(_COMMON | {"app": PRODUCT}, _REQUIRED | {"app"}),
    0: Shape(_COMMON, _REQUIRED),
}


def misfits(event: dict[str, Any]) -> list[str]:
    """Everything about an event that the schema does not allow."""
    uid = event.get("class_uid")
    if uid not in EVENTS:
        return [f"class {uid}"]
    name, category, category_name = _CLASSES[uid]
    found = list(_misfits(event, EVENTS[uid], name))
    if (event.get("class_name"), event.get("category_uid"), event.get("category_name")) != (
        name,
        category,
        category_name,
    ):
        found.append("class and category")
    if event.get("type_uid") != uid * 100 + event.get("activity_id", 0):
        found.append("type_uid")
    enums = {"severity": _SEVERITY, "status": _STATUS, "action": _ACTION, "disposition": _DISPOSITION}
    for attribute, captions in enums.items():
        given = event.get(f"{attribute}_id")
        if given is None and f"{attribute}_id" not in event:
            continue
        if given not in captions or (given != 99 and event.get(attribute) != captions[given]):
            found.append(attribute)
    activity = event.get("activity_id")
    captions = _ACTIVITY[uid]
    if activity not in captions or (activity != 99 and event.get("activity_name") != captions[activity]):
        found.append("activity")
    if event["metadata"].get("version") != "1.6.0":
        found.append("version")
    if ("security_control" in event["metadata"].get("profiles", [])) != ("action_id" in event):
        found.append("the profile of what was decided")
    return found


def _misfits(given: Any, shape: Shape, where: str) -> list[str]:
    if not isinstance(given, dict):
        return [f"{where}: no object"]
    found = [f"{where}.{name}: required" for name in shape.required - set(given)]
    if shape.at_least_one and not shape.at_least_one & set(given):
        found.append(f"{where}: nothing of what it needs one of")
    for name, value in given.items():
        kind = shape.attributes.get(name)
        if kind is None:
            found.append(f"{where}.{name}: unknown")
        elif isinstance(kind, Shape):
            found += _misfits(value, kind, f"{where}.{name}")
        elif kind is not Any and (type(value) is not kind or value == ""):
            found.append(f"{where}.{name}: {value!r}")
    return found
