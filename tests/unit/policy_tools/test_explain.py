"""What became of a recorded call, under which policy, and the nearest change: true, tried, and never the model's."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import Gateway, Principal, ToolCall
from gateway.cli.app import app
from gateway.policy.loader import load
from gateway.policy_tools.dry import DryRun, Question
from gateway.policy_tools.nearest import nearest
from gateway.policy_tools.tables import read_tables
from gateway.shapes.answers import content

SHIPPED = Path(__file__).parents[3] / "policies"
ORDER = {"exists": True, "customer_id": "cust-1001", "refundable_cents": 12000}
REFUND = {"order_id": "A-1001", "amount_cents": 4000, "reason": "late"}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "policies"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def changes(asked: Question, policies: Path = SHIPPED) -> tuple[str, ...]:
    with DryRun(load(policies, locked=False)) as run:
        return nearest(run, asked, run.judge(asked))


def refund(principal: str = "ana", order: dict[str, object] | None = None, **arguments: Any) -> Question:
    facts = {"order": ORDER | (order or {})}
    return Question(principal, "initiate_refund", REFUND | arguments, "cust-1001", facts=facts)


def test_what_is_allowed_needs_no_change() -> None:
    assert changes(refund()) == ()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (refund(amount_cents=20000), "with amount_cents 10000 the answer is allow"),
        (
            refund(amount_cents=20000, order={"refundable_cents": 15000}),
            "with amount_cents 15000 the answer is escalate",
        ),
        (refund(amount_cents=12000, order={"refundable_cents": 15000}), "lea or max approves it"),
        (refund(order={"customer_id": "cust-1002"}), "tools/initiate_refund.yaml:20 (own_order) requires facts.order"),
        (refund(amount_cents=0), "or the schema takes more: tools/initiate_refund.yaml:10"),
        (refund("lea"), "or give lea role:support, which may (policy.csv:16): `g, user:lea, role:support`"),
        (
            refund("lea"),
            "add `p, role:lead, initiate_refund, call, allow` and `p, role:lead, initiate_refund, see, allow`",
        ),
        (refund("eve"), "add `p, user:eve, initiate_refund, call, allow`"),
        (Question("ana", "initiate_refunds", {}), "Did you mean 'initiate_refund'?"),
        (Question("ana", "read_report", {"path": "../x"}), "or the guard takes more: tools/read_report.yaml:16"),
        (Question("ana", "get_order_status", {"order_id": "A-1001"}), "give the facts it asks for (--facts): order"),
        (
            Question("ana", "get_weather_backup", {"city": "Oslo"}),
            "add `p, role:support, get_weather_backup, see, allow`",
        ),
    ],
)
def test_the_nearest_change_is_named(asked: Question, said: str) -> None:
    if said.startswith("with amount_cents 10000"):
        asked = refund(amount_cents=20000, order={"refundable_cents": 30000})
    assert any(said in each for each in changes(asked)), changes(asked)


def test_a_deny_row_is_named_with_its_line(policies: Path) -> None:
    (policies / "policy.csv").write_text(
        (policies / "policy.csv").read_text() + "p, user:ana, get_weather, call, deny\n"
    )
    line = len((policies / "policy.csv").read_text().splitlines())
    found = changes(Question("ana", "get_weather", {"city": "Oslo"}), policies)
    assert found[0] == f"remove the deny row policy.csv:{line} (user:ana); allow rows count then"


def test_a_proposed_value_was_tried(policies: Path) -> None:
    """A value that meets this rule and not the next is not proposed as the way to be allowed."""
    edit(policies / "tools/initiate_refund.yaml", "minimum: 1,", "minimum: 11000,")
    assert not any("the answer is allow" in each for each in changes(refund(amount_cents=20000), policies))


def test_i7_nothing_of_an_explanation_is_in_what_the_model_reads() -> None:
    """For every case of the tables: no line, file, rule id, role, or proposal stands in the model's own words."""
    seen = 0
    with DryRun(load(SHIPPED)) as run:
        for _, table in read_tables(SHIPPED):
            for case in table.cases:
                arguments: Any = case.call.arguments if case.call.text is None else case.call.text
                asked = Question(
                    case.principal, case.call.tool, arguments, case.on_behalf_of, facts=dict(case.facts),
                    fallback=case.fallback,
                )  # fmt: skip
                verdict = run.judge(asked)
                if verdict.refusal is None:
                    continue
                seen += 1
                told = f"{verdict.refusal.message} {verdict.refusal.suggestion}"
                assert not re.search(r"policy\.csv|\.yaml|role:|facts\.|\bp, |own_order|within_rest", told), told
                for change in nearest(run, asked, verdict):
                    assert change not in told
    assert seen > 5


@pytest.fixture
def log(policies: Path, tmp_path: Path) -> dict[str, str]:
    """Three calls through a real gateway: what the model read by provider id. The log lies in tmp_path/home."""
    read: dict[str, str] = {}
    with Gateway.from_policies(policies, home=tmp_path / "home", roots={"reports": tmp_path}) as gateway:
        gateway.register_fact("order", lambda _, order_id: ORDER)
        gateway.register(lambda customer_id, reason, pin: "closed", name="close_account")
        gateway.register(lambda order_id, amount_cents, reason: "paid", name="initiate_refund")
        session = gateway.session(Principal("ana"), on_behalf_of=Principal("cust-1001"), conversation="afternoon")
        for number, cents in (("paid", 4000), ("asked", 12000), ("refused", 20000)):
            (outcome,) = session.judge_sync(
                [ToolCall(number, "initiate_refund", json.dumps(REFUND | {"amount_cents": cents}))]
            )
            read[number] = content(outcome)
        session.judge_sync([ToolCall("forbidden", "export_customers", '{"format": "csv"}')])
        session.judge_sync(
            [ToolCall("closing", "close_account", '{"customer_id": "cust-1001", "reason": "x", "pin": "1234"}')]
        )
    return read


