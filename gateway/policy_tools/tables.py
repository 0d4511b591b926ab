"""Decision tables: what a policy must decide, written down beside it and run like unit tests (`tests/*.yaml`).

A table is no part of the policy digest: it decides nothing. Coverage says which rules have decided no case, and which
grants have let none through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field

from gateway.domain.decision import Provenance
from gateway.domain.errors import PolicyError, UsageError
from gateway.policy.budget_documents import BudgetName
from gateway.policy.casbin_files import POLICY
from gateway.policy.check import checked
from gateway.policy.custody import Custody
from gateway.policy.documents import Document, Slug, Text, ToolName
from gateway.policy.policy_set import PolicySet
from gateway.policy.yaml import YamlDocument, read_yaml
from gateway.policy_tools.dry import DryRun, Question, Verdict

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
    """All cases, and the rules and grants (as `file:line (name)`) that stay untested."""

    results: tuple[Result, ...]
    rules: int
    grants: int
    unmet_rules: tuple[str, ...]
    unmet_grants: tuple[str, ...]

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
    met: set[str] = set()
    with DryRun(policy) as run:
        for document, table in tables:
            for at, case in enumerate(table.cases):
                line = document.place(("cases", at)).line
                try:
                    verdict = run.judge(_question(case))
                except (PolicyError, UsageError) as error:
                    results.append(Result(document.file, line, table.table, case, None, str(error)))
                    continue
                if verdict.grant is not None:
                    met.add(str(verdict.grant))
                met |= {str(rule) for rule in verdict.rules}
                results.append(Result(document.file, line, table.table, case, verdict, _problem(case, verdict)))
        rules = [str(rule.source) for compiled in run.contracts.values() for rule in compiled.rules]
    rows = [row for row in policy.access.grants if row.action == "call"]
    grants = [str(Provenance(POLICY, row.line, row.subject)) for row in rows]
    return Report(
        tuple(results),
        len(rules),
        len(grants),
        tuple(rule for rule in rules if rule not in met),
        tuple(grant for grant in grants if grant not in met),
    )


def _question(case: Case) -> Question:
    arguments: Any = case.call.arguments if case.call.text is None else case.call.text
    return Question(
        case.principal,
        case.call.tool,
        arguments,
        case.on_behalf_of,
        facts=dict(case.facts),
        left=case.left,
        fallback=case.fallback,
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
