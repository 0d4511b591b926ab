"""A policy change reaches running gateways whole or not at all (I6, C031, C032, C033)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import Denied, Gateway, PolicyError, Principal, Released, ToolCall

CONTRACT = """tool: {tool}
description: Says what it was told. Use it in tests, and nowhere else.
risk: low
effect: none
parameters:
  type: object
  properties:
    text: {{type: string}}
  required: [text]
"""


def echo(text: str) -> str:
    return text


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    toolgate("init", str(folder))
    for file in (folder / "tools").iterdir():
        file.unlink()
    (folder / "tools" / "echo.yaml").write_text(CONTRACT.format(tool="echo"))
    grant(folder, "allow")
    return folder


def grant(folder: Path, effect: str) -> None:
    rows = f"p, user:ana, echo, see, {effect}\np, user:ana, echo, call, {effect}\n"
    (folder / "policy.csv").write_text(rows + "p, user:eve, echo, see, allow\np, user:max, echo, approve, allow\n")


def toolgate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gateway.cli", *words], capture_output=True, text=True, check=False)


@pytest.fixture
def gateway(policies: Path) -> Iterator[Gateway]:
    with Gateway.from_policies(policies, origin="one") as made:
        made.register(echo)
        yield made


def ask(gateway: Gateway) -> type:
    session = gateway.session(Principal("ana"), conversation="c")
    return type(session.judge_sync([ToolCall("1", "echo", '{"text":"x"}')])[0])


def until(true: Callable[[], bool]) -> None:
    """Poll for what another process or thread does; the test fails after 20 s."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_json_is_one_object_asks_nobody_and_applies_nothing_without_yes(policies: Path, gateway: Gateway) -> None:
    def asked(*more: str) -> tuple[int, dict[str, Any]]:
        done = toolgate("policy", "apply", "--policies", str(policies), "--json", *more)
        return done.returncode, json.loads(done.stdout)

    code, told = asked()
    assert (code, told["applied"], told["problems"], told["files"]["policy.csv"]) == (1, False, [], "added")
    assert not (policies / "policy.lock").exists()
    code, told = asked("--yes", "--by", "sam")
    assert (code, told["applied"], told["behind"]) == (0, True, [])
    assert [worker["origin"] for worker in told["following"]] == ["one"]
    assert asked()[0] == 0, "nothing has changed since"
    grant(policies, "deny")
    code, told = asked()
    assert (code, told["files"]) == (1, {"policy.csv": "changed"})
    assert {each["meaning"] for each in told["differences"]} == {"narrows"}
    (policies / "tools" / "echo.yaml").write_text(
        CONTRACT.format(tool="echo").replace("effect: none", "effect: external")
    )
    code, told = asked("--yes")
    assert (code, told["applied"]) == (1, False)
    assert "echo is risky" in told["problems"][0]


def apply(policies: Path) -> subprocess.CompletedProcess[str]:
    return toolgate("policy", "apply", "--yes", "--by", "sec", "--policies", str(policies))


def test_a_running_gateway_follows_what_was_applied(gateway: Gateway, policies: Path) -> None:
    assert ask(gateway) is Released
    grant(policies, "deny")
    assert ask(gateway) is Released, "an edit that nobody applied counts for nothing"
    done = apply(policies)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 gateway(s) follow" in done.stdout
    assert ask(gateway) is Denied


def test_apply_says_what_the_change_means_before_it_is_made(gateway: Gateway, policies: Path) -> None:
    (policies / "settings.yaml").write_text("loop: {repeats: 7}\n")
    assert apply(policies).returncode == 0
    grant(policies, "deny")
    shown = toolgate("policy", "apply", "--policies", str(policies))  # nobody says yes
    assert shown.returncode == 1
    assert "nothing was applied; --yes applies" in shown.stdout
    assert "narrows  ana: echo: may no longer call it" in shown.stdout.replace("ana echo", "ana: echo")
    assert ask(gateway) is Released
    copy = policies.parent / ".toolgate/state/applied/policy.csv"
    copy.write_text("p, user:eve, echo, call, allow\n")
    changed = apply(policies)
    assert changed.returncode == 0
    assert "eve" not in changed.stdout, "a copy that somebody changed says nothing"
    assert ask(gateway) is Denied


def test_c031_half_saved_files_keep_the_last_good_set(gateway: Gateway, policies: Path) -> None:
    before = gateway.policy_digest
    (policies / "policy.csv").write_text("p, user:ana, echo, s")
    done = apply(policies)
    assert done.returncode == 2
    assert "policy.csv:1" in done.stderr
    assert gateway.reload() is False
    assert gateway.policy_digest == before
    assert ask(gateway) is Released


def test_c032_an_empty_policy_is_not_applied(gateway: Gateway, policies: Path) -> None:
    (policies / "policy.csv").write_text("")
    assert apply(policies).returncode == 2
    assert ask(gateway) is Released


