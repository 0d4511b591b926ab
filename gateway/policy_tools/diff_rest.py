"""What `diff` says of everything that is not a contract's own story: settings, approvers, sandbox profiles.

Guarantee: nothing that a gateway goes by changes without a line. Where a change could go either way it is called a
widening, so that somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from gateway.policy.policy_set import PolicySet

Meaning = Literal["breaks", "widens", "narrows", "rewords"]
Line = tuple[Meaning, str, str]  # meaning, subject, what

# Settings of which more is more room for a model, and less is less.
_ROOM = ("loop.", "arguments.")


def rest(before: PolicySet, after: PolicySet) -> Iterator[Line]:
    """Every difference outside policy.csv and tools/."""
    old, new = (_flat(each.settings.model_dump(mode="json", by_alias=True)) for each in (before, after))
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if a != b:
            yield _setting(name, a, b), "settings.yaml", f"{name} {a} -> {b}"
    yield from _approvers(before, after)
    profiles = {*before.sandbox_profiles, *after.sandbox_profiles}
    for name in sorted(profiles):
        one, other = (_flat(dict(each.sandbox_profiles.get(name, {}))) for each in (before, after))
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                yield "widens", f"sandbox/{name}.yaml", f"{key} {one.get(key)} -> {other.get(key)}"


def _setting(name: str, before: object, after: object) -> Meaning:
    if name.startswith(_ROOM) and isinstance(before, int | float) and isinstance(after, int | float):
        return "widens" if after > before else "narrows"
    return "widens"


def _approvers(before: PolicySet, after: PolicySet) -> Iterator[Line]:
    old, new = ({each.id: each for each in side.approvers.approvers} for side in (before, after))
    for who in sorted({*old, *new}):
        if who not in new:
            yield "narrows", "approvers.yaml", f"{who} may no longer vote"
        elif who not in old:
            yield "widens", "approvers.yaml", f"{who} may vote{' with a key made by --dev' if new[who].dev else ''}"
        elif old[who] != new[who]:
            yield "widens", "approvers.yaml", f"{who} votes with another key"


def _flat(value: object, path: str = "") -> dict[str, object]:
    """`{"loop": {"repeats": 5}}` -> `{"loop.repeats": 5}`; lists stay whole."""
    if not isinstance(value, Mapping) or not value:
        return {path: value} if path else {}
    found: dict[str, object] = {}
    for key, item in value.items():
        found |= _flat(item, f"{path}.{key}" if path else str(key))
    return found