def call_id(home: Path, provider_id: str) -> str:
    for path in home.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            call = json.loads(line).get("call") or {}
            if call.get("provider_call_id") == provider_id:
                return str(call["call_id"])
    raise AssertionError(provider_id)


def told(policies: Path, home: Path, named: str, *more: str) -> str:
    done = CliRunner().invoke(app, ["policy", "explain", named, "-p", str(policies), "--home", str(home), *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_recorded_denial_is_explained_with_its_lines(policies: Path, log: dict[str, str], tmp_path: Path) -> None:
    text = told(policies, tmp_path / "home", call_id(tmp_path / "home", "refused"))
    assert "ana called initiate_refund for cust-1001" in text
    assert "recorded: DENY rule" in text
    assert "decided by tools/initiate_refund.yaml:25 (within_rest)" in text
    assert "the policy has not changed since" in text
    assert "with amount_cents 12000 the answer is escalate" in text
    assert "with amount_cents" not in log["refused"]
    assert "within_rest" not in log["refused"]


def test_a_recorded_call_that_ran_names_its_grant(policies: Path, log: dict[str, str], tmp_path: Path) -> None:
    text = told(policies, tmp_path / "home", call_id(tmp_path / "home", "paid"))
    assert "recorded: ALLOW" in text
    assert "granted by policy.csv:17 (role:support)" in text
    assert "it would be allowed if" not in text


def test_a_parked_call_is_found_by_its_request_too(policies: Path, log: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    by_call = json.loads(told(policies, home, call_id(home, "asked"), "--json"))
    text = "".join(path.read_text() for path in home.rglob("*.jsonl"))
    (request, *_) = re.findall(r'"request_id":"(req_[0-9a-f]{32})"', text)
    assert json.loads(told(policies, home, request, "--json")) == by_call
    assert by_call["recorded"]["rule"] == "tools/initiate_refund.yaml:30 (large_refund)"


def test_a_rule_that_asks_for_a_person_is_not_said_to_be_passed() -> None:
    with DryRun(load(SHIPPED)) as run:
        verdict = run.judge(refund(amount_cents=12000))
    assert verdict.decision == "escalate"
    assert verdict.rules
    assert not {str(rule) for rule in verdict.rules} & {each.why for each in verdict.passed}
    assert "tools/initiate_refund.yaml:25 (within_rest)" in {each.why for each in verdict.passed}


def test_a_policy_that_has_changed_since_is_said_by_digest(policies: Path, log: dict[str, str], tmp_path: Path) -> None:
    then = load(policies).digest
    edit(
        policies / "tools/initiate_refund.yaml",
        "args.amount_cents <= facts.order.refundable_cents",
        "args.amount_cents > 0",
    )
    edit(policies / "tools/initiate_refund.yaml", "args.amount_cents <= 10000", "args.amount_cents > 0")
    text = told(policies, tmp_path / "home", call_id(tmp_path / "home", "refused"))
    assert f"the policy has changed since: {then[:19]} then" in text
    assert f"judged again under today's policy, which is another ({load(policies).digest[:19]})" in text
    assert "\nALLOW\n" in text


def test_what_was_applied_then_judges_what_was_recorded_then(
    policies: Path, log: dict[str, str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    where = ["-p", str(policies), "--home", str(home)]
    applied = CliRunner().invoke(app, ["policy", "apply", "--yes", "--by", "sam", *where])
    assert applied.exit_code == 0, applied.output
    edit(
        policies / "tools/initiate_refund.yaml",
        "args.amount_cents <= facts.order.refundable_cents",
        "args.amount_cents > 0",
    )
    text = told(policies, home, call_id(home, "refused"))
    assert "judged again under the policy that was applied then" in text
    assert "DENY rule" in text.split("judged again")[1]


def test_masked_arguments_are_never_guessed(policies: Path, log: dict[str, str], tmp_path: Path) -> None:
    text = told(policies, tmp_path / "home", call_id(tmp_path / "home", "closing"))
    assert "cannot be judged again: some of its arguments are" in text


def test_a_forbidden_tool_is_explained_without_arguments(policies: Path, log: dict[str, str], tmp_path: Path) -> None:
    text = told(policies, tmp_path / "home", call_id(tmp_path / "home", "forbidden"))
    assert "recorded: DENY not_granted" in text
    assert "`g, user:ana, role:admin`" in text


def test_an_id_no_log_has_is_no_answer(policies: Path, log: dict[str, str], tmp_path: Path) -> None:
    named = "call_" + "0" * 32
    done = CliRunner().invoke(app, ["policy", "explain", named, "-p", str(policies), "--home", str(tmp_path / "home")])
    assert done.exit_code == 1


@pytest.mark.parametrize("named", ["initiate_refund", "call_1"])
def test_an_imagined_call_needs_somebody_who_makes_it(policies: Path, named: str) -> None:
    done = CliRunner().invoke(app, ["policy", "explain", named, "-p", str(policies)])
    assert done.exit_code == 2
    assert "--as" in done.output
    assert "whole id" in done.output.replace("\n", " ")
