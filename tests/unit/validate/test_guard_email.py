"""The mail guard, and where a guard may stand. Paths are in tests/adversarial/test_schema.py (C050)."""

from __future__ import annotations

import pytest

from gateway.domain.errors import PolicyError
from gateway.policy.documents import EmailGuard
from gateway.validate.guards import GuardRefused, Guards
from tests.unit.validate.world import World, contract, properties, refused

MAIL = Guards({"to": EmailGuard(kind="email")}, {})
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    "address", ["a@example.org", "first.last+tag@sub.example.org", "o'neil@example.co.uk", "a@xn--bcher-kva.example"]
)
def test_one_plain_address(address: str) -> None:
    assert MAIL.apply({"to": address}) == {}


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "a@",
        "@example.org",
        "a@example",
        "a@b@example.org",
        "a b@example.org",
        "a@example.org, b@example.org",
        "a@example.org;b@example.org",
        "a@example.org\n",
        "a@example.org\r\nBcc: b@example.org",
        "Bob <a@example.org>",
        "<a@example.org>",
        '"a b"@example.org',
        '"a@evil.org"@example.org',
        "a(comment)@example.org",
        "a@[127.0.0.1]",
        "a@example.org.",
        "a@-example.org",
        "a@example..org",
        ".a@example.org",
        "a.@example.org",
        "a..b@example.org",
        "a%evil.org@example.org",
        "evil.org!a@example.org",
        "a@exa_mple.org",
        "a@ex\u0430mple.org",
        "\u00e9@example.org",
        "a\u202e@example.org",
        "x" * 65 + "@example.org",
        "a@" + "x." * 130 + "org",
        7,
        ["a@example.org", "b"],
    ],
)
def test_what_is_not_one_plain_address(address: object) -> None:
    with pytest.raises(GuardRefused) as caught:
        MAIL.apply({"to": address})
    assert "evil" not in caught.value.message


def test_each_address_of_a_list_and_none_at_all() -> None:
    assert MAIL.apply({"to": ["a@example.org", "b@example.org"]}) == {}
    assert MAIL.apply({"to": None}) == {}
    assert MAIL.apply({}) == {}


@pytest.mark.parametrize(
    ("schema", "guard", "fits"),
    [
        (TEXT, {"kind": "email"}, True),
        ({"type": ["string", "null"]}, {"kind": "email"}, True),
        ({"anyOf": [TEXT, {"type": "null"}]}, {"kind": "email"}, True),
        ({"type": "array", "items": TEXT}, {"kind": "email"}, True),
        ({"type": "array", "items": {"type": "integer"}}, {"kind": "email"}, False),
        ({"enum": ["a"]}, {"kind": "email"}, False),
        ({"type": "integer"}, {"kind": "path", "root": "files"}, False),
        ({"type": "array", "items": TEXT}, {"kind": "path", "root": "files"}, False),
        ({"anyOf": [TEXT, {"type": "integer"}]}, {"kind": "path", "root": "files"}, False),
        ({"type": "array", "items": TEXT}, {"kind": "sql", "dialect": "sqlite", "tables": ["t"]}, False),
        ({"type": "array", "items": TEXT}, {"kind": "text"}, True),
        ({"type": "array", "items": TEXT}, {"kind": "argv", "programs": {"ls": {"path": "/bin/ls"}}}, True),
        (TEXT, {"kind": "argv", "programs": {"ls": {"path": "/bin/ls"}}}, False),
    ],
)
def test_where_a_guard_may_stand(schema: dict[str, object], guard: dict[str, object], fits: bool) -> None:
    what = contract(properties(to=schema), guards={"to": guard})
    if fits:
        World(what, roots={"files": "/"})
    else:
        with pytest.raises(PolicyError, match="type string"):
            World(what, roots={"files": "/"})


def test_a_refused_address_is_a_refusal_of_step_4() -> None:
    world = World(contract(properties(to=TEXT), guards={"to": {"kind": "email"}}))
    said = refused(world.judge({"to": "Bob <bob@example.org>"}))
    assert said.message == "to: must be one plain mail address."
    assert "name@example.org" in said.suggestion


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("a@example.org", True),
        ("a@EXAMPLE.org", True),
        ("a@mail.example.com", True),
        ("a@example.com", False),
        ("a@evil-example.org", False),
        ("a@example.org.evil.net", False),
        ("a@evil.example.net", False),
    ],
)
def test_mail_goes_to_listed_domains_only(address: str, may: bool) -> None:
    guards = Guards({"to": EmailGuard(kind="email", domains=("example.org", "*.example.com"))}, {})
    if may:
        assert guards.apply({"to": address}) == {}
    else:
        with pytest.raises(GuardRefused, match="domain"):
            guards.apply({"to": address})
