"""Compiled grants: which row decided, what is visible, which roles somebody holds."""

from __future__ import annotations

import pytest

from gateway.authorize.grants import DeniedByRule, Granted, Grants, NotGranted, compile_grants
from gateway.domain.decision import Provenance
from gateway.policy.casbin_files import read_policy
from tests.unit.policy.folders import MODEL_TEXT

ROWS = """g, user:ana, role:support
g, user:max, role:lead
g, role:lead, role:support
p, role:support, look, see, allow
p, role:support, look, call, allow
p, role:support, back, call, allow
p, role:support, sign, see, allow
p, user:ana, look, call, allow
p, role:lead, pay, approve, allow
p, role:lead, look, see, deny
p, role:support, look, see, deny
p, user:eve, look, see, allow
"""


@pytest.fixture
def grants() -> Grants:
    return compile_grants(read_policy(ROWS.encode(), MODEL_TEXT, frozenset({"look", "back", "sign", "pay"})))


def row(line: int, subject: str) -> Provenance:
    return Provenance("policy.csv", line, subject)


def test_the_first_deciding_row_is_named(grants: Grants) -> None:
    assert grants.decide("ana", "look", "call") == Granted(row(5, "role:support"))
    assert grants.decide("max", "look", "see") == DeniedByRule(row(10, "role:lead"))
    assert grants.decide("ana", "look", "see") == DeniedByRule(row(11, "role:support"))
    assert grants.decide("max", "pay", "approve") == Granted(row(9, "role:lead"))


@pytest.mark.parametrize(
    ("who", "tool", "action"),
    [("ana", "pay", "approve"), ("ana", "nothing", "call"), ("nobody", "look", "call"), ("eve", "look", "call")],
)
def test_what_no_row_says_is_not_granted(grants: Grants, who: str, tool: str, action: str) -> None:
    assert grants.decide(who, tool, action) == NotGranted()  # type: ignore[arg-type]


def test_an_action_nobody_knows_is_not_granted(grants: Grants) -> None:
    assert grants.decide("ana", "look", "own") == NotGranted()  # type: ignore[arg-type]


def test_visible_is_what_may_be_both_seen_and_called() -> None:
    rows = "".join(f"p, user:ana, {tool}, {act}, allow\n" for tool in ("zoo", "axe") for act in ("see", "call"))
    rows += "p, user:ana, back, call, allow\np, user:ana, sign, see, allow\np, user:max, axe, call, allow\n"
    found = compile_grants(read_policy(rows.encode(), MODEL_TEXT, frozenset({"zoo", "axe", "back", "sign"})))
    assert found.visible("ana") == ("axe", "zoo")
    assert found.visible("max") == ()
    assert found.visible("nobody") == ()


def test_roles_are_those_held_directly_and_through_others(grants: Grants) -> None:
    assert grants.roles_of("max") == ("lead", "support")
    assert grants.roles_of("ana") == ("support",)
    assert grants.roles_of("eve") == ()
    assert grants.roles_of("nobody") == ()
    assert grants.principals() == ("ana", "eve", "max")


def test_users_with_the_same_roles_share_one_table_and_own_rows_stay_their_own() -> None:
    rows = "p, role:a, t, call, allow\n" + "".join(f"g, user:u{n}, role:a\n" for n in range(50))
    grants = compile_grants(read_policy((rows + "p, user:u7, t, see, allow\n").encode(), MODEL_TEXT, frozenset({"t"})))
    assert len({id(rights) for rights in grants._rights.values()}) == 2
    assert grants.visible("u7") == ("t",)
    assert grants.visible("u8") == ()
