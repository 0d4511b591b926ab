"""Decision tables: what a policy must decide, written down beside it and run like unit tests (`tests/*.yaml`).

A table is no part of the policy digest: it decides nothing. Coverage says how many cases each rule has decided and each
row of policy.csv has let through, and so which none has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, final

from pydantic import Field

from gateway.authorize.grants import Granted
from gateway.domain.errors import PolicyError, UsageError
from gateway.policy.budget_documents import BudgetName
from gateway.policy.casbin_files import POLICY
from gateway.policy.check import checked
from gateway.policy.custody import Custody
from gateway.policy.documents import Document, Slug, Text, ToolName
from gateway.policy.policy_set import PolicySet
from gateway.policy.yaml import YamlDocument, read_yaml
from gateway.policy_tools.dry import DryRun, Question, Verdict, facts_given

FOLDER = "tests"
_MAX_BYTES = 1 << 20


class Call(Document):
    """The call of a case. `text` instead of `arguments` gives the arguments as the model would write them."""

    tool: str = Field(min_length=1, max_length=128)
    arguments: dict[str, object] = Field(default_factory=dict)
    text: str | None = None


class Case(Document):
    """One row: who calls what, what the systems say, and what must come of it."""

    name: Text
    principal: Text
    on_behalf_of: Text | None = None
    call: Call
    facts: dict[Slug, object] = Field(default_factory=dict)
    left: dict[BudgetName, float] = Field(default_factory=dict, description="What each budget of the call has left.")
    fallback: bool = Field(default=False, description="The gateway calls it, in place of a tool that failed.")
    calls: int = Field(default=1, ge=1, description="Which call of its conversation it is.")
    now: Text | None = Field(default=None, description="When it is made, for rules that read `now`.")
    expect: Literal["allow", "deny", "escalate"]
    reason: Slug | None = Field(default=None, description="The reason code of a denial.")
    rule: Slug | None = Field(default=None, description="The rule that decides.")


class Table(Document):
    """`tests/*.yaml`."""

    table: Text
    tool: ToolName | None = Field(default=None, description="The tool it is about, for the reader.")
    cases: tuple[Case, ...] = Field(min_length=1)


@final
@dataclass(frozen=True, slots=True)
class Result:
    """One case and what came of it. `problem` is empty when it is as expected."""

    file: str
    line: int
    table: str
    case: Case
    verdict: Verdict | None
    problem: str


@final
@dataclass(frozen=True, slots=True)
class Report:
    """All cases, and how many of them each rule and each row of policy.csv decided or let through, by its place.

    A `see` or `call` row counts where it let a call past step 2, an `approve` row where a call of its tool waits for
    an approver, a deny row where it denied.
    """

    results: tuple[Result, ...]
    rules: Mapping[str, int]
    grants: Mapping[str, int]

    @property
    def unmet_rules(self) -> tuple[str, ...]:
        return tuple(name for name, count in self.rules.items() if not count)

    @property
    def unmet_grants(self) -> tuple[str, ...]:
        return tuple(name for name, count in self.grants.items() if not count)

    @property
    def coverage(self) -> float:
        """Per cent of rules and rows that some case met; 100 where there are none."""
        counts = [*self.rules.values(), *self.grants.values()]
        return 100.0 * sum(map(bool, counts)) / len(counts) if counts else 100.0

    @property
    def ok(self) -> bool:
        return not any(result.problem for result in self.results)


def read_tables(policies: Path) -> list[tuple[YamlDocument, Table]]:
    """Every table in `<policies>/tests`. Raises PolicyError."""
    folder = policies / FOLDER
    if not folder.is_dir():
        return []
    custody = Custody(policies)
    found = []
    for path in sorted(folder.glob("*.yaml")):
        name = f"{FOLDER}/{path.name}"
        document = read_yaml(custody.read(name, _MAX_BYTES)[0], file=name)
        found.append((document, checked(document, Table)))
    return found


def run_tables(policy: PolicySet, tables: list[tuple[YamlDocument, Table]]) -> Report:
    """Judge every case. Raises PolicyError only where the policy itself cannot be compiled."""
    results: list[Result] = []
    with DryRun(policy) as run:
        rules = {str(rule.source): 0 for compiled in run.contracts.values() for rule in compiled.rules}
        rows = {row.line: 0 for row in policy.access.grants}
        for document, table in tables:
            for at, case in enumerate(table.cases):
                line = document.place(("cases", at)).line
                try:
                    tool = run.governing(case.call.tool)
                    verdict = run.judge(_question(case, tool))
                except (PolicyError, UsageError) as error:
                    results.append(Result(document.file, line, table.table, case, None, str(error)))
                    continue
                for place in verdict.rules:
                    if str(place) in rules:
                        rules[str(place)] += 1
                for number in _rows_met(run, case, tool, verdict):
                    rows[number] += 1
                results.append(Result(document.file, line, table.table, case, verdict, _problem(case, verdict)))
    named = {
        f"{POLICY}:{row.line} ({row.subject} {row.action} {row.tool})": rows[row.line] for row in policy.access.grants
    }
    return Report(tuple(results), MappingProxyType(rules), MappingProxyType(named))


def _rows_met(run: DryRun, case: Case, tool: str, verdict: Verdict) -> set[int]:
    """The lines of policy.csv that this case went by."""
    met = {place.line for place in verdict.rules if place.file == POLICY}
    if verdict.grant is not None:
        met.add(verdict.grant.line)
        seen = run.grants.decide(case.principal, tool, "see")
        if not case.fallback and isinstance(seen, Granted):
            met.add(seen.row.line)
    if any(need.startswith("approval:") for need in verdict.needs):
        approving = (row for row in run.policy.access.grants if row.action == "approve" and row.allow)
        met |= {row.line for row in approving if row.tool == tool}
    return met


def _question(case: Case, tool: str) -> Question:
    arguments: Any = case.call.arguments if case.call.text is None else case.call.text
    return Question(
        case.principal,
        tool,
        arguments,
        case.on_behalf_of,
        facts=facts_given(case.facts),
        left=case.left,
        fallback=case.fallback,
        calls=case.calls,
        at=case.now,
    )


def _problem(case: Case, verdict: Verdict) -> str:
    return "; ".join(_differences(case, verdict))


def _differences(case: Case, verdict: Verdict) -> Iterator[str]:
    if verdict.decision != case.expect:
        said = f" ({verdict.reason}: {verdict.refusal.detail or verdict.refusal.message})" if verdict.refusal else ""
        yield f"expected {case.expect}, got {verdict.decision}{said}"
    if case.reason is not None and verdict.reason != case.reason:
        yield f"expected reason {case.reason}, got {verdict.reason or 'none'}"
    decided = [rule.id for rule in verdict.rules]
    if case.rule is not None and case.rule not in decided:
        yield f"expected rule {case.rule} to decide, got {', '.join(decided) or 'none'}"
