"""policy.csv: rows and roles that do nothing, tools nobody may use, calls that would wait for nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

from gateway.authorize.grants import Granted, Grants
from gateway.policy.casbin_files import AccessPolicy, GrantRow
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.lint.finding import Finding, in_contract, in_rows


@final
class Subjects:
    """Who holds what, worked out once."""

    def __init__(self, access: AccessPolicy) -> None:
        self.lines = access.policy_text.split("\n")
        self.rows: dict[str, list[GrantRow]] = {}
        for row in access.grants:
            self.rows.setdefault(row.subject, []).append(row)
        self._links: dict[str, list[str]] = {}
        for link in access.roles:
            self._links.setdefault(link.member, []).append(link.role)
        self._above: dict[str, frozenset[str]] = {}
        self.people = sorted({name for name in (*self._links, *self.rows) if name.startswith("user:")})
        self._holders: dict[str, list[str]] = {}
        for person in self.people:
            for role in self.above(person):
                self._holders.setdefault(role, []).append(person)
        self._said: dict[str, dict[tuple[str, str], tuple[GrantRow | None, GrantRow | None]]] = {}

    def above(self, subject: str) -> frozenset[str]:
        """The subject and every role it holds, through others too (at most ten deep, policy.casbin_files)."""
        if subject not in self._above:
            found = {subject}
            for role in self._links.get(subject, ()):
                found |= self.above(role)
            self._above[subject] = frozenset(found)
        return self._above[subject]

    def holders(self, subject: str) -> list[str]:
        """Everybody who holds it, or is it."""
        return self._holders.get(subject, [])

    def said_of(self, subject: str) -> Mapping[tuple[str, str], tuple[GrantRow | None, GrantRow | None]]:
        """By (tool, action): the first allow row and the first deny row that count for whoever holds `subject`."""
        if subject not in self._said:
            found: dict[tuple[str, str], tuple[GrantRow | None, GrantRow | None]] = {}
            for role in sorted(self.above(subject)):
                for row in self.rows.get(role, ()):
                    allow, deny = found.get((row.tool, row.action), (None, None))
                    if row.allow:
                        found[row.tool, row.action] = (min((allow or row, row), key=lambda one: one.line), deny)
                    else:
                        found[row.tool, row.action] = (allow, min((deny or row, row), key=lambda one: one.line))
            self._said[subject] = found
        return self._said[subject]

    def visible(self, subject: str) -> list[str]:
        """The tools in the list of somebody who holds `subject` and nothing else."""
        said = self.said_of(subject)
        return sorted(
            tool
            for (tool, action), (allow, deny) in said.items()
            if action == "see" and allow and not deny and _may(said.get((tool, "call")))
        )


def _may(rows: tuple[GrantRow | None, GrantRow | None] | None) -> bool:
    return rows is not None and rows[0] is not None and rows[1] is None


def rows(policy: PolicySet, subjects: Subjects) -> Iterator[Finding]:
    """Rows that cannot match, or whose answer another row always gives."""
    access = policy.access
    unheld = set()
    fallbacks = {each.contract.execution.fallback for each in policy.contracts.values()}
    seen_by_somebody = {row.tool for row in access.grants if row.allow and row.action == "see"}
    for row in access.grants:
        who, line = row.subject, row.line
        if who.startswith("role:") and not subjects.holders(who):
            if who not in unheld:
                unheld.add(who)
                mend = "give it to somebody (g), or remove it"
                yield in_rows(subjects.lines, row, "warning", "role-unheld", f"nobody holds {who}", mend, who)
            continue
        said = subjects.said_of(who)
        allow, deny = said[row.tool, row.action]
        if row.allow and deny is not None:
            what = f"{who} is allowed to {row.action} {row.tool}, and the deny row on line {deny.line} always wins"
            yield in_rows(
                subjects.lines, row, "warning", "row-shadowed", what, "remove this row or the deny row", row.tool
            )
        elif row.allow and allow is not None and allow.line != line and allow.subject != who:
            what = f"{who} may {row.action} {row.tool} by line {allow.line} ({allow.subject}) already"
            yield in_rows(subjects.lines, row, "warning", "row-redundant", what, "remove this row", row.tool)
        elif row.allow and row.action == "see" and not _may_somehow(row, subjects, "call"):
            what = f"nobody with {who} may call {row.tool}, so nobody is shown it"
            yield in_rows(subjects.lines, row, "warning", "row-idle", what, f"grant `{row.tool}, call` too", row.tool)
        elif row.allow and row.action == "call" and row.tool not in seen_by_somebody and row.tool not in fallbacks:
            what = f"nobody sees {row.tool} and no contract names it as its fallback, so nothing can call it"
            yield in_rows(subjects.lines, row, "warning", "row-idle", what, f"grant `{row.tool}, see` too", row.tool)


def _may_somehow(row: GrantRow, subjects: Subjects, action: str) -> bool:
    """Whether whoever holds the row's subject may do `action`, by any row that counts for somebody who holds it."""
    if _may(subjects.said_of(row.subject).get((row.tool, action))):
        return True
    key = (row.tool, action)
    return any(_may(subjects.said_of(name).get(key)) for name in subjects.holders(row.subject))


