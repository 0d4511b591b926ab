"""Reports in other people's formats: JSON for programs, JUnit XML for continuous integration."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

from gateway.policy_tools.dry import Verdict
from gateway.policy_tools.tables import Report


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    refusal = verdict.refusal
    return {
        "decision": verdict.decision,
        "reason": verdict.reason or None,
        "step": None if refusal is None else int(refusal.step),
        "message": None if refusal is None else refusal.message,
        "detail": None if refusal is None else refusal.detail,
        "needs": list(verdict.needs),
        "rules": [str(rule) for rule in verdict.rules],
        "passed": [{"step": passed.step, "why": passed.why} for passed in verdict.passed],
    }


def report_as_json(report: Report) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "cases": [
            {
                "file": result.file,
                "line": result.line,
                "table": result.table,
                "name": result.case.name,
                "expected": result.case.expect,
                "decision": None if result.verdict is None else result.verdict.decision,
                "reason": None if result.verdict is None else result.verdict.reason or None,
                "problem": result.problem or None,
            }
            for result in report.results
        ],
        "coverage": report.coverage,
        "rules": dict(report.rules),
        "grants": dict(report.grants),
        "untested_rules": list(report.unmet_rules),
        "untested_grants": list(report.unmet_grants),
    }


def junit_xml(report: Report) -> str:
    """One test suite, one test case a row, as Jenkins and its like read it."""
    failed = sum(1 for result in report.results if result.problem)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append(f'<testsuite name="toolgate policy test" tests="{len(report.results)}" failures="{failed}">')
    for result in report.results:
        place = f"classname={quoteattr(result.table)} name={quoteattr(result.case.name)}"
        if result.problem:
            lines.append(f'  <testcase {place} file={quoteattr(result.file)} line="{result.line}">')
            lines.append(f"    <failure message={quoteattr(result.problem)}>{escape(result.problem)}</failure>")
            lines.append("  </testcase>")
        else:
            lines.append(f'  <testcase {place} file={quoteattr(result.file)} line="{result.line}"/>')
    return "\n".join((*lines, "</testsuite>", ""))
