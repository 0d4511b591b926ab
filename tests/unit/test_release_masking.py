"""Credential-like strings are masked wherever they stand; looking for a prefix first changes nothing (LLM02)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.release import MASK, SECRET_PATTERNS, Secrets

EXAMPLES = (
    "sk-" + "a1B2" * 6,
    "AKIA" + "ABCD2345" * 2,
    "ASIA" + "ABCD2345" * 2,
    *(f"gh{kind}_" + "a1" * 18 for kind in "pousr"),
    "xoxb-1234567890-abc",
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\ncut off",
)
PIECES = st.sampled_from([*EXAMPLES, *SECRET_PATTERNS, " ", "\n", "x", "weight", "task-", "eyJabc", ".", "-", "A" * 30])
ALL = re.compile("|".join(f"(?:{each})" for each in SECRET_PATTERNS.values()))


@pytest.mark.parametrize("secret", EXAMPLES)
@pytest.mark.parametrize("own", [(), (r"zz\d+",)])
def test_every_kind_of_credential_is_masked(secret: str, own: tuple[str, ...]) -> None:
    assert Secrets(own).mask(f'{{"a":"{secret}', "ana", "c") == (f'{{"a":"{MASK}', 1)


def test_the_hosts_own_pattern_needs_no_known_prefix() -> None:
    assert Secrets((r"zz\d+",)).mask("a zz12 b", "ana", "c") == (f"a {MASK} b", 1)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_looking_for_a_prefix_first_changes_nothing(text: str) -> None:
    assert Secrets().mask(text, "ana", "c") == ALL.subn(MASK, text)
