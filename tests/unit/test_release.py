"""Step 8: pointers, schemas, bounds and marks. What masks the secrets themselves is tested beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.call import Released
from tests.support import ANA, gateway_with, one, records, result, tool

ORDER = {
    "id": "A-1",
    "card": {"number": "4111", "a/b": "s1", "m~n": "s2"},
    "items": [{"name": "x", "token": "t1"}, {"name": "y", "token": "t2"}, "plain"],
    "token": 7,
}


def give() -> Any:
    return json.loads(json.dumps(ORDER))


def released(base: Path, value: Any = None, **contract: Any) -> Released:
    def given() -> Any:
        return give() if value is None else value

    with gateway_with(base, tool(given, name="give", **contract)) as gateway:
        outcome = one(gateway.session(ANA), "give")
    assert isinstance(outcome, Released)
    return outcome


@pytest.mark.parametrize(
    ("pointer", "gone"),
    [
        ("/token", ["/token"]),
        ("/card/number", ["/card/number"]),
        ("/card", ["/card"]),
        ("/card/a~1b", ["/card/a~1b"]),
        ("/card/m~0n", ["/card/m~0n"]),
        ("/items/1/token", ["/items/1/token"]),
        ("/items/*/token", ["/items/0/token", "/items/1/token"]),
        ("/items/*", ["/items/0", "/items/1", "/items/2"]),
        ("/card/*", ["/card/number", "/card/a~1b", "/card/m~0n"]),
        ("/nothing/here", []),
        ("/items/9", []),
        ("/items/-1", []),
        ("/items/x", []),
        ("/id/deeper", []),
    ],
)
def test_what_stands_at_a_pointer_is_masked_and_nothing_else(tmp_path: Path, pointer: str, gone: list[str]) -> None:
    found = result(released(tmp_path, result={"secrets": [pointer]}))

    def at(value: Any, way: str) -> Any:
        for part in way.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value

    for each in gone:
        assert at(found, each) == "[secret removed]"
    if not gone:
        assert found == ORDER
    assert str(found).count("[secret removed]") == len(gone)


def test_a_result_that_breaks_its_schema_is_not_handed_on(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    outcome = released(tmp_path, result={"schema": schema})
    assert outcome.failure is not None
    assert outcome.failure.code == "bad_result"
    assert "A-1" not in outcome.content
    (ended,) = records(tmp_path, "call.outcome")
    assert (ended["status"], ended["code"]) == ("failed", "bad_result")
    assert "id" in ended["detail"]


def test_a_problem_with_a_result_that_holds_secrets_is_not_quoted(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"pin": {"enum": ["a", "b"]}}}
    released(tmp_path, {"pin": "only-for-us"}, result={"schema": schema, "secrets": ["/pin"]})
    assert b"only-for-us" not in (tmp_path / "home" / "audit" / "gw" / "00000000.jsonl").read_bytes()


@pytest.mark.parametrize("value", ["x" * 5000, "ä" * 5000, ["\\"] * 3000, "\u2028" * 3000])
def test_the_envelope_of_a_cut_result_is_json_and_bounded(tmp_path: Path, value: Any) -> None:
    outcome = released(tmp_path, value, result={"max_bytes": 512})
    cut = result(outcome)
    assert cut["truncated"] is True
    assert cut["bytes"] == len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    assert json.dumps(value, ensure_ascii=False, separators=(",", ":")).startswith(cut["text"])
    assert len(outcome.content.encode()) <= 512 + len('{"untrusted_result":}')


def test_text_of_a_tool_is_marked_as_untrusted_unless_its_contract_trusts_it(tmp_path: Path) -> None:
    assert list(json.loads(released(tmp_path / "a").content)) == ["untrusted_result"]
    assert list(json.loads(released(tmp_path / "b", result={"labels": {"": "trusted"}}).content)) == ["result"]


def test_the_preview_in_the_record_is_what_was_released(tmp_path: Path) -> None:
    outcome = released(tmp_path, result={"secrets": ["/card"], "labels": {"/id": "private"}})
    (ended,) = records(tmp_path, "call.outcome")
    assert outcome.content.startswith(ended["preview"][:40])
    assert "4111" not in ended["preview"]
    assert ended["labels"] == {"/id": "private"}
    assert ended["result_digest"].startswith("hmac-sha256:")
