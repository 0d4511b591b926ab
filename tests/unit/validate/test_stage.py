"""Step 4: the identity of a call, what may be shown of it, and what a rule's verdict becomes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.canonical import canonical
from gateway.domain.decision import Obligation, Provenance, ReasonCode, Step
from gateway.domain.errors import PolicyError
from gateway.domain.session_view import SessionView
from gateway.validate.beneath import OpenedFile
from gateway.validate.facts import Facts
from tests.unit.validate.world import KEY, World, compiled, contract, passed, properties, refused

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
BASE = properties(("order", "amount"), order=TEXT, amount=NUMBER, pin=TEXT, address=TEXT, note=TEXT)
GOOD = {"order": "O-1", "amount": 60}


def rule(require: str, **more: Any) -> dict[str, Any]:
    return {"id": "r1", "require": require, "tell_model": "Too much.", **more}


def test_the_digest_is_the_effective_bytes() -> None:
    world = World(contract(BASE))
    shaped = world.shaped('{ "order":"O-1", "amount":60.0, "note":null }')
    assert shaped.effective == b'{"amount":60,"order":"O-1"}'
    assert shaped.digest == KEY.digest(shaped.effective, domain=b"effective")
    assert shaped.digest == world.shaped(GOOD).digest
    assert shaped.digest != world.shaped(GOOD | {"amount": 61}).digest
    assert shaped.masked == shaped.effective
    assert (shaped.serialize_key, shaped.effect_key) == (None, None)
    assert shaped.contract is world.compiled.ref


def test_null_is_kept_only_where_the_schema_itself_allows_it() -> None:
    nested = properties(("must",), must={"type": ["string", "null"]}, may=TEXT, nil={"type": ["string", "null"]})
    listed = {"type": "array", "items": nested}
    nullable = {"anyOf": [nested, {"type": "null"}]}
    world = World(contract(properties(o=nested, l=listed, u=nullable, d=TEXT | {"default": "x"})))
    full = {"must": None, "may": None, "nil": None}
    shaped = world.shaped({"o": full, "l": [full], "u": full, "d": None})
    kept = {"must": None, "nil": None}
    assert json.loads(shaped.effective) == {"o": kept, "l": [kept], "u": kept, "d": "x"}
    assert json.loads(world.shaped({"u": None, "o": None}).effective) == {"u": None, "d": "x"}
    assert refused(world.shape({"o": {"may": "x"}})).reason is ReasonCode.SCHEMA


def test_null_for_a_required_parameter_is_refused() -> None:
    said = refused(World(contract(BASE)).shape(GOOD | {"order": None}))
    assert said.message == "The arguments do not fit: order: must be a string, not null."


def test_a_misfit_says_what_to_do() -> None:
    order = TEXT | {"description": "The order's id"}
    schema = properties(("order", "reason"), order=order, reason={"enum": ["damaged", "late"]})
    said = refused(World(contract(schema)).shape({"ordr": "O-1", "reason": "Damagd"}))
    assert (said.step, said.reason) == (Step.VALIDATE, ReasonCode.SCHEMA)
    assert "order: is required and missing" in said.message
    assert "unknown field 'ordr'" in said.message
    assert 'reason: must be one of "damaged", "late"' in said.message
    assert "Add `order` (The order's id)." in said.suggestion
    assert "Did you mean `order`?" in said.suggestion
    assert 'Did you mean "damaged"?' in said.suggestion


def test_secret_and_personal_parameters_are_not_shown() -> None:
    world = World(contract(BASE, secrets=["pin"], personal=["address", "pin"]))
    shaped = world.shaped(GOOD | {"pin": "4711", "address": "1 Main St", "note": "hi"})
    shown = json.loads(shaped.masked)
    assert shown == {
        "amount": 60,
        "note": "hi",
        "order": "O-1",
        "pin": {"$hmac": KEY.digest(canonical("4711"), domain=b"argument")},
    }
    assert b"4711" not in shaped.masked
    assert b"Main" not in shaped.masked
    assert world.compiled.personal(shaped.effective) == {"address": "1 Main St"}
    assert World(contract(BASE)).compiled.personal(shaped.effective) is None
    assert world.shaped(GOOD | {"pin": "4712", "address": "1 Main St", "note": "hi"}).masked != shaped.masked


@pytest.mark.parametrize("value", ["secretvalue", 4711, ["secretvalue"], {"secretvalue": "secretvalue"}, True])
def test_i10_a_secret_that_does_not_fit_leaves_no_trace(value: object) -> None:
    """Not in the message, not in a suggestion made from it, not in the record."""
    pin = {"anyOf": [{"type": "string", "enum": ["secretvaluf"]}, {"type": "object", "properties": {"k": TEXT}}]}
    world = World(contract(properties(pin=pin, other=TEXT), secrets=["pin"]))
    said = refused(world.shape({"pin": value}))
    assert "secretvalue" not in repr(said)
    assert "4711" not in repr(said)
    enum = World(contract(properties(pin={"enum": ["secretvaluf", "x"]}), secrets=["pin"]))
    assert "mean" not in refused(enum.shape({"pin": "secretvalue"})).suggestion


def test_i10_a_failing_rule_or_fact_of_a_contract_with_secrets_quotes_nothing() -> None:
    def fails(ctx: object, pin: str) -> object:
        raise ValueError(f"bad pin {pin}")

    facts = Facts()
    facts.register("check", fails)
    wanted = {"facts": {"f": {"provider": "check", "args": ["pin"]}}}
    said = refused(World(contract(BASE, secrets=["pin"], **wanted), facts).judge(GOOD | {"pin": "4711"}))
    assert "4711" not in repr(said)
    by_rule = World(contract(BASE, secrets=["pin"], rules=[rule("principal[args.pin] == 'x'")]))
    assert "4711" not in repr(refused(by_rule.judge(GOOD | {"pin": "4711"})))


def test_keys_name_the_thing_and_not_the_tool() -> None:
    refund = World(contract(BASE, effect_key=["order"], serialize_by=["order"]))
    cancel = World(contract(properties(("order",), order=TEXT), tool="cancel", effect_key=["order"]))
    one, other = refund.shaped(GOOD), cancel.shaped({"order": "O-1"})
    assert one.effect_key == other.effect_key
    assert one.effect_key != one.serialize_key
    assert one.effect_key != cancel.shaped({"order": "O-2"}).effect_key
    assert "O-1" not in str(one.effect_key) + str(one.serialize_key)
    both = World(contract(BASE, effect_key=["order", "amount"]))
    turned = World(contract(BASE, effect_key=["amount", "order"]))
    assert both.shaped(GOOD).effect_key == turned.shaped(GOOD).effect_key
    assert both.shaped(GOOD).effect_key == both.shaped('{"order":"O-1","amount":6e1}').effect_key


@pytest.mark.parametrize("field", ["effect_key", "serialize_by"])
def test_a_key_that_a_call_may_leave_out_is_refused_at_load(field: str) -> None:
    with pytest.raises(PolicyError, match="required"):
        World(contract(BASE, **{field: ["note"]}))
    World(contract(properties(note=TEXT | {"default": "x"}), **{field: ["note"]}))


def test_nothing_to_judge() -> None:
    judged = passed(World(contract(BASE)).judge(GOOD))
    assert (judged.obligations, judged.facts, judged.capabilities, judged.effect_generation) == ((), {}, {}, 7)


def test_a_rule_that_denies_says_where_it_stands() -> None:
    denying = rule("args.amount <= 50.0", tell_people="over fifty", suggestion="Ask for less.")
    said = refused(World(contract(BASE, rules=[denying]), lines={"r1": 12}).judge(GOOD))
    assert (said.step, said.reason, said.message) == (Step.VALIDATE, ReasonCode.RULE, "Too much.")
    assert (said.suggestion, said.detail) == ("Ask for less.", "over fifty")
    assert said.rule == Provenance("tools/act.yaml", 12, "r1")


def test_a_rule_that_escalates_asks_for_a_person() -> None:
    asking = rule("args.amount <= 50.0", otherwise="escalate", tell_people="over fifty")
    world = World(contract(BASE, rules=[asking]), lines={"r1": 12})
    assert passed(world.judge(GOOD)).obligations == (
        Obligation("approval", "over fifty", Provenance("tools/act.yaml", 12, "r1")),
    )
    assert passed(world.judge(GOOD | {"amount": 50})).obligations == ()


def test_a_later_denial_beats_an_earlier_escalation() -> None:
    asking = rule("args.amount <= 50.0", otherwise="escalate")
    denying = rule("args.amount <= 55.0") | {"id": "r2"}
    assert refused(World(contract(BASE, rules=[asking, denying])).judge(GOOD)).reason is ReasonCode.RULE


@pytest.mark.parametrize("otherwise", ["deny", "escalate"])
def test_a_rule_in_error_always_denies(otherwise: str) -> None:
    said = refused(World(contract(BASE, rules=[rule("args.note == 'x'", otherwise=otherwise)])).judge(GOOD))
    assert said.reason is ReasonCode.RULE_ERROR
    assert "note" in said.detail
    assert "note" not in said.message


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({"risk": "high"}, ["approval"]),
        ({"risk": "medium"}, []),
        ({"approval": {"when": "always"}}, ["approval"]),
        ({"approval": {"when": "always", "confirm": True}}, ["approval", "confirmation"]),
        ({"approval": {"when": "always", "approvers": 0, "confirm": True}}, ["confirmation"]),
        ({"approval": {"when": "rules"}, "risk": "high"}, []),
        ({"approval": {"when": "rules", "confirm": True}}, ["confirmation"]),
        ({"approval": {"when": "never"}, "risk": "high"}, []),
    ],
)
def test_who_is_asked_of_every_call(more: dict[str, Any], kinds: list[str]) -> None:
    judged = passed(World(contract(BASE, **more)).judge(GOOD))
    assert [obligation.kind for obligation in judged.obligations] == kinds


def test_an_escalation_without_approvers_asks_the_requester() -> None:
    """Otherwise it would ask nobody: zero approvals are always there."""
    approval = {"approvers": 0, "confirm": True}
    world = World(contract(BASE, approval=approval, rules=[rule("args.amount < 1.0", otherwise="escalate")]))
    assert {obligation.kind for obligation in passed(world.judge(GOOD)).obligations} == {"confirmation"}


def test_rules_see_facts_and_session() -> None:
    facts = Facts()
    facts.register("order", lambda ctx, order: {"owner": ctx.principal.id, "left": 100.0})
    rules = [rule("facts.order.owner == principal.id && args.amount <= facts.order.left && session.calls < 2")]
    wanted = {"order": {"provider": "order", "args": ["order"]}}
    world = World(contract(BASE, facts=wanted, rules=rules), facts)
    found = {"order": {"owner": "alice", "left": 100.0}}
    assert passed(world.judge(GOOD)).facts == found
    assert refused(world.judge(GOOD, SessionView("conv-1", 2, ()))).facts == found
    assert refused(world.judge(GOOD | {"amount": 100.5})).reason is ReasonCode.RULE


def test_both_ways_of_waiting(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    facts = Facts()
    facts.register("size", lambda ctx, path: len(path))
    world = World(
        contract(
            properties(("path",), path=TEXT),
            guards={"path": {"kind": "path", "root": "files"}},
            facts={"size": {"provider": "size", "args": ["path"]}},
            rules=[rule("facts.size == args.path.size()")],
        ),
        facts,
        roots={"files": str(tmp_path)},
    )
    for judged in (world.judge({"path": "a.txt"}), asyncio.run(world.judge_async({"path": "a.txt"}))):
        opened = passed(judged).capabilities["path"]
        assert isinstance(opened, OpenedFile)
        assert opened.read() == b"a"
        world.validate.close(passed(judged))
        world.validate.close(passed(judged))
        assert opened.closed
    assert refused(asyncio.run(world.judge_async({"path": "b.txt"}))).reason is ReasonCode.GUARD_FOUND


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"rules": [rule("args.amuont < 5.0")]}, r"tools/act.yaml:12: rule `r1`.*args\.amount"),
        ({"rules": [rule("args.amount <")]}, r"tools/act.yaml:12: rule `r1`"),
        ({"rules": [rule("args.amount")]}, "yes or no"),
        ({"rules": [rule("facts.order == 1")]}, r"facts\.order"),
        ({"guards": {"order": {"kind": "path", "root": "nowhere"}}}, "nowhere"),
        ({"guards": {"amount": {"kind": "email"}}}, "type string"),
    ],
)
def test_what_is_wrong_with_a_contract_is_said_at_load(broken: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        compiled(contract(BASE, **broken), lines={"r1": 12})
