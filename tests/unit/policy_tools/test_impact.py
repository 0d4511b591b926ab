"""A candidate policy against calls that really happened, from a real log."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import Gateway, Principal, SettingsError, ToolCall
from gateway.audit.errors import LogDamaged
from gateway.cli.app import app
from gateway.policy.loader import load
from gateway.policy_tools import impact as module
from gateway.policy_tools.explain import find
from gateway.policy_tools.impact import Impact, impact
from gateway.policy_tools.recorded import UNREADABLE, RecordedCalls
from gateway.policy_tools.unused import patch, unused

STARTER = Path(__file__).parents[3] / "gateway" / "starter_policies"


def get_order_status(order_id: str) -> dict[str, str]:
    return {"order_id": order_id, "state": "delivered"}


def initiate_refund(order_id: str, amount_cents: int, reason: str) -> dict[str, object]:
    return {"order_id": order_id, "amount_cents": amount_cents, "reason": reason}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "policies"))


@pytest.fixture
def audit(policies: Path, tmp_path: Path) -> Path:
    """What one afternoon left behind: look-ups, refunds small and large, a refusal, and a call of something unknown."""
    home = tmp_path / "home"
    with Gateway.from_policies(policies, home=home) as gateway:
        gateway.register(get_order_status)
        text = (policies / "tools/initiate_refund.yaml").read_text()
        assert "enum: [damaged, late, wrong_item]" in text
        gateway.register(initiate_refund)
        session = gateway.session(Principal("ana"), conversation="afternoon")

        def ask(number: int, name: str, arguments: str) -> None:
            session.judge_sync([ToolCall(f"call_{number}", name, arguments)])

        ask(1, "get_order_status", '{"order_id":"A-1001"}')
        ask(2, "get_order_status", '{"order_id":"A-1002"}')
        ask(3, "initiate_refund", '{"order_id":"A-1001","amount_cents":4000,"reason":"late"}')
        ask(4, "initiate_refund", '{"order_id":"A-1002","amount_cents":9000,"reason":"late"}')
        ask(5, "initiate_refund", '{"order_id":"A-1003","amount_cents":25000,"reason":"late"}')
        ask(6, "initiate_refund", '{"order_id":"A-1003","amount_cents":"all of it","reason":"late"}')
        ask(7, "drop_tables", "{}")
    return home / "audit"


@pytest.mark.parametrize(
    "command",
    [("impact", "{policies}"), ("unused", "--patch"), ("scaffold", "--from-log"), ("explain", f"req_{0:032}")],
)
@pytest.mark.parametrize("there", ["nothing", "no log"])
def test_where_no_log_is_nothing_is_said_of_calls(
    policies: Path, tmp_path: Path, command: tuple[str, ...], there: str
) -> None:
    """Else a mistyped folder would pass every candidate, and propose that each grant be removed."""
    log = tmp_path / "elsewhere"
    if there == "no log":
        (log / "audit" / "desk").mkdir(parents=True)
    words = [word.format(policies=policies) for word in command]
    to = ["--to", str(tmp_path / "proposed")] if "scaffold" in words else []
    done = CliRunner().invoke(app, ["policy", *words, *to, "--log", str(log), "-p", str(policies)])
    assert isinstance(done.exception, SettingsError)
    assert "there is no audit log in" in str(done.exception)
    assert done.output == ""


def of(policies: Path, audit: Path) -> Impact:
    return impact(load(policies), audit)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_same_policy_changes_nothing(policies: Path, audit: Path) -> None:
    found = of(policies, audit)
    assert found.changes == []
    assert found.judged == found.same == 6
    assert sum(found.undecidable.values()) == 1, "arguments that did not fit are not recorded"


@pytest.mark.parametrize("size", [0, 3000, 1 << 20])
def test_how_calls_are_batched_changes_nothing(
    policies: Path, audit: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    edit(policies / "tools/initiate_refund.yaml", "<= 10000", "<= 5000")
    whole = of(policies, audit)
    monkeypatch.setattr(module, "_MOST_BYTES", size)
    assert of(policies, audit) == whole
    assert whole.judged == 6
    assert len(whole.changes) == 1


def test_a_tighter_rule_names_the_calls_it_would_have_stopped(policies: Path, audit: Path) -> None:
    edit(policies / "tools/initiate_refund.yaml", "<= 10000", "<= 5000")
    found = of(policies, audit)
    assert [(c.kind, c.call.question.arguments) for c in found.changes] == [
        (("allow", "escalate"), {"order_id": "A-1002", "amount_cents": 9000, "reason": "late"})
    ]
    assert "large_refund" in found.changes[0].rule


def test_a_looser_rule_comes_first(policies: Path, audit: Path) -> None:
    edit(policies / "tools/initiate_refund.yaml", "args.amount_cents <= 10000", "args.amount_cents > 5000")
    kinds = [change.kind for change in of(policies, audit).changes]
    assert kinds == [("escalate", "allow"), ("allow", "escalate")]


def test_what_was_forbidden_and_would_be_granted_is_never_guessed(policies: Path, audit: Path) -> None:
    text = (policies / "tools/get_order_status.yaml").read_text()
    (policies / "tools/drop_tables.yaml").write_text(text.replace("tool: get_order_status", "tool: drop_tables"))
    rows = "\np, role:support, drop_tables, see, allow\np, role:support, drop_tables, call, allow\n"
    (policies / "policy.csv").write_text((policies / "policy.csv").read_text() + rows)
    found = of(policies, audit)
    assert found.changes == []
    assert any("drop_tables is now granted to ana" in why for why in found.undecidable)


def test_a_fact_nobody_recorded_is_undecidable(policies: Path, audit: Path) -> None:
    fact = "facts: {order: {provider: order, args: [order_id]}}\nrules:\n"
    rule = "  - {id: real, require: facts.order.exists == true, tell_model: No.}\n"
    edit(policies / "tools/initiate_refund.yaml", "rules:\n", fact + rule)
    found = of(policies, audit)
    assert found.undecidable["the candidate asks for a fact that was not recorded"] == 3


def _without(record: dict[str, Any], name: str) -> None:
    del record[name]


SHAPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no call": lambda record: _without(record, "call"),
    "a call that is a text": lambda record: record.update(call="call_1"),
    "a call that is a list": lambda record: record.update(call=[1]),
    "a call without a principal": lambda record: _without(record["call"], "principal"),
    "a principal that is a number": lambda record: record["call"].update(principal=5),
    "arguments that are a list": lambda record: record.update(arguments=[1]),
    "an obligation that is a text": lambda record: record.update(obligations=["x"]),
}
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda line: line[: len(line) // 2],
    "cut before it says what it is": lambda line: line[:40],
    "zeros": lambda line: b"\0" * len(line),
    "not JSON": lambda line: line.replace(b'"call":{', b'"call":{,', 1),
}


def damage(audit: Path, kind: str) -> str:
    """Spoil the first intent. Its call's id."""
    (log,) = audit.rglob("*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if b'"kind":"call.intent"' in line)
    record = json.loads(lines[number])
    call_id = str(record["call"]["call_id"])
    if kind in SHAPES:
        SHAPES[kind](record)
        lines[number] = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    else:
        lines[number] = BYTES[kind](lines[number][:-1]) + b"\n"
    log.write_bytes(b"".join(lines))
    return call_id


@pytest.mark.parametrize("kind", [*SHAPES, *BYTES])
def test_a_record_that_cannot_be_read_is_counted_and_said(policies: Path, audit: Path, kind: str) -> None:
    """A damaged log must not look like one in which nothing changes."""
    damage(audit, kind)
    found = of(policies, audit)
    assert (found.judged, found.undecidable[UNREADABLE]) == (5, 1)
    assert unused(load(policies), RecordedCalls(audit)).unreadable == 1
    where = ["--log", str(audit), "-p", str(policies)]
    done = CliRunner().invoke(app, ["policy", "impact", str(policies), *where])
    assert "1  undecidable: its record cannot be read" in done.output, done
    for more in ([], ["--patch"], ["--json"]):
        done = CliRunner().invoke(app, ["policy", "unused", *where, *more])
        assert "1 record(s) cannot be read" in done.stderr, done
    assert json.loads(done.stdout)["unreadable"] == 1


@pytest.mark.parametrize("kind", ["a principal that is a number", "not JSON"])
def test_a_call_whose_record_cannot_be_read_is_not_called_absent(policies: Path, audit: Path, kind: str) -> None:
    with pytest.raises(LogDamaged, match="record"):
        find(audit, damage(audit, kind))


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("kept", ["", "# the end\n"])
def test_unused_rights_are_named(policies: Path, audit: Path, kept: str, end: str) -> None:
    rows = "p, role:support, spare, see, allow\np, role:support, spare, call, allow\n"
    text = (policies / "tools/get_order_status.yaml").read_text()
    (policies / "tools/spare.yaml").write_text(text.replace("tool: get_order_status", "tool: spare"))
    (policies / "policy.csv").write_text(((policies / "policy.csv").read_text() + rows + kept).removesuffix("\n") + end)
    policy = load(policies)
    found = unused(policy, RecordedCalls(audit))
    assert found.tools == ("spare",)
    assert all("spare" in grant for grant in found.grants)
    assert len(found.grants) == 2
    assert found.rules == ()
    less = patch(policy, found)
    assert [line for line in less.splitlines() if line.startswith("-p,")] == ["-" + row for row in rows.splitlines()]
    done = subprocess.run(
        ["patch", "-p1", "-d", str(policies)], input=less, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert unused(load(policies), RecordedCalls(audit)).rows == ()


def test_a_rule_nobody_ran_into_is_named_and_stays(policies: Path, audit: Path) -> None:
    edit(policies / "tools/initiate_refund.yaml", "id: large_refund", "id: very_large")
    policy = load(policies)
    found = unused(policy, RecordedCalls(audit))
    assert [rule.partition(" ")[2] for rule in found.rules] == ["(very_large)"]
    assert patch(policy, found) == ""
