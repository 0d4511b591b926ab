"""A policy proposed from what exists: it loads, it grants nothing nobody did, and it says what it guessed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway import Gateway, Principal, Released, ToolCall
from gateway.cli.app import app
from gateway.domain.errors import SettingsError
from gateway.policy.loader import load
from gateway.policy_tools.guesses import guess, secret_parameters
from gateway.policy_tools.lint import lint
from gateway.policy_tools.observed import from_calls, sample, schema_of, seen_in
from gateway.policy_tools.proposal import CASES_PER_TOOL, Proposal, Seen, write
from gateway.policy_tools.sources import from_source, from_tools_json

MODULE = '''
from datetime import datetime
from pydantic import BaseModel, Field
from os.path import join

def send_money(recipient: str, amount: float, password: str = "") -> str:
    """Pay somebody. Not for trying out.

    Args:
        recipient: An IBAN.
    """
    return "sent"

def look_around():
    return "here"

class CloseAccount(BaseModel):
    """Close an account for good."""
    account: str = Field(description="Its number.")

def at(when: datetime) -> str:
    return ""

def several(*names: str) -> str:
    return ""

def _private(x: int) -> int:
    return x
'''


def tools_json(folder: Path, tools: object) -> Path:
    path = folder / "tools.json"
    path.write_text(json.dumps(tools))
    return path


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "shop_tools_for_scaffold.py"
    path.write_text(MODULE)
    return path


def test_a_module_becomes_contracts_and_everything_is_denied(module: Path, tmp_path: Path) -> None:
    proposal = from_source(str(module))
    assert sorted(proposal.contracts) == ["at", "close_account", "look_around", "send_money"]
    assert [name for name, _ in proposal.left_out] == ["several"]
    assert proposal.contracts["send_money"].secrets == ("password",)
    report = write(proposal, tmp_path / "proposed")
    assert report.ok
    assert len(report.results) == 4
    with Gateway.from_policies(tmp_path / "proposed", home=tmp_path / "home") as gateway:
        gateway.register(lambda: "here", name="look_around")
        session = gateway.session(Principal("nobody"))
        (outcome,) = session.judge_sync([ToolCall("1", "look_around", "{}")])
        assert not isinstance(outcome, Released)


def test_guesses_are_marked_where_they_stand(module: Path, tmp_path: Path) -> None:
    write(from_source(str(module)), tmp_path / "proposed")
    text = (tmp_path / "proposed/tools/send_money.yaml").read_text()
    for key in ("risk: medium", "effect: external", "secrets:"):
        assert f"{key}  # a guess" in text
    assert "description: 'TODO" in (tmp_path / "proposed/tools/look_around.yaml").read_text()
    found = {(each.code, each.place.file) for each in lint(load(tmp_path / "proposed"))}
    assert ("description-vague", "tools/look_around.yaml") in found, "a TODO is a finding"
    assert ("effect-unguarded", "tools/send_money.yaml") in found, "and so is an effect nothing stands before"


@pytest.mark.parametrize("wrapped", [True, False], ids=["chat", "responses"])
def test_both_shapes_of_openais_tools(wrapped: bool, tmp_path: Path) -> None:
    body = {
        "name": "pay",
        "description": "Pay.",
        "parameters": {
            "type": "object",
            "properties": {"to": {"$ref": "#/$defs/To"}},
            "$defs": {"To": {"type": "string"}},
        },
    }
    tool = {"type": "function", "function": body} if wrapped else {"type": "function", **body}
    found = from_tools_json(tools_json(tmp_path, {"tools": [tool]})).contracts["pay"]
    assert found.parameters == {
        "type": "object",
        "properties": {"to": {"type": "string"}},
        "additionalProperties": False,
    }


def test_a_custom_tool_keeps_its_grammar(tmp_path: Path) -> None:
    grammar = {"type": "grammar", "syntax": "regex", "definition": "[a-z]+"}
    proposal = from_tools_json(tools_json(tmp_path, [{"type": "custom", "name": "say", "format": grammar}]))
    contract = proposal.contracts["say"]
    assert contract.free_text
    assert contract.parameters["properties"]["input"]["pattern"] == "^([a-z]+)$"  # type: ignore[index]


@pytest.mark.parametrize(
    ("tool", "why"),
    [
        ({"type": "web_search"}, "the provider runs it"),
        ({"type": "mcp", "server_url": "https://example.org"}, "the provider runs it"),
        ({"type": "function", "name": "../../etc/cron.d/x", "parameters": {}}, "`tool`"),
        ({"type": "function", "name": "a", "parameters": {"properties": {"x": {}}}}, "may be anything"),
        ({"type": "function", "name": "a", "parameters": []}, None),
        ({"type": "function", "name": "a", "parameters": {"properties": []}}, "no JSON Schema of an object"),
        (
            {
                "type": "function",
                "name": "a",
                "parameters": {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
            },
            "contains itself",
        ),
        ({"type": "function", "name": "a", "parameters": {"type": "string"}}, "no JSON Schema of an object"),
        (
            {"type": "function", "name": "a", "parameters": {"properties": {"x": {"type": "string", "pattern": "("}}}},
            "(",
        ),
        ({"type": "function"}, "no name"),
        ("pay", "no tool"),
        ({"name": "pay"}, "no tool"),
    ],
    ids=range(12),
)
def test_what_cannot_be_a_contract_is_named_and_left_out(tool: object, why: str | None, tmp_path: Path) -> None:
    proposal = from_tools_json(tools_json(tmp_path, [tool]))
    if why is None:
        assert set(proposal.contracts) == {"a"}
    else:
        assert proposal.contracts == {}
        assert why in proposal.left_out[0][1]


def test_text_of_a_tools_list_is_only_text(tmp_path: Path) -> None:
    said = 'x\nrisk: low\n# }]: "\nrules: []'
    tool = {
        "type": "function",
        "name": "delete_all",
        "description": said,
        "parameters": {"properties": {said: {"type": "string"}}},
    }
    proposal = from_tools_json(tools_json(tmp_path, [tool]))
    write(proposal, tmp_path / "proposed")
    contract = load(tmp_path / "proposed").contracts["delete_all"].contract
    assert (contract.risk, contract.description) == ("high", said)
    assert list(contract.parameters["properties"]) == [said]  # type: ignore[call-overload]


def test_what_nobody_can_see_is_no_contract_and_only_escaped_in_a_table(tmp_path: Path) -> None:
    tool = {"type": "function", "name": "get_x", "description": "harmless\u202e", "parameters": {}}
    proposal = from_tools_json(tools_json(tmp_path, [tool]))
    assert "U+202E" in proposal.left_out[0][1]
    report = write(from_calls([Seen("ana", None, "get_y", {"n": "\u202e\u200b\U000e0041"})]), tmp_path / "proposed")
    assert report.results[1].case.call.arguments == {"n": "\u202e\u200b\U000e0041"}
    assert (tmp_path / "proposed/tests/seen-get_y.yaml").read_bytes().isascii()


def test_a_name_that_stands_twice_is_kept_once(tmp_path: Path) -> None:
    one = {"type": "function", "name": "pay", "description": "first", "parameters": {}}
    proposal = from_tools_json(tools_json(tmp_path, [one, {**one, "description": "second"}]))
    assert proposal.contracts["pay"].description == "first"
    assert proposal.left_out == [("pay", "another tool has this name already")]


def test_nothing_is_ever_written_over(tmp_path: Path) -> None:
    (tmp_path / "proposed").mkdir()
    (tmp_path / "proposed/mine.txt").write_text("mine")
    proposal = from_calls([Seen("ana", None, "pay", {"amount": 1})])
    with pytest.raises(SettingsError, match="not empty"):
        write(proposal, tmp_path / "proposed")
    assert [path.name for path in (tmp_path / "proposed").iterdir()] == ["mine.txt"]
    with pytest.raises(SettingsError, match="no tool was found"):
        write(Proposal(), tmp_path / "other")
    assert not (tmp_path / "other").exists()


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
    proposal = from_calls([seen])
    assert proposal.contracts["log_in"].secrets == ("word",)
    write(proposal, tmp_path / "proposed")
    assert sorted(path.name for path in (tmp_path / "proposed/tests").iterdir()) == ["access.yaml"]


def test_a_call_that_was_seen_and_does_not_fit_its_contract_is_a_failing_case(module: Path, tmp_path: Path) -> None:
    proposal = from_calls([Seen("ana", None, "look_around", {"where": "up"})], from_source(str(module)))
    report = write(proposal, tmp_path / "proposed")
    assert [result.file for result in report.results if result.problem] == ["tests/seen-look_around.yaml"]


def test_a_table_holds_each_call_once_and_not_too_many(tmp_path: Path) -> None:
    same = [Seen("ana", "cust", "get_x", {"n": 0})] * 3
    many = [Seen("ana", None, "get_x", {"n": number}) for number in range(50)]
    report = write(from_calls(same + many), tmp_path / "proposed")
    assert len(report.results) == 1 + CASES_PER_TOOL
    assert report.results[1].case.on_behalf_of == "cust"


@pytest.mark.parametrize(
    ("tool", "risk", "effect"),
    [
        ("get_order", "low", "none"),
        ("sendMoney", "medium", "external"),
        ("delete_user", "high", "internal"),
        ("frobnicate", "medium", "internal"),
        ("update_scheduled_transaction", "medium", "internal"),
        ("HTTPGet", "low", "none"),
    ],
)
def test_a_name_suggests(tool: str, risk: str, effect: str) -> None:
    assert guess(tool) == (risk, effect)


def test_names_of_secrets() -> None:
    assert secret_parameters(["user", "apiKey", "new_password", "pin", "pinned", "api_key"]) == (
        "apiKey",
        "new_password",
        "pin",
        "api_key",
    )


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


def test_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    run = CliRunner()
    for words in (["scaffold"], ["scaffold", "no.such.module"], ["scaffold", "no.json"], ["scaffold", "no.py"]):
        result = run.invoke(app, ["policy", *words])
        assert result.exit_code != 0
        assert not (tmp_path / "proposed").exists()
    (tmp_path / "half.json").write_text('[{"type":"function","name":"get_x"},{"type":"web_search"}]')
    half = run.invoke(app, ["policy", "scaffold", "half.json"])
    assert half.exit_code == 1
    assert "web_search" in half.output
