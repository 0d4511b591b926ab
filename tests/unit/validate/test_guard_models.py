"""What a policy may say of a guard: checked at load, with its place, and told in docs/guards.md."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.clear.visible import visible
from gateway.domain.errors import PolicyError
from gateway.policy.check import checked
from gateway.policy.documents import Contract
from gateway.policy.guard_documents import KINDS, GuardModel
from gateway.policy.signature import signature_mismatches
from gateway.policy.yaml import read_yaml
from gateway.validate.guards import Guards, Money
from tests.unit.policy.folders import CONTRACT_TEXT
from tests.unit.validate.world import World, contract, passed, properties

PAGE = Path(__file__).resolve().parents[3] / "docs" / "guards.md"


@pytest.mark.parametrize(
    ("guard", "column", "says"),
    [
        ("{kind: url}", 8, "exactly one"),
        ("{kind: url, hosts: [a.example], any_public_host: true}", 27, "exactly one"),
        ("{kind: url, hosts: [A.example]}", 28, "pattern"),
        ("{kind: url, hosts: [10.0.0.1]}", 28, "pattern"),
        ("{kind: url, hosts: [localhost]}", 28, "pattern"),
        ("{kind: url, hosts: ['*']}", 28, "pattern"),
        ("{kind: url, hosts: [a.example], ports: [0]}", 48, "greater than"),
        ("{kind: url, hosts: [a.example], schemes: [ftp]}", 50, "'https'"),
        ("{kind: url, hosts: [a.example], schemes: []}", 49, "at least one"),
        ("{kind: url, hosts: [a.example], redirects: 6}", 51, "less than"),
        ("{kind: sql, dialect: oracle, tables: [a]}", 29, "'sqlite'"),
        ("{kind: sql, dialect: sqlite}", 3, "`tables` is missing"),
        ("{kind: sql, dialect: sqlite, tables: []}", 45, "at least one"),
        ("{kind: sql, dialect: sqlite, tables: ['a; b']}", 46, "pattern"),
        ("{kind: sql, dialect: sqlite, tables: [a], functions: [COUNT]}", 62, "pattern"),
        ("{kind: argv, programs: {}}", 31, "at least one"),
        ("{kind: argv, programs: {sh: {path: /bin/sh}}}", 43, "'sh' runs"),
        ("{kind: argv, programs: {ls: {path: ls}}}", 43, "pattern"),
        ("{kind: argv, programs: {ls: {path: /bin/ls, flags: {l: none}}}}", 63, "pattern"),
        ("{kind: argv, programs: {ls: {path: /bin/ls, flags: {-l: some}}}}", 64, "integer"),
        ("{kind: html, tags: [script]}", 28, "'a'"),
        ("{kind: text, line: false}", 21, "Did you mean 'lines'?"),
        ("{kind: email, domains: ['@a.example']}", 32, "pattern"),
        ("{kind: identifier, chars: digit}", 34, "Did you mean 'digits'?"),
        ("{kind: identifier, separators: '/'}", 39, "pattern"),
        ("{kind: identifier, min_chars: 5, max_chars: 4}", 38, "no name"),
        ("{kind: money, max: '5'}", 3, "`currencies` is missing"),
        ("{kind: money, currencies: [EUR], max: 5}", 46, "string"),
        ("{kind: money, currencies: [EUR], max: '5,00'}", 46, "pattern"),
        ("{kind: money, currencies: [XAU], max: '5'}", 35, "'XAU' is no currency"),
        ("{kind: money, currencies: [EUR], max: '5', min: '6'}", 56, "no amount"),
    ],
)
def test_a_wrong_option_is_told_with_its_place(guard: str, column: int, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        checked(read_yaml(f"{CONTRACT_TEXT}guards:\n  key: {guard}\n".encode(), file="tools/look_up.yaml"), Contract)
    error = caught.value
    assert (error.file, error.line, says in error.message) == ("tools/look_up.yaml", 12, True), error
    assert error.column == column, error


@pytest.mark.parametrize(
    ("guard", "named"),
    [
        ("{kind: url, hosts: [a.example, A.example]}", "`guards/key/hosts/1` string should match"),
        ("{kind: url, hosts: a.example}", "`hosts` should be"),
    ],
)
def test_an_item_of_a_list_is_named_by_the_whole_way_to_it(guard: str, named: str) -> None:
    """A number alone says nothing; and no pattern holds a backslash, which a terminal is shown twice."""
    with pytest.raises(PolicyError) as caught:
        checked(read_yaml(f"{CONTRACT_TEXT}guards:\n  key: {guard}\n".encode(), file="tools/look_up.yaml"), Contract)
    assert caught.value.message.startswith(named)
    assert visible(str(caught.value)) == str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_what_each_protects_and_what_not(kind: type[GuardModel]) -> None:
    word = get_args(kind.model_fields["kind"].annotation)[0]
    gets = "the string (advisory)" if kind.advisory() else f"`{kind.hands}`"
    assert f"| `{word}` | {gets} | {kind.protects} | {kind.cannot} |" in PAGE.read_text()


def test_a_kind_that_says_advisory_hands_over_nothing() -> None:
    """And every other one does: the word in the model is what happens."""
    given: dict[str, tuple[dict[str, Any], object]] = {
        "path": ({"root": "here"}, Path(__file__).name),
        "url": ({"any_public_host": True, "schemes": ["http"]}, "http://1.1.1.1/"),
        "sql": ({"dialect": "sqlite", "tables": ["t"]}, "SELECT 1"),
        "argv": ({"programs": {"ls": {"path": "/bin/ls"}}}, ["ls"]),
        "html": ({}, "<b>x</b>"),
        "text": ({}, "x"),
        "email": ({}, "a@example.org"),
        "identifier": ({}, "x"),
        "money": ({"currencies": ["EUR"], "max": "5"}, "1"),
    }
    made = contract(properties(**{name: {"type": ["string", "array"]} for name in given})).model_copy(
        update={
            "guards": contract(
                properties(**{name: {"type": "string"} for name in given}),
                guards={name: {"kind": name} | options for name, (options, _) in given.items()},
            ).guards
        }
    )
    guards = Guards(made.guards, {"here": str(Path(__file__).parent)})
    handed = guards.apply({name: value for name, (_, value) in given.items()})
    handed["path"].close()  # type: ignore[attr-defined]
    assert {name: type(found).__name__ for name, found in handed.items()} == {
        name: guard.hands for name, guard in made.guards.items() if not guard.advisory()
    }


def test_the_tool_gets_the_capability_in_place_of_the_string() -> None:
    what = contract(
        properties(("m",), m={"type": "string"}), guards={"m": {"kind": "money", "currencies": ["EUR"], "max": "5"}}
    )
    judged = passed(World(what).judge({"m": "1.50"}))
    assert judged.capabilities == {"m": Money(Decimal("1.50"), "EUR")}

    def pay(m: Money) -> str:
        return str(m)

    assert signature_mismatches(what, pay) == []
    plain = contract(properties(("m",), m={"type": "string"}), guards={"m": {"kind": "identifier"}})
    assert signature_mismatches(plain, pay) != []
