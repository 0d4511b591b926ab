"""What a call leaves in the log, field by field, as a real gateway writes it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import Principal
from gateway.audit.stage import MAX_ROLES
from gateway.domain.call import Parked, Released
from gateway.domain.decision import ReasonCode
from gateway.domain.errors import UsageError
from gateway.office import verify_home
from gateway.settings import locate
from tests.support import ANA, ask, gateway_with, one, policies_for, reason, records, tool, vote


def pay(order: str, amount: int) -> str:
    return f"paid {amount} for {order}"


def test_every_record_of_a_call_names_the_roles_of_its_moment(tmp_path: Path) -> None:
    ways_up = ["g, role:support, role:staff", "g, user:zoe, role:nobody"]
    with gateway_with(tmp_path, tool(pay, risk="high"), tool(pay, name="look"), rows=ways_up) as gateway:
        session = gateway.session(ANA, conversation="c")
        assert isinstance(one(session, "look", order="o-1", amount=5), Released)
        parked = one(session, "pay", order="o-1", amount=5)
        assert isinstance(parked, Parked)
        assert reason(one(session, "nothing")) is ReasonCode.UNKNOWN_TOOL
        assert reason(one(gateway.session(Principal("zoe")), "look", order="o", amount=1)) is ReasonCode.NOT_GRANTED
        assert reason(one(gateway.session(Principal("eve")), "look", order="o", amount=1)) is ReasonCode.NOT_GRANTED
    said = [
        (each["kind"], each["call"]["principal"], each["call"]["roles"]) for each in records(tmp_path) if "call" in each
    ]
    both = ["staff", "support"]
    assert said == [
        ("call.intent", "ana", both),
        ("call.outcome", "ana", both),
        ("approval.requested", "ana", both),
        ("call.denied", "ana", both),
        ("call.denied", "zoe", ["nobody"]),
        ("call.denied", "eve", []),
    ]


def test_a_principal_of_many_roles_does_not_swell_every_record(tmp_path: Path) -> None:
    rows = [f"g, user:ana, role:r{number:03d}" for number in range(MAX_ROLES + 5)]
    with gateway_with(tmp_path, tool(pay), rows=rows) as gateway:
        assert isinstance(one(gateway.session(ANA), "pay", order="o-1", amount=5), Released)
    (intent,) = records(tmp_path, "call.intent")
    assert intent["call"]["roles"][:2] == ["r000", "r001"]
    assert intent["call"]["roles"][MAX_ROLES:] == ["... [6 more]"]  # `support` is the sixth


def test_a_refused_call_says_by_which_contract_as_soon_as_it_may_be_known(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(pay)) as gateway:
        session = gateway.session(ANA)
        assert reason(one(session, "pay", order="o-1")) is ReasonCode.SCHEMA
        assert reason(one(session, "nothing")) is ReasonCode.UNKNOWN_TOOL
        digest = gateway._set.contracts["pay"].ref.digest
    assert [each["contract_digest"] for each in records(tmp_path, "call.denied")] == [digest, None]


def test_an_approved_call_tells_its_whole_story(tmp_path: Path) -> None:
    """The fields that the log promises, on the records of one call that a person let through."""
    subject = tool(
        pay,
        risk="high",
        effect="external",
        effect_key=["order"],
        authority=["order"],
        facts={"stock": {"provider": "stock"}},
        rules=[{"id": "in_stock", "require": "facts.stock.left > 0", "tell_model": "There is none left."}],
    )
    with gateway_with(tmp_path, subject) as gateway:
        gateway.register_fact("stock", lambda _: {"left": 3})
        session = gateway.session(ANA, conversation="c-9", on_behalf_of=Principal("customer-7"))
        (parked,) = session.judge_sync([ask("pay", order="o-1", amount=5)])
        assert isinstance(parked, Parked)
        vote(tmp_path, parked.request_id)
        assert isinstance(session.resume_sync(parked.request_id), Released)
        digest = gateway.policy_digest
    (requested,) = records(tmp_path, "approval.requested")
    (intent,) = records(tmp_path, "call.intent")
    (outcome,) = records(tmp_path, "call.outcome")
    for record in (requested, intent, outcome):
        call = record["call"]
        assert (record["origin"], call["principal"], call["on_behalf_of"]) == ("gw", "ana", "customer-7")
        assert (call["conversation"], call["parent_id"], call["depth"]) == ("c-9", None, 0)
        assert (call["tool"], call["policy_digest"], call["roles"]) == ("pay", digest, ["support"])
        assert record["time"].endswith("Z")
        assert record["mono_ns"] > 0
    assert [each["seq"] for each in records(tmp_path)] == list(range(len(records(tmp_path))))
    assert requested["call"]["provider_call_id"] == intent["call"]["provider_call_id"]
    assert intent["call"]["request_id"] == requested["request_id"] == parked.request_id
    assert intent["call"]["call_id"] == outcome["call"]["call_id"]
    assert intent["contract"].startswith("tools/pay.yaml:")
    assert intent["grant"].startswith("policy.csv:")
    assert intent["contract_digest"] == requested["contract_digest"]
    assert intent["effective_digest"] == requested["effective_digest"]
    assert intent["effective_digest"].startswith("hmac-sha256:")
    assert intent["arguments"] == {"order": "o-1", "amount": 5}
    assert intent["facts"] == {"stock": {"left": 3}}
    assert (intent["risk"], intent["effect"], intent["authority"], intent["attempt"]) == (
        "high",
        "external",
        ["order"],
        1,
    )
    assert intent["effect_key"].startswith("hmac-sha256:")
    (proof,) = intent["proofs"]
    assert (proof["voter"], proof["verdict"]) == ("bob", "approve")
    assert proof["signature"]
    assert requested["obligations"][0]["kind"] == "approval"
    assert requested["obligations"][0]["rule"].startswith("tools/pay.yaml:")
    assert (outcome["intent_seq"], outcome["status"]) == (intent["seq"], "released")
    assert outcome["result_digest"].startswith("hmac-sha256:")
    assert outcome["result_bytes"] == len(b'"paid 5 for o-1"')
    assert "paid 5 for o-1" in outcome["preview"]
    assert set(outcome["steps_us"]) >= {"parse", "authorize", "limit", "validate", "clear", "record", "execute"}


@pytest.mark.parametrize("how", ["awaited", "blocking"])
def test_calls_that_can_be_neither_judged_nor_answered_are_evidence(tmp_path: Path, how: str) -> None:
    bad = [{"id": "", "type": "function", "function": {"name": "pay", "arguments": "{}"}}]
    with gateway_with(tmp_path, tool(pay)) as gateway:
        session = gateway.session(ANA, conversation="c")
        with pytest.raises(UsageError):
            session.dispatch_sync(bad) if how == "blocking" else asyncio.run(session.dispatch(bad))
    (refused,) = records(tmp_path, "request.governed")
    assert (refused["principal"], refused["conversation"]) == ("ana", "c")
    assert (refused["api"], refused["verdict"]) == ("dispatch", "response_refused")
    assert "without a usable id" in refused["detail"]


PROGRAM = """
import os, sys
from pathlib import Path
from tests.support import ANA, one, open_gateway, tool
def pay(order: str, amount: int) -> str:
    return "paid"
