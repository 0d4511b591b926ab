"""What a policy grants and nobody needed: `toolgate policy unused`, with the least-privilege policy as a patch.

That a log holds no use is no proof that none is meant: a yearly job and a rule that nobody has run into yet look the
same. So this proposes and changes nothing.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import final

from gateway.authorize.casbin_oracle import checked_grants
from gateway.domain.decision import Provenance
from gateway.policy.casbin_files import POLICY, GrantRow
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.recorded import RecordedCalls


@final
@dataclass(frozen=True, slots=True)
class Unused:
    """Rows of policy.csv that let nothing through, tools nobody called, rules (`file:line (id)`) that decided none.

    `unreadable` records may have been uses.
    """

    rows: tuple[GrantRow, ...]
    tools: tuple[str, ...]
    rules: tuple[str, ...]
    unreadable: int

    @property
    def grants(self) -> list[str]:
        return [f"{POLICY}:{row.line} {row.subject} {row.tool} {row.action}" for row in self.rows]


def unused(policy: PolicySet, calls: RecordedCalls) -> Unused:
    """What no recorded call used. A call that waits for a person, or waited, counts as a use."""
    called: set[tuple[str, str]] = set()
    decided: set[tuple[str, str]] = set()
    for call in calls:
        if call.decision != "deny":
            called.add((call.question.principal, call.question.tool))
        file, _, name = call.rule.partition(" (")
        decided.add((file.rpartition(":")[0], name.removesuffix(")")))
    grants = checked_grants(policy.access)
    used: set[tuple[str, str]] = set()
    for who, tool in called:
        used |= {(subject, tool) for subject in (f"user:{who}", *(f"role:{role}" for role in grants.roles_of(who)))}
    rows = tuple(
        row
        for row in policy.access.grants
        if row.allow and row.action != "approve" and (row.subject, row.tool) not in used
    )
    rules = tuple(
        str(Provenance(loaded.document.file, loaded.provenance("rules", number).line, rule.id))
        for loaded in policy.contracts.values()
        for number, rule in enumerate(loaded.contract.rules)
        if (loaded.document.file, rule.id) not in decided
    )
    tools = {tool for _, tool in called}
    uncalled = tuple(tool for tool in sorted(policy.contracts) if tool not in tools)
    return Unused(rows, uncalled, rules, calls.unreadable)


def patch(policy: PolicySet, found: Unused) -> str:
    """policy.csv without the rows nobody used, as a unified diff: `patch -p1 -d policies`. Empty if there are none.

    Rules stay: one that stopped nothing yet is a wall nobody has run into.
    """
    gone = {row.line for row in found.rows}
    before = policy.access.policy_text.splitlines(keepends=True)
    after = [line for number, line in enumerate(before, 1) if number not in gone]
    lines = difflib.unified_diff(before, after, f"a/{POLICY}", f"b/{POLICY}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
