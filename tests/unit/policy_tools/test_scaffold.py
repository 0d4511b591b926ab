"""A policy proposed from what exists: it loads, it grants nothing nobody did, and it says what it guessed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import Gateway, Principal, Released, ToolCall
from gateway.cli.app import app
from gateway.domain.errors import SettingsError
from gateway.policy.loader import load
from gateway.policy_tools.guesses import guess, secret_parameters
from gateway.policy_tools.lint import lint
from gateway.policy_tools.observed import from_calls
from gateway.policy_tools.proposal import Proposal, Seen, write
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


NESTED: dict[str, Any] = {"type": "string"}
for _ in range(300):
    NESTED = {"type": "object", "properties": {"x": NESTED}}


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
        ({"type": "function", "name": "a", "parameters": {"properties": {"x": "y"}}}, "no JSON Schema of an object"),
        ({"type": "function", "name": "a", "parameters": {"properties": {"x": {"anyOf": 5}}}}, "no JSON Schema"),
        ({"type": "function", "name": "a", "parameters": NESTED}, "no JSON Schema of an object"),
        ({"type": "custom", "name": "a", "format": {"syntax": "regex", "definition": ["x"]}}, "no text"),
        ({"type": "custom", "name": "a", "format": None}, None),
        ({"type": "function"}, "no name"),
        ("pay", "no tool"),
        ({"name": "pay"}, "no tool"),
    ],
    ids=range(17),
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


def test_a_call_that_was_seen_and_does_not_fit_its_contract_is_a_failing_case(module: Path, tmp_path: Path) -> None:
    proposal = from_calls([Seen("ana", None, "look_around", {"where": "up"})], from_source(str(module)))
    report = write(proposal, tmp_path / "proposed")
    assert [result.file for result in report.results if result.problem] == ["tests/seen-look_around.yaml"]
