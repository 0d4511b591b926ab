"""Budgets over values, against a model that splits, races and repeats, and tools that fail in every way (C048)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway import Denied, Parked, Principal
from gateway.domain.decision import ReasonCode
from gateway.domain.errors import PolicyError
from gateway.keys import Keys
from gateway.office import Office, calls_in
from gateway.settings import locate
from tests.support import (
    ANA,
    ask,
    gateway_with,
    one,
    open_gateway,
    policies_for,
    reason,
    records,
    result,
    tool,
    vote,
)

DAY = {"max": 100, "window_s": 86_400}
PER_CUSTOMER = {**DAY, "per": ["args.customer"]}


def refund(customer: str, amount: int) -> int:
    return amount


def charged(fn: Any = refund, /, **fields: Any) -> Any:
    return tool(fn, effect="external", charges={"refunds": "args.amount"}, **fields)


def settings(**budget: Any) -> dict[str, Any]:
    return {"budgets": {"refunds": {**PER_CUSTOMER, **budget}}, "loop": {"consecutive_denials": 100, "repeats": 100}}


def test_a_total_is_kept_for_each_account(tmp_path: Path) -> None:
    with gateway_with(tmp_path, charged(), settings=settings()) as gateway:
        session = gateway.session(ANA)
        assert result(one(session, "refund", customer="k1", amount=60)) == 60
        assert reason(one(session, "refund", customer="k1", amount=60)) is ReasonCode.VALUE_BUDGET
        assert result(one(session, "refund", customer="k2", amount=60)) == 60
        assert result(one(session, "refund", customer="k1", amount=40)) == 40
        assert reason(one(session, "refund", customer="k1", amount=1)) is ReasonCode.VALUE_BUDGET


def test_a_total_outlives_the_conversation_and_the_process(tmp_path: Path) -> None:
    with gateway_with(tmp_path, charged(), settings=settings()) as gateway:
        assert result(one(gateway.session(ANA), "refund", customer="k1", amount=100)) == 100
    with open_gateway(tmp_path, charged()) as gateway:
        assert reason(one(gateway.session(ANA), "refund", customer="k1", amount=1)) is ReasonCode.VALUE_BUDGET


def test_c048_tenths_add_up_exactly(tmp_path: Path) -> None:
    def pay(customer: str, amount: float) -> float:
        return amount

    with gateway_with(tmp_path, charged(pay), settings=settings(max="0.3")) as gateway:
        session = gateway.session(ANA)
        for _ in range(3):  # as floats, 0.1 + 0.1 + 0.1 is more than 0.3
            result(one(session, "pay", customer="k1", amount=0.1))
        assert reason(one(session, "pay", customer="k1", amount=0.000001)) is ReasonCode.VALUE_BUDGET


@pytest.mark.parametrize("amount", ["-5", "1e2", "5 EUR", " 5", "0x5", "NaN", "1.0000001", "", "٥", "9" * 40])
def test_c048_what_cannot_be_counted_is_not_spent(tmp_path: Path, amount: str) -> None:
    def pay(customer: str, amount: str) -> str:
        return amount

    with gateway_with(tmp_path, charged(pay), settings=settings()) as gateway:
        assert reason(one(gateway.session(ANA), "pay", customer="k1", amount=amount)) is ReasonCode.VALUE_BUDGET


def test_a_negative_value_gives_nothing_back(tmp_path: Path) -> None:
    with gateway_with(tmp_path, charged(), settings=settings()) as gateway:
        session = gateway.session(ANA)
        assert reason(one(session, "refund", customer="k1", amount=-1000)) is ReasonCode.VALUE_BUDGET
        assert reason(one(session, "refund", customer="k1", amount=101)) is ReasonCode.VALUE_BUDGET


def test_what_is_left_is_told_only_where_the_policy_says_so(tmp_path: Path) -> None:
    for told in (False, True):
        with gateway_with(tmp_path / str(told), charged(), settings=settings(tell_left=told)) as gateway:
            result(one(gateway.session(ANA), "refund", customer="k1", amount=63))
            outcome = one(gateway.session(ANA), "refund", customer="k1", amount=38)
            assert isinstance(outcome, Denied)
            assert ("37" in outcome.refusal.message + outcome.refusal.suggestion) is told
        assert "37 of 100 is left" in records(tmp_path / str(told), "call.denied")[-1]["detail"]


def test_two_tools_share_one_budget_unless_it_is_per_tool(tmp_path: Path) -> None:
    def credit(customer: str, amount: int) -> int:
        return amount

    for per, second in ((["args.customer"], True), (["args.customer", "tool"], False)):
        with gateway_with(tmp_path / str(second), charged(), charged(credit), settings=settings(per=per)) as gateway:
            session = gateway.session(ANA)
            result(one(session, "refund", customer="k1", amount=60))
            assert isinstance(one(session, "credit", customer="k1", amount=60), Denied) is second


def test_every_role_of_the_principal_pays(tmp_path: Path) -> None:
    rows = ["g, user:eve, role:night", "g, user:eve, role:support", "g, user:kim, role:support"]
    with gateway_with(tmp_path, charged(), settings=settings(per=["principal.roles"]), rows=rows) as gateway:
        result(one(gateway.session(Principal("eve")), "refund", customer="k1", amount=60))
        assert reason(one(gateway.session(ANA), "refund", customer="k2", amount=60)) is ReasonCode.VALUE_BUDGET
        result(one(gateway.session(ANA), "refund", customer="k2", amount=40))


def test_a_customer_comes_from_a_fact_not_from_the_model(tmp_path: Path) -> None:
    def pay_back(order: str, amount: int) -> int:
        return amount

    back = tool(
        pay_back,
        effect="external",
        charges={"refunds": "args.amount"},
        facts={"order": {"provider": "order", "args": ["order"]}},
    )
    with gateway_with(tmp_path, back, settings=settings(per=["facts.order.customer"])) as gateway:
        owners: dict[str, object] = {"A-1": "k1", "A-2": "k1", "A-3": None}
        gateway.register_fact("order", lambda _, order: {"customer": owners[order]})
        session = gateway.session(ANA)
        result(one(session, "pay_back", order="A-1", amount=60))
        assert reason(one(session, "pay_back", order="A-2", amount=60)) is ReasonCode.VALUE_BUDGET
        assert reason(one(session, "pay_back", order="A-3", amount=1)) is ReasonCode.FACT_UNAVAILABLE  # nobody's


def test_a_certain_failure_gives_back_and_a_late_one_does_not(tmp_path: Path) -> None:
    going = threading.Event()

    def fails(customer: str, amount: int) -> int:
        raise RuntimeError("the bank said no")

    def hangs(customer: str, amount: int) -> int:
        going.wait(30)
        return amount

    late = charged(hangs, idempotent=True, execution={"deadline_s": 0.05})
    with gateway_with(tmp_path, charged(), charged(fails), late, settings=settings()) as gateway:
        session = gateway.session(ANA)
        one(session, "fails", customer="k1", amount=100)
        result(one(session, "refund", customer="k1", amount=40))
        one(session, "hangs", customer="k1", amount=60)  # failed as `timeout`, and it may still take effect
        going.set()
        assert reason(one(session, "refund", customer="k1", amount=1)) is ReasonCode.VALUE_BUDGET
    assert [each["spent"] for each in records(tmp_path, "call.outcome")] == [False, True, True]


def test_a_result_that_may_not_leave_was_paid_all_the_same(tmp_path: Path) -> None:
    broken = charged(result={"schema": {"type": "string"}})
    with gateway_with(tmp_path, broken, settings=settings()) as gateway:
        session = gateway.session(ANA)
        one(session, "refund", customer="k1", amount=100)
        assert reason(one(session, "refund", customer="k1", amount=1)) is ReasonCode.VALUE_BUDGET


@pytest.mark.parametrize(("found", "left"), [("happened", False), ("did_not_happen", True), ("cannot_tell", False)])
def test_c130_an_unknown_goes_on_counting_until_a_person_has_found_out(tmp_path: Path, found: Any, left: bool) -> None:
    going = threading.Event()

    def hangs(customer: str, amount: int) -> int:
        going.wait(30)
        return amount

    tools = charged(), charged(hangs, execution={"deadline_s": 0.05})
    with gateway_with(tmp_path, *tools, settings=settings(window_s=1)) as gateway:
        one(gateway.session(ANA), "hangs", customer="k1", amount=100)
        going.set()
        assert reason(one(gateway.session(ANA), "refund", customer="k1", amount=1)) is ReasonCode.VALUE_BUDGET
    with Office.open(tmp_path / "policies", tmp_path / "home") as office:
        (call,) = calls_in(office.home).values()
        assert office.settle(call, found, by="lea", why="looked")
    policies_for(tmp_path, *tools, settings=settings())
    with open_gateway(tmp_path, *tools) as gateway:
        assert isinstance(one(gateway.session(ANA), "refund", customer="k1", amount=1), Denied) is not left


APPROVED = {"approval": {"when": "always", "approvers": 1}}


def test_a_resumed_call_is_charged_once_and_only_when_it_runs(tmp_path: Path) -> None:
    with gateway_with(tmp_path, charged(**APPROVED), settings=settings()) as gateway:
        session = gateway.session(ANA)
        waiting = [one(session, "refund", customer="k1", amount=amount) for amount in (60, 40, 50)]
        ids = [each.request_id for each in waiting if isinstance(each, Parked)]
        assert len(ids) == 3  # waiting for a person holds nothing
        vote(tmp_path, *ids)
        result(session.resume_sync(ids[0]))
        result(session.resume_sync(ids[0]))  # a spent id returns its verdict, and charges nothing
        result(session.resume_sync(ids[1]))
        assert reason(session.resume_sync(ids[2])) is ReasonCode.VALUE_BUDGET
        assert reason(one(session, "refund", customer="k1", amount=1)) is ReasonCode.VALUE_BUDGET  # nobody is asked


def test_an_approved_call_that_did_not_fit_may_run_once_there_is_enough(tmp_path: Path) -> None:
    with gateway_with(tmp_path, charged(**APPROVED), settings=settings()) as gateway:
        session = gateway.session(ANA)
        first, second = (one(session, "refund", customer="k1", amount=amount) for amount in (60, 50))
        assert isinstance(first, Parked)
        assert isinstance(second, Parked)
        vote(tmp_path, first.request_id, second.request_id)
        result(session.resume_sync(first.request_id))
        assert reason(session.resume_sync(second.request_id)) is ReasonCode.VALUE_BUDGET
        policies_for(tmp_path, charged(**APPROVED), settings=settings(max=110))
        assert gateway.reload()
        assert result(session.resume_sync(second.request_id)) == 50


def test_c127_a_restored_database_does_not_forget_what_was_spent(tmp_path: Path) -> None:
    where = locate(tmp_path / "policies", tmp_path / "home")
    with gateway_with(tmp_path, charged(), settings=settings()):
        pass
    backup = where.database.read_bytes()
    with open_gateway(tmp_path, charged()) as gateway:
        result(one(gateway.session(ANA), "refund", customer="k1", amount=80))
    for leftover in where.state.glob("state.db-*"):
        leftover.unlink()
    where.database.write_bytes(backup)
    with open_gateway(tmp_path, charged()) as gateway:
        assert reason(one(gateway.session(ANA), "refund", customer="k1", amount=30)) is ReasonCode.VALUE_BUDGET
        result(one(gateway.session(ANA), "refund", customer="k1", amount=20))


def test_rotating_the_digest_key_forgets_nothing(tmp_path: Path) -> None:
    with gateway_with(tmp_path, charged(), settings=settings()) as gateway:
        result(one(gateway.session(ANA), "refund", customer="k1", amount=80))
    Keys.open(tmp_path / "home" / "keys" / "deployment").rotate()
    with open_gateway(tmp_path, charged()) as gateway:
        assert reason(one(gateway.session(ANA), "refund", customer="k1", amount=30)) is ReasonCode.VALUE_BUDGET


def test_a_rule_reads_what_is_left(tmp_path: Path) -> None:
    rule = {
        "id": "leaves_half",
        "require": "args.amount <= left.refunds / 2.0",
        "otherwise": "escalate",
        "tell_model": "A person looks at it.",
    }
    with gateway_with(tmp_path, charged(rules=[rule]), settings=settings()) as gateway:
        session = gateway.session(ANA)
        result(one(session, "refund", customer="k1", amount=50))
        assert isinstance(one(session, "refund", customer="k1", amount=26), Parked)
        result(one(session, "refund", customer="k1", amount=25))


def test_the_account_of_a_customer_is_in_no_store_in_the_clear(tmp_path: Path) -> None:
    with gateway_with(tmp_path, charged(secrets=["customer"]), settings=settings()) as gateway:
        result(one(gateway.session(ANA), "refund", customer="kunde-4711", amount=80))
    kept = [each.read_bytes() for each in (tmp_path / "home").rglob("*") if each.is_file()]
    assert not [each for each in kept if b"kunde-4711" in each]


@pytest.mark.parametrize(
    ("fields", "budget", "said"),
    [
        ({"charges": {"refund": "args.amount"}}, {}, "Did you mean 'refunds'?"),
        ({"charges": {"refunds": "args.amout"}}, {}, "Did you mean 'amount'?"),
        ({"charges": {"refunds": "facts.order.total"}}, {}, "asks for no fact 'order'"),
        ({}, {"per": ["args.client"]}, "no parameter 'client'"),
        ({"secrets": ["amount"]}, {}, "secret or personal"),
    ],
)
def test_a_charge_that_leads_nowhere_is_refused_at_load(
    tmp_path: Path, fields: dict[str, Any], budget: dict[str, Any], said: str
) -> None:
    contract = {"charges": {"refunds": "args.amount"}, **fields}
    policies_for(tmp_path, tool(refund, effect="external", **contract), settings=settings(**budget))
    with pytest.raises(PolicyError, match=said.replace("?", r"\?")):
        open_gateway(tmp_path)


def test_a_value_that_may_be_left_out_is_refused_at_load(tmp_path: Path) -> None:
    def maybe(customer: str, amount: int = 5) -> int:
        return amount

    policies_for(tmp_path, charged(maybe), settings=settings())
    with pytest.raises(PolicyError, match="may leave 'amount' out"):
        open_gateway(tmp_path)


RACER = """
import json, sys
from pathlib import Path
from tests.adversarial.test_budgets import charged
from tests.support import ANA, ask, open_gateway
from gateway import Released
base, origin = Path(sys.argv[1]), sys.argv[2]
with open_gateway(base, charged(), origin=origin) as gateway:
    session = gateway.session(ANA)
    print("ready", flush=True)
    sys.stdin.readline()
    got = session.judge_sync([ask("refund", customer="k1", amount=7) for _ in range(12)])
    print(json.dumps(sum(7 for each in got if isinstance(each, Released))))