gateway = open_gateway(Path(sys.argv[1]), tool(pay))
one(gateway.session(ANA), "pay", order="o-1", amount=5)
if sys.argv[2] == "forks":
    child = os.fork()
    if child == 0:
        sys.exit(0)  # runs its exit functions, and is not the gateway's process
    os.waitpid(child, 0)
    one(gateway.session(ANA), "pay", order="o-2", amount=5)
if sys.argv[2] == "fails":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("how", ["ends", "fails", "forks"])
def test_a_program_that_ends_without_closing_leaves_its_stop_in_the_log(tmp_path: Path, how: str) -> None:
    policies_for(tmp_path, tool(pay))
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), how]
    done = subprocess.run(program, cwd=Path.cwd(), check=False, capture_output=True, text=True)
    assert done.returncode == (3 if how == "fails" else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert len(records(tmp_path, "call.outcome")) == (2 if how == "forks" else 1)
    (stopped,) = records(tmp_path, "process.stopped")
    assert stopped["reason"] == "exit"
    assert records(tmp_path)[-1] == stopped
    where = locate(tmp_path / "policies", tmp_path / "home")
    (report,) = verify_home(where).origins
    assert (report.ok, report.uncovered) == (True, 0)


LOST = """
import sys
from pathlib import Path
from tests.support import ANA, one, open_gateway, tool
def pay(order: str, amount: int) -> str:
    return "paid"
base = Path(sys.argv[1])
gateway = open_gateway(base, tool(pay))
one(gateway.session(ANA), "pay", order="o-1", amount=5)
(base / "home" / "checkpoints").rename(base / "gone")
if sys.argv[2] == "closes":
    gateway.close()
"""


@pytest.mark.parametrize(("how", "status"), [("closes", 1), ("ends", 0)])
def test_c111_a_program_that_cannot_seal_its_log_says_so(tmp_path: Path, how: str, status: int) -> None:
    """By its exit status too, if it closes its gateway; an exit function can only raise the alarm."""
    policies_for(tmp_path, tool(pay))
    program = [sys.executable, "-c", LOST, str(tmp_path), how]
    done = subprocess.run(program, cwd=Path.cwd(), check=False, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "check the disk under the audit folder and the checkpoint folder" in done.stderr
    (tmp_path / "gone").rename(tmp_path / "home" / "checkpoints")
    assert records(tmp_path)[-1]["kind"] == "process.stopped"  # durable, if unsigned
    (report,) = verify_home(locate(tmp_path / "policies", tmp_path / "home")).origins
    assert report.ok
    assert report.uncovered > 0
