"""Decision tables: what they accept, what they find out, and what they say was never tested."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import PolicyError
from gateway.cli.app import app
from gateway.policy.loader import load
from gateway.policy_tools.dry import DryRun, Question
from gateway.policy_tools.present import junit_xml, report_as_json, verdict_as_json
from gateway.policy_tools.tables import Report, read_tables, run_tables
from tests.support import tool, write_policies

SHIPPED = Path(__file__).parents[3] / "policies"
REFUND = {"order_id": "A-1001", "amount_cents": 4000, "reason": "damaged"}
ORDER = {"order": {"exists": True, "customer_id": "cust-1001", "refundable_cents": 12000}}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "policies"))


def run(policies: Path) -> Report:
    return run_tables(load(policies), read_tables(policies))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_shipped_policy_is_covered_whole() -> None:
    report = run(SHIPPED)
    assert [result.problem for result in report.results if result.problem] == []
    assert report.unmet_rules == ()
    assert report.unmet_grants == ()


def test_a_case_says_when_and_after_how_many_calls(tmp_path: Path) -> None:
    open_ = 'now.getHours("UTC") < 17'
    rules = [{"id": "open", "require": open_, "tell_model": "Closed."}]
    rules += [{"id": "few", "require": "session.calls <= 2", "tell_model": "Enough."}]
    write_policies(tmp_path, [tool(name="ring", rules=rules)])
    by_day = {"principal": "ana", "call": {"tool": "ring"}, "now": "2026-01-31T09:30:00+01:00"}
    cases = [
        {"name": "by day", **by_day, "expect": "allow"},
        {"name": "at night", **by_day, "now": "2026-01-31T23:30:00Z", "expect": "deny", "rule": "open"},
        {"name": "the third", **by_day, "calls": 3, "expect": "deny", "rule": "few"},
        {"name": "some time", **by_day, "now": "at noon", "expect": "allow"},
    ]
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "ring.yaml").write_text(json.dumps({"table": "ring", "cases": cases}))
    problems = [result.problem for result in run(tmp_path).results]
    assert problems == ["", "", "", "'at noon' is no time; write it like 2026-01-31T09:30:00Z"]


def test_a_fact_that_no_provider_could_give_is_a_problem(tmp_path: Path) -> None:
    write_policies(tmp_path, [tool(name="ring", facts={"seen": {"provider": "seen", "args": []}})])
    case = {
        "name": "far",
        "principal": "ana",
        "call": {"tool": "ring"},
        "facts": {"seen": "x" * 70000},
        "expect": "allow",
    }
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "ring.yaml").write_text(json.dumps({"table": "ring", "cases": [case]}))
    (result,) = run(tmp_path).results
    assert result.problem == "fact `seen`: 70002 bytes, at most 65536 are accepted"


def asked(policies: Path, *more: str) -> Any:
    return CliRunner().invoke(app, ["policy", "test", "-p", str(policies), *more])


def test_the_command_holds_the_shipped_policy_to_every_rule_and_grant(policies: Path) -> None:
    assert asked(SHIPPED, "--least", "100").exit_code == 0
    (policies / "tests/refunds.yaml").unlink()
    assert asked(policies).exit_code == 0
    done = asked(policies, "--least", "100")
    assert done.exit_code == 1
    assert "100% are asked for" in done.output
    assert "untested: tools/initiate_refund.yaml" in done.output
    assert "untested: policy.csv:31 (role:lead approve initiate_refund)" in done.output
    found = json.loads(asked(policies, "--json").output)
    assert found["coverage"] < 100
    assert found["grants"]["policy.csv:14 (role:support see get_weather)"] == 1
    assert asked(policies, "--least", str(int(found["coverage"]))).exit_code == 0


def test_each_kind_of_row_is_met_in_its_own_way(policies: Path) -> None:
    (policies / "policy.csv").write_text(
        (policies / "policy.csv").read_text()
        + "p, user:lea, run_python, call, deny\np, role:lead, run_python, see, allow\n"
    )
    report = run(policies)
    assert len(report.unmet_grants) == 2, report.unmet_grants
    case = """table: deny