def test_what_does_not_match_the_lock_is_never_loaded(gateway: Gateway, policies: Path) -> None:
    grant(policies, "allow")
    (policies / "settings.yaml").write_text("loop: {repeats: 7}\n")
    assert apply(policies).returncode == 0
    (policies / "settings.yaml").write_text("loop: {repeats: 9}\n")
    with pytest.raises(PolicyError, match=r"settings\.yaml: it has changed since it was applied"):
        Gateway.from_policies(policies, origin="two")
    (policies / "tools" / "more.yaml").write_text(CONTRACT.format(tool="more"))
    with pytest.raises(PolicyError, match=r"tools/more\.yaml: it was never applied"):
        Gateway.from_policies(policies, origin="two")
    shown = toolgate("policy", "status", "--policies", str(policies)).stdout
    assert "the edits are not in force" in shown
    assert "one" in shown


def test_status_without_the_lock_or_the_folder_says_so(gateway: Gateway, policies: Path) -> None:
    assert apply(policies).returncode == 0
    (policies / "policy.lock").unlink()
    shown = toolgate("policy", "status", "--policies", str(policies)).stdout
    assert f"{gateway.policy_digest} is in force, and {policies} has no lock" in shown
    mistyped = toolgate("policy", "status", "--policies", str(policies.with_name("polices")))
    assert (mistyped.returncode, mistyped.stdout) == (2, "")
    assert "there is no such folder" in mistyped.stderr


def test_a_worker_that_cannot_follow_refuses_every_call(gateway: Gateway, policies: Path) -> None:
    contract = CONTRACT.format(tool="echo").replace("text: {type: string}", "words: {type: string}")
    (policies / "tools" / "echo.yaml").write_text(contract.replace("[text]", "[words]"))
    done = apply(policies)
    assert done.returncode == 1
    assert "refuses calls" in done.stdout
    assert "disagree" in done.stdout
    session = gateway.session(Principal("ana"), conversation="c")
    (outcome,) = session.judge_sync([ToolCall("1", "echo", '{"text":"x"}')])
    assert isinstance(outcome, Denied)
    assert outcome.refusal.reason == "policy_stale"


def test_c033_a_right_that_was_taken_away_is_gone_when_a_parked_call_is_resumed(policies: Path) -> None:
    contract = CONTRACT.format(tool="echo") + "approval: {when: always, approvers: 1}\n"
    (policies / "tools" / "echo.yaml").write_text(contract)
    with Gateway.from_policies(policies, origin="one") as made:
        made.register(echo)
        session = made.session(Principal("ana"), conversation="c")
        (parked,) = session.judge_sync([ToolCall("1", "echo", '{"text":"x"}')])
        grant(policies, "deny")
        assert apply(policies).returncode == 0
        until(lambda: isinstance(session.resume_sync(parked.request_id), Denied))  # type: ignore[union-attr]
        outcome = session.resume_sync(parked.request_id)  # type: ignore[union-attr]
        assert isinstance(outcome, Denied)
        assert outcome.refusal.reason == "deny_rule"


def test_a_kill_switch_can_be_thrown_whatever_state_the_policy_is_in(gateway: Gateway, policies: Path) -> None:
    assert ask(gateway) is Released
    (policies / "policy.csv").write_text("half an edit")
    done = toolgate("kill", "on", "--by", "sec", "--why", "incident", "--policies", str(policies))
    assert done.returncode == 0, done.stderr
    assert ask(gateway) is Denied


def test_an_approver_can_be_enrolled_after_a_policy_was_applied(
    gateway: Gateway, policies: Path, tmp_path: Path
) -> None:
    (policies / "settings.yaml").write_text("loop: {repeats: 7}\n")
    assert apply(policies).returncode == 0
    done = toolgate("approvers", "add", "lea", "--key", str(tmp_path / "lea.key"), "--policies", str(policies))
    assert done.returncode == 0, done.stderr
    assert "toolgate policy apply" in done.stdout
    before = gateway.policy_digest
    assert apply(policies).returncode == 0
    assert gateway.policy_digest != before


def test_a_failing_table_or_an_error_of_the_linter_stops_it(gateway: Gateway, policies: Path) -> None:
    (policies / "tests").mkdir()
    case = "{name: x, principal: ana, call: {tool: echo, arguments: {text: x}}, expect: deny}"
    (policies / "tests" / "t.yaml").write_text(f"table: t\ncases: [{case}]\n")
    (policies / "settings.yaml").write_text("loop: {repeats: 7}\n")
    done = apply(policies)
    assert done.returncode == 1
    assert "tests/t.yaml:2: expected deny, got allow" in done.stdout
    (policies / "tests" / "t.yaml").write_text(f"table: t\ncases: [{case.replace('deny', 'allow')}]\n")
    contract = CONTRACT.format(tool="echo").replace("effect: none", "effect: external")
    (policies / "tools" / "echo.yaml").write_text(contract)
    done = apply(policies)
    assert done.returncode == 1
    assert "neither a rule nor an approval" in done.stdout
    assert ask(gateway) is Released
