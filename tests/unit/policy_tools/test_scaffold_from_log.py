"""A policy proposed from what was seen: exactly the calls that were seen pass, by those who made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway import Gateway, Principal, Released, ToolCall
from gateway.audit.errors import LogDamaged
from gateway.cli.app import app
from gateway.policy.loader import load
from gateway.policy_tools.observed import from_calls, sample, schema_of, seen_in
from gateway.policy_tools.proposal import CASES_PER_TOOL, Seen, write

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_every_call_that_was_seen_fits_the_schema_made_of_them(values: list[Any]) -> None:
    validator = jsonschema_rs.validator_for(schema_of(values))
    assert all(validator.is_valid(value) for value in values)


SEEN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.floats(-1e9, 1e9)
    | st.text("aZ 0-\"'#:\u00e4\u202e", max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "amount"]), SEEN, max_size=3), min_size=1, max_size=4))
def test_whatever_was_seen_is_let_through_by_what_is_proposed(
    tmp_path_factory: pytest.TempPathFactory, calls: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("scaffold") / "proposed"
    proposal = from_calls([Seen("ana", None, "send_money", arguments) for arguments in calls])
    assert proposal.left_out == []
    report = write(proposal, folder)
    assert [result.problem for result in report.results if result.problem] == []


@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=4), st.text(min_size=1, max_size=8))
def test_what_was_never_seen_does_not_fit(seen: dict[str, Any], more: str) -> None:
    validator = jsonschema_rs.validator_for(schema_of([seen]))
    if more not in seen:
        assert not validator.is_valid({**seen, more: 1})
    assert not validator.is_valid([seen])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ana", "max", "eve"]), st.sampled_from(["get_x", "set_y", "send_z"]), st.integers(-9, 9)
        ),
        min_size=1,
        max_size=12,
    )
)
def test_who_was_seen_may_and_nobody_else(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("scaffold") / "proposed"
    report = write(from_calls([Seen(who, None, tool, {"n": number}) for who, tool, number in calls]), folder)
    assert report.ok
    access = load(folder).access
    roles = {row.member: row.role for row in access.roles}
    granted = {(row.subject, row.tool) for row in access.grants if row.allow and row.action == "call"}
    for who in ("ana", "max", "eve"):
        for tool in ("get_x", "set_y", "send_z"):
            seen = any(one == who and other == tool for one, other, _ in calls)
            assert ((roles.get(f"user:{who}"), tool) in granted) == seen


def test_a_call_beyond_what_was_seen_is_denied(tmp_path: Path) -> None:
    calls = [Seen("ana", None, "send_money", {"to": "GB29", "amount": amount}) for amount in (10, 99.5)]
    write(from_calls(calls), tmp_path / "proposed")
    with Gateway.from_policies(tmp_path / "proposed", home=tmp_path / "home") as gateway:
        gateway.register(lambda to, amount: "sent", name="send_money")
        session = gateway.session(Principal("ana"))
        ask = [ToolCall(str(n), "send_money", json.dumps({"to": "GB29", "amount": n})) for n in (99, 100)]
        assert [isinstance(outcome, Released) for outcome in session.judge_sync(ask)] == [True, False]


def test_texts_are_listed_only_where_they_stand_as_they_are(tmp_path: Path) -> None:
    rules = from_calls([Seen("a", None, "email_to", {"to": "x@example.org"})]).contracts["email_to"].rules
    assert [rule.require for rule in rules] == ['args.to in ["x@example.org"]']
    hostile = from_calls([Seen("a", None, "email_to", {"to": '"] || true || "" in ["'})]).contracts["email_to"].rules
    assert hostile == ()


def test_a_principal_policy_csv_cannot_write_is_left_out() -> None:
    proposal = from_calls(
        [Seen("a, role:admin", None, "get_x", {}), Seen("user:b", None, "get_x", {}), Seen("c", None, "get_x", {})]
    )
    assert [call.principal for call in proposal.seen] == ["c"]
    assert [name for name, _ in proposal.left_out] == ["a, role:admin", "user:b"]


def test_a_secret_of_the_log_becomes_a_secret_of_the_contract_and_stands_in_no_table(tmp_path: Path) -> None:
    seen = Seen("ana", None, "log_in", {"name": "x", "word": {"$hmac": "hmac-sha256:k:00"}}, whole=False)
    named = Seen("ana", None, "log_in", {"name": "x", "word": "swordfish", "pin": "1234"})  # the log had it in clear
    proposal = from_calls([seen, named])
    assert proposal.contracts["log_in"].secrets == ("word", "pin")
    write(proposal, tmp_path / "proposed")
    assert sorted(path.name for path in (tmp_path / "proposed/tests").iterdir()) == ["access.yaml"]


def test_a_table_holds_each_call_once_and_not_too_many(tmp_path: Path) -> None:
    same = [Seen("ana", "cust", "get_x", {"n": 0})] * 3
    many = [Seen("ana", None, "get_x", {"n": number}) for number in range(50)]
    report = write(from_calls(same + many), tmp_path / "proposed")
    assert len(report.results) == 1 + CASES_PER_TOOL
    assert report.results[1].case.on_behalf_of == "cust"


def test_from_the_log_of_a_gateway_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    assert run.invoke(app, ["init", "policies"]).exit_code == 0
    with Gateway.from_policies("policies") as gateway:
        gateway.register(lambda order_id: "late", name="get_order_status")
        session = gateway.session(Principal("ana"))
        session.judge_sync([ToolCall("1", "get_order_status", '{"order_id":"A-1001"}')])
        session.judge_sync([ToolCall("2", "get_order_status", '{"order_id":"wrong"}'), ToolCall("3", "drop", "{}")])
    made = run.invoke(app, ["policy", "scaffold", "--from-log", "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.output)["tools"] == {"get_order_status": True}
    assert [case.tool for case in seen_in(tmp_path / ".toolgate/audit")] == ["get_order_status"]
    checked = run.invoke(app, ["policy", "test", "--policies", "proposed"])
    assert "2 of 2 cases" in checked.output


def test_a_described_value_gives_its_shape_and_no_rule() -> None:
    described = {
        "type": "object",
        "properties": {
            "to": {"type": "string", "chars": 70, "digest": "hmac-sha256:k:00"},
            "amount": {"type": "integer", "digest": "hmac-sha256:k:01"},
            "share": {"type": "number", "digest": "hmac-sha256:k:02"},
            "now": {"type": "boolean", "digest": "hmac-sha256:k:03"},
            "why": {"type": "null"},
            "lines": {"type": "array", "count": 1, "items": [{"type": "null"}]},
        },
    }
    value: Any = sample(described)
    contract = from_calls([Seen("ana", None, "send_money", value, whole=False)]).contracts["send_money"]
    properties: Any = contract.parameters["properties"]
    assert {name: one["type"] for name, one in properties.items()} == {
        "to": "string",
        "amount": "integer",
        "share": "number",
        "now": "boolean",
        "why": "null",
        "lines": "array",
    }
    assert properties["to"]["maxLength"] >= 70
    assert contract.rules == (), "nothing is known of the amounts"


def test_c128_what_an_origin_says_that_nobody_enrolled_grants_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    assert run.invoke(app, ["init", "policies"]).exit_code == 0
    with Gateway.from_policies("policies", origin="gw") as gateway:
        gateway.register(lambda order_id: "late", name="get_order_status")
        gateway.session(Principal("ana")).judge_sync([ToolCall("1", "get_order_status", '{"order_id":"A-1001"}')])
    audit = tmp_path / ".toolgate" / "audit"
    forged = audit / "a-stranger"
    forged.mkdir()
    text = (audit / "gw" / "00000000.jsonl").read_text().replace('"ana"', '"eve"').replace('"gw"', '"a-stranger"')
    (forged / "00000000.jsonl").write_text(text)
    made = run.invoke(app, ["policy", "scaffold", "--from-log"])
    assert made.exit_code == 0, made.output
    assert "a-stranger is left out" in made.output
    rows = (tmp_path / "proposed" / "policy.csv").read_text()
    assert "user:ana" in rows
    assert "eve" not in rows
    call = next(each["call"]["call_id"] for each in map(json.loads, text.splitlines()) if each["kind"] == "call.intent")
    told = run.invoke(app, ["policy", "explain", call])
    assert "gw#" in told.output
    assert "a-stranger#" not in told.output


@pytest.mark.parametrize("without", ["call", "attempt", "arguments"])
def test_a_record_of_a_call_that_is_none_is_named(tmp_path: Path, without: str) -> None:
    assert CliRunner().invoke(app, ["init", str(tmp_path / "policies")]).exit_code == 0
    with Gateway.from_policies(tmp_path / "policies") as gateway:
        gateway.register(lambda order_id: "late", name="get_order_status")
        session = gateway.session(Principal("ana"))
        session.judge_sync([ToolCall("1", "get_order_status", '{"order_id":"A-1001"}')])
    for segment in (tmp_path / ".toolgate/audit").rglob("*.jsonl"):
        segment.write_bytes(segment.read_bytes().replace(f'"{without}":'.encode(), f'"x{without}":'.encode()))
    with pytest.raises(LogDamaged, match=without):
        list(seen_in(tmp_path / ".toolgate/audit"))