cases:
  - {name: never lea, principal: lea, call: {tool: run_python, arguments: {code: "1"}}, expect: deny, reason: deny_rule}
"""
    (policies / "tests/deny.yaml").write_text(case)
    (left,) = run(policies).unmet_grants
    assert "role:lead see run_python" in left, "a case that is denied meets no allow row"


def test_a_rule_that_was_loosened_is_found_out(policies: Path) -> None:
    edit(policies / "tools/initiate_refund.yaml", "<= 10000", "<= 90000")
    report = run(policies)
    (failed,) = [result for result in report.results if result.problem]
    assert failed.case.name == "more than 100 USD needs a second person"
    assert "expected escalate, got allow" in failed.problem
    assert any("large_refund" in rule for rule in report.unmet_rules)


def test_a_right_too_many_is_found_out(policies: Path) -> None:
    grant = "\np, role:support, export_customers, see, allow\np, role:support, export_customers, call, allow\n"
    (policies / "policy.csv").write_text((policies / "policy.csv").read_text() + grant)
    failed = [result.case.name for result in run(policies).results if result.problem]
    assert failed == ["nobody in support exports customers"]


def test_a_missing_fact_is_a_problem_of_the_case(policies: Path) -> None:
    edit(
        policies / "tests/refunds.yaml",
        "    facts: {order: {exists: true, customer_id: cust-1001, refundable_cents: 12000}}\n",
        "",
    )
    problems = [result.problem for result in run(policies).results if result.problem]
    assert len(problems) == 1
    assert "fact_unavailable" in problems[0]


def test_a_fact_nobody_asks_for_is_a_problem_of_the_case(policies: Path) -> None:
    edit(
        policies / "tests/access.yaml", "call: {tool: run_python,", "facts: {moon: full}\n    call: {tool: run_python,"
    )
    assert [r.problem for r in run(policies).results if r.problem] == ["run_python asks for no fact 'moon'"]


def test_a_table_with_an_unknown_key_names_its_line(policies: Path) -> None:
    edit(policies / "tests/refunds.yaml", "    expect: allow", "    expects: allow")
    with pytest.raises(PolicyError, match=r"tests/refunds\.yaml:\d+"):
        read_tables(policies)


def test_tables_are_no_part_of_the_policy_digest(policies: Path) -> None:
    before = load(policies).digest
    shutil.rmtree(policies / "tests")
    assert load(policies).digest == before
    assert run(policies).results == ()


def test_reports_for_programs(policies: Path) -> None:
    edit(policies / "tools/initiate_refund.yaml", "<= 10000", "<= 90000")
    report = run(policies)
    suite = ET.fromstring(junit_xml(report))
    assert suite.get("failures") == "1"
    assert len(suite) == len(report.results)
    assert report_as_json(report)["ok"] is False


def test_a_dry_run_says_every_step_and_executes_nothing() -> None:
    with DryRun(load(SHIPPED)) as dry:
        verdict = dry.judge(Question("ana", "initiate_refund", REFUND, "cust-1001", facts=ORDER))
        shown = verdict_as_json(verdict)
        assert shown["decision"] == "allow"
        assert [each["step"] for each in shown["passed"]][:2] == ["1 parse", "2 authorize"]
        refused = dry.judge(Question("ana", "initiate_refund", '{"a": NaN}', "cust-1001", facts=ORDER))
        assert refused.reason == "bad_json"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\0b", "./x"])
def test_c050_a_dry_run_makes_no_file_outside_its_own_folder(path: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with DryRun(load(SHIPPED)) as dry:
        assert dry.judge(Question("ana", "read_report", {"path": path})).decision == "deny"
    assert sorted(tmp_path.rglob("*")) == before


def test_paths_of_one_call_do_not_stand_in_the_way_of_another(policies: Path) -> None:
    with DryRun(load(policies)) as dry:
        said = [
            dry.judge(Question("ana", "read_report", {"path": path})) for path in ("a", "a/b", "a", "x" * 190 + "/y")
        ]
        assert [verdict.decision for verdict in said] == ["allow"] * 4
        assert dry.judge(Question("ana", "read_report", {"path": "\u00e4" * 200})).decision == "deny"