"""


def test_c129_processes_that_race_never_spend_more_than_there_is(tmp_path: Path) -> None:
    policies_for(tmp_path, charged(), settings=settings())
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), f"racer-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    spent = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(spent) == 98  # fourteen of twenty-four; a fifteenth would be 105


def test_c129_a_batch_that_races_itself_spends_no_more(tmp_path: Path) -> None:
    with gateway_with(tmp_path, charged(), settings=settings()) as gateway:
        outcomes = gateway.session(ANA).judge_sync([ask("refund", customer="k1", amount=30) for _ in range(8)])
        assert sum(not isinstance(each, Denied) for each in outcomes) == 3


CRASHER = """
import os, sys
from pathlib import Path
from tests.adversarial.test_budgets import charged
from tests.support import ANA, one, open_gateway
def refund(customer: str, amount: int) -> int:
    os.kill(os.getpid(), 9)
with open_gateway(Path(sys.argv[1]), charged(refund), origin="dead") as gateway:
    one(gateway.session(ANA), "refund", customer="k1", amount=int(sys.argv[2]))
"""


def test_c073_what_a_killed_process_had_reserved_is_held_and_said_to_be_unknown(tmp_path: Path) -> None:
    policies_for(tmp_path, charged(), settings=settings(window_s=1))
    killed = subprocess.run([sys.executable, "-c", CRASHER, str(tmp_path), "100"], check=False)
    assert killed.returncode == -9
    with open_gateway(tmp_path, charged()) as gateway:  # its start reads the dead one's log
        assert reason(one(gateway.session(ANA), "refund", customer="k1", amount=1)) is ReasonCode.VALUE_BUDGET
    with Office.open(tmp_path / "policies", tmp_path / "home") as office:
        (call,) = [each for each in calls_in(office.home).values() if each.origin == "dead"]
        assert call.unfinished
        assert office.settle(call, "did_not_happen", by="lea", why="the ledger has none")
    with open_gateway(tmp_path, charged()) as gateway:
        assert result(one(gateway.session(ANA), "refund", customer="k1", amount=100)) == 100


@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
def test_c127_a_restored_database_learns_also_what_the_ledger_of_the_log_has_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: bool
) -> None:
    monkeypatch.setattr("gateway.audit.ledger.CHARGED", 2)
    where = locate(tmp_path / "policies", tmp_path / "home")
    with gateway_with(tmp_path, charged(), settings=settings()):
        pass
    backup = where.database.read_bytes()
    with open_gateway(tmp_path, charged()) as gateway:
        for amount in (30, 20, 10, 5, 4):
            result(one(gateway.session(ANA), "refund", customer="k1", amount=amount))
    if not clean:
        killed = subprocess.run([sys.executable, "-c", CRASHER, str(tmp_path), "30"], check=False)
        assert killed.returncode == -9
    for leftover in where.state.glob("state.db-*"):
        leftover.unlink()
    where.database.write_bytes(backup)
    for _ in range(2):  # and a second start finds nothing to do
        with open_gateway(tmp_path, charged()) as gateway:
            session = gateway.session(ANA)
            left = 31 if clean else 1
            assert reason(one(session, "refund", customer="k1", amount=left + 1)) is ReasonCode.VALUE_BUDGET
    with open_gateway(tmp_path, charged()) as gateway:
        assert result(one(gateway.session(ANA), "refund", customer="k1", amount=left)) == left
