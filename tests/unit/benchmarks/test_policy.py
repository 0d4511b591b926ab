"""The large policy that is timed is a sound one, and its log can be judged."""

from __future__ import annotations

from pathlib import Path

from benchmarks.policy import made
from gateway.policy.loader import load
from gateway.policy_tools.impact import impact
from gateway.policy_tools.lint import lint


def test_what_is_timed_is_judged(tmp_path: Path) -> None:
    size = {"contracts": 12, "roles": 4, "tools_of_a_role": 5}
    policy = load(made.policy(tmp_path / "policies", **size))
    assert len(policy.access.grants) == 4 * 5 * 2 + 12
    assert [each for each in lint(policy) if each.level == "error"] == []
    found = impact(policy, made.log(tmp_path / "audit", calls=200, **size))
    assert found.judged == 200
    assert not found.undecidable
    assert {change.kind for change in found.changes} <= {("allow", "escalate"), ("allow", "deny")}
