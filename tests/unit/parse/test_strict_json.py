"""What step 1 says: where the text is wrong, and what to do about it."""

from __future__ import annotations

import pytest

from gateway.domain.call import ParsedCall, RawCall
from gateway.domain.decision import ReasonCode, Refusal
from gateway.parse.stage import Parse
from gateway.parse.strict_json import BadJson, decode
from gateway.policy.documents import ArgumentLimits
from tests.unit.validate.world import KEY, context


def refusal(text: str) -> BadJson:
    with pytest.raises(BadJson) as caught:
        decode(text.encode(), max_bytes=1_000, max_depth=4)
    return caught.value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a":}', "wrong at line 1, column 6: Expecting value."),
        ('\n\n {"a":\n  x}', "wrong at line 4, column 3: Expecting value."),
        ('{"a":1,\n}', "wrong at line 2, column 1: Expecting property name enclosed in double quotes."),
        ('{"a":"\t"}', "wrong at line 1, column 7: Invalid control character."),
        ('{"a":1', "ends too early"),
        (' {"a":1}\n b', "follows the object at line 2, column 2"),
        ("[1]", "do not begin with '{'"),
        ("", "are empty"),
        ("\ufeff{}", "byte order mark"),
        ('{"a":1,"a":2}', "The key 'a' stands twice"),
        ('{"\\u001b]":1,"\\u001b]":2}', "The key '\\x1b]' stands twice"),
        ('{"a":' * 5, "nested deeper than 4 levels"),
        ('{"a":NaN}', "NaN is not a JSON number"),
        ('{"a":"\\u0000"}', "a control character, U+0000"),
        ('{"a":"\\udc00"}', "half of a character (a lone surrogate), U+DC00"),
        ('{"a":12345678901234567890}', "An integer of 20 digits"),
        ("x" * 1_001, "1001 bytes long; at most 1000"),
    ],
)
def test_a_refusal_says_where_and_what(text: str, said: str) -> None:
    bad = refusal(text)
    assert said in bad.message
    assert bad.suggestion
    assert bad.message.isprintable()


def test_a_long_key_is_cut() -> None:
    key = "k" * 300
    assert "k" * 65 not in refusal(f'{{"{key}":1,"{key}":2}}').message


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ('{"a":1}', True),
        ('{"a":"é"}', True),
        ('{"a":"\\u00e9\\n"}', True),
        ('{"a":1.5}', False),
        ('{"a":1.0}', False),
        ('{"a":[{"b":1e0}]}', False),
        ('{"é":1}', False),
        ('{"\\u00e9":1}', False),
        ('{"a":[{"é":1}]}', False),
        ('{"a":"1.5"}', True),
    ],
)
def test_simple_is_no_float_and_ascii_keys(text: str, simple: bool) -> None:
    assert decode(text.encode(), max_bytes=1_000, max_depth=4).simple is simple


def test_bytes_that_are_not_utf_8_say_where() -> None:
    with pytest.raises(BadJson, match="byte 6"):
        decode(b'{"a":"\xff"}', max_bytes=1_000, max_depth=4)


def test_the_stage_keeps_the_exact_bytes_and_their_keyed_digest() -> None:
    wire = b' { "a" : 1 } '
    parsed = Parse(ArgumentLimits(), KEY)(RawCall(context(), "act", wire))
    assert isinstance(parsed, ParsedCall)
    assert (parsed.tool, parsed.wire) == ("act", wire)
    assert parsed.wire_digest == KEY.digest(wire, domain=b"wire")
    assert parsed.wire_digest != KEY.digest(b'{"a":1}', domain=b"wire")


def test_what_is_refused_does_not_depend_on_the_tool() -> None:
    """I7: otherwise a broken call would tell which tools exist."""
    parse = Parse(ArgumentLimits(max_bytes=20), KEY)
    for arguments in ("{", '{"a":1,"a":2}', "x" * 21, '{"a":1e999}', 7):
        assert len({repr(parse(RawCall(context(), tool, arguments))) for tool in ("act", "nothing", "x" * 200)}) == 1


def test_a_host_is_told_what_it_handed_in() -> None:
    said = Parse(ArgumentLimits(), KEY)(RawCall(context(), "act", {"a": (1, 2)}))
    assert isinstance(said, Refusal)
    assert said.reason is ReasonCode.BAD_CALL
    assert "tuple" in said.detail
