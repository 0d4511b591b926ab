"""Contracts from signatures and models, and back to a file that reads the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from gateway.domain.errors import UsageError
from gateway.policy.documents import Contract
from gateway.policy.generate import contract_from_model, contract_from_signature, docstring_parts, dump_contract_yaml
from gateway.policy.loader import load, read_contract
from gateway.policy.signature import signature_mismatches
from tests.unit.policy.test_loader import POLICIES


def google(city: str, days: int = 3, schema: Literal["short", "long"] | None = None, *, tags: list[str] = ()) -> None:  # type: ignore[assignment]
    """Forecast the weather.

    Use it for trips.

    Args:
        city: Where, in
            English.
        days (int): How many.

    Returns:
        city: not a parameter
    """


def rest(city: str) -> None:
    """Forecast the weather.

    :param str city: Where.
    :return: The weather.
    """


def test_a_signature_becomes_a_closed_schema() -> None:
    contract = contract_from_signature(google, risk="low", effect="none")
    assert contract.description == "Forecast the weather.\nUse it for trips."
    assert contract.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where, in English."},
            "days": {"type": "integer", "default": 3, "description": "How many."},
            "schema": {"anyOf": [{"type": "string", "enum": ["short", "long"]}, {"type": "null"}], "default": None},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert contract_from_signature(rest, risk="low", effect="none").parameters["properties"] == {
        "city": {"type": "string", "description": "Where."}
    }


@pytest.mark.parametrize("function", [rest])
def test_a_generated_contract_agrees_with_its_function(function: Callable[..., Any]) -> None:
    assert signature_mismatches(contract_from_signature(function, risk="low", effect="none"), function) == []


class Street(BaseModel):
    title: str
    number: int | None = None


class Move(BaseModel):
    """Move house."""

    old: Street
    new: Street = Field(description="The new one.")


class Tree(BaseModel):
    """A tree."""

    children: list[Tree]


def test_a_model_is_written_out_without_references() -> None:
    contract = contract_from_model(Move, tool="move", risk="medium", effect="internal")
    street = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "number": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        },
        "required": ["title"],
        "additionalProperties": False,
    }
    assert contract.parameters["properties"] == {"old": street, "new": {**street, "description": "The new one."}}


def untyped(a) -> None:  # type: ignore[no-untyped-def]
    """Do."""


def unbounded(a: Any) -> None:
    """Do."""


def several(*a: str) -> None:
    """Do."""


def silent(a: str) -> None: ...


def strange(a: Callable[[], None]) -> None:
    """Do."""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (untyped, "annotate the parameter 'a'"),
        (unbounded, "may be anything"),
        (several, "names each parameter"),
        (silent, "docstring"),
        (strange, "JSON form"),
    ],
)
def test_c041_what_a_signature_does_not_say_is_asked_for(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        contract_from_signature(function, risk="low", effect="none")


def test_c043_a_recursive_model_is_refused() -> None:
    with pytest.raises(UsageError, match="contains itself"):
        contract_from_model(Tree, tool="tree", risk="low", effect="none")


def test_docstrings_without_sections() -> None:
    assert docstring_parts("") == ("", {})
    assert docstring_parts("One\n  two.\n\nThree.") == ("One two.\nThree.", {})


@pytest.mark.parametrize("tool", sorted(load(POLICIES).contracts))
def test_the_shipped_contracts_survive_being_written(tool: str) -> None:
    before = load(POLICIES).contracts[tool]
    after = read_contract(dump_contract_yaml(before.contract).encode(), file=f"tools/{tool}.yaml")
    assert after.ref.digest == before.ref.digest


TRICKY = st.sampled_from(
    ["no", "7", "0x1F", "1e5", "007", ".nan", "~", "a: b", "# x", "two\nlines", " edge ", "1_0", "<<", "'", "*a"]
)
VALUES = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXT = TRICKY | st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)


@given(text=TEXT, default=VALUES | TEXT, enum=st.lists(TEXT | VALUES, min_size=1, max_size=4), name=TEXT)
def test_any_contract_survives_being_written(text: str, default: object, enum: list[object], name: str) -> None:
    parameters = {"type": "object", "properties": {name: {"default": default, "enum": enum}}}
    document = {"tool": "t", "description": text, "risk": "low", "effect": "none", "parameters": parameters}
    before = Contract.model_validate_json(orjson.dumps(document))
    after = read_contract(dump_contract_yaml(before).encode(), file="tools/t.yaml").contract
    assert after == before