def roles(policy: PolicySet, subjects: Subjects, most_tools: int) -> Iterator[Finding]:
    """Roles that are granted nothing, and those that are shown too much to choose from."""
    access = policy.access
    told: set[str] = set()
    for link in access.roles:
        if link.role not in told and not any(subjects.rows.get(role) for role in subjects.above(link.role)):
            told.add(link.role)
            what = f"{link.role} is granted nothing"
            yield in_rows(
                subjects.lines, link, "warning", "role-empty", what, "grant it something, or remove it", link.role
            )
    long: set[str] = set()
    for who in [*sorted(subjects.rows), *subjects.people]:
        if who.startswith("user:") and who not in subjects.rows and len(subjects.above(who)) == 2:
            continue  # what one role is shown
        shown = subjects.visible(who)
        size = len(shown) + sum(policy.contracts[tool].contract.prepare is not None for tool in shown)
        if size <= most_tools or who in long:
            continue
        if who.startswith("user:") and subjects.above(who) & long:
            continue  # a role of theirs is named already
        long.add(who)
        row = min((row for name in subjects.above(who) for row in subjects.rows.get(name, ())), key=lambda r: r.line)
        what = f"{who} is shown {size} tools; models choose worse among more than {most_tools}"
        mend = "split the role, or open sessions with tags= or only="
        yield in_rows(subjects.lines, row, "warning", "list-long", what, mend, row.subject)


def tools(policy: PolicySet, subjects: Subjects, grants: Grants) -> Iterator[Finding]:
    """Contracts without a grant, and approvals that nobody could give."""
    used = {row.tool for row in policy.access.grants if row.allow}
    able = {
        row.tool
        for row in policy.access.grants
        if row.allow
        and row.action == "approve"
        and any(_may_approve(grants, who.removeprefix("user:"), row.tool) for who in subjects.holders(row.subject))
    }
    for tool, loaded in policy.contracts.items():
        if tool not in used:
            mend = "grant it in policy.csv, or remove the file"
            yield in_contract(loaded, "warning", "tool-ungranted", f"nobody may use {tool}", mend, "tool")
        clearance = loaded.contract.clearance
        asks = clearance.when == "always" or any(rule.otherwise == "escalate" for rule in loaded.contract.rules)
        if not asks or not clearance.approvers:
            continue
        people = [one.id for one in policy.approvers.approvers if _may_approve(grants, one.id, tool)]
        if tool not in able:
            what = f"calls of {tool} wait for {clearance.approvers} approver(s), and nobody may approve"
            yield in_contract(
                loaded, "error", "approval-impossible", what, f"grant somebody `{tool}, approve`", "approval"
            )
        elif len(people) < clearance.approvers:
            what = f"{tool} needs {clearance.approvers} approver(s), and {len(people)} with the right are enrolled"
            yield in_contract(loaded, "warning", "approvers-missing", what, "toolgate approvers add PERSON", "approval")


def _may_approve(grants: Grants, who: str, tool: str) -> bool:
    return isinstance(grants.decide(who, tool, "approve"), Granted)


def versions(policy: PolicySet, grants: Grants) -> Iterator[Finding]:
    """Whoever may call an older version and not the newer stays behind, or was forgotten."""
    for tool, loaded in policy.contracts.items():
        older = loaded.contract.replaces
        if older is None:
            continue
        able = [who for who in grants.principals() if isinstance(grants.decide(who, older, "call"), Granted)]
        left = sorted(who for who in able if not isinstance(grants.decide(who, tool, "call"), Granted))
        if left:
            more = f" and {len(left) - 1} more" if left[1:] else ""
            what = f"{left[0]}{more} may call {older} and not {tool}"
            yield in_contract(loaded, "warning", "version-ungranted", what, f"grant {tool} beside {older}", "replaces")
