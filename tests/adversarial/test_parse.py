"""Catalogue C001-C016 and C138 against step 1 (and step 4 where the answer is the schema's)."""

from __future__ import annotations

import math

import pytest

from gateway.domain.call import ParsedCall, RawCall, ShapedCall
from gateway.domain.decision import ReasonCode, Refusal, Step
from gateway.parse.stage import Parse
from gateway.policy.documents import ArgumentLimits
from tests.unit.validate.world import KEY, World, context, contract, properties

PARSE = Parse(ArgumentLimits(), KEY)


def parse(arguments: object, tool: object = "act", limits: ArgumentLimits | None = None) -> ParsedCall | Refusal:
    step = PARSE if limits is None else Parse(limits, KEY)
    return step(RawCall(context(), tool, arguments))


def reason(arguments: object, tool: object = "act") -> ReasonCode:
    result = parse(arguments, tool)
    assert isinstance(result, Refusal), result
    assert result.step is Step.PARSE
    assert result.message
    return result.reason


def value(arguments: object) -> dict[str, object]:
    result = parse(arguments)
    assert isinstance(result, ParsedCall), result
    return result.arguments


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"b":2,"a":3}',
        '{"x":{"a":1,"a":2}}',
        '{"x":[[{"a":1,"a":2}]]}',
        '{"a":1,"\\u0061":2}',
        '{"":1,"":2}',
    ],
)
def test_c001_duplicate_key_at_any_depth(text: str) -> None:
    assert reason(text) is ReasonCode.BAD_JSON


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "nan", "inf", "-NaN"])
def test_c002_no_number(literal: str) -> None:
    assert reason(f'{{"a":{literal}}}') is ReasonCode.BAD_JSON


@pytest.mark.parametrize("literal", ["1e400", "-1e400", "1E+309", "0.1e999999999"])
def test_c003_infinite_by_size(literal: str) -> None:
    assert reason(f'{{"a":{literal}}}') is ReasonCode.NUMBER_NOT_EXACT


@pytest.mark.parametrize("literal", ["9007199254740992", "-9007199254740992", "18446744073709551616"])
def test_c004_integer_beyond_2_53(literal: str) -> None:
    assert reason(f'{{"a":{literal}}}') is ReasonCode.NUMBER_NOT_EXACT


@pytest.mark.parametrize("number", [2**53 - 1, -(2**53) + 1, 0, -1])
def test_c004_integer_up_to_2_53_is_exact(number: int) -> None:
    assert value(f'{{"a":{number}}}') == {"a": number}


@pytest.mark.parametrize(
    "literal",
    ["12345678901234567.89", "0.1000000000000000055", "1e-400", "1e20", "1e16", "9007199254740993.0", "0e" + "9" * 20],
)
def test_c004_float_that_would_lose_digits(literal: str) -> None:
    assert reason(f'{{"a":{literal}}}') is ReasonCode.NUMBER_NOT_EXACT


@pytest.mark.parametrize("literal", ["0.1", "19.99", "1e21", "6.02214076e23", "5e-324", "0.10", "1.797e308"])
def test_c004_float_that_keeps_its_digits(literal: str) -> None:
    assert value(f'{{"a":{literal}}}') == {"a": float(literal)}


@pytest.mark.parametrize("lead", ["", "-", "0.", "1e", "1e-"])
def test_c005_5000_digits(lead: str) -> None:
    assert reason(f'{{"a":{lead}{"9" * 5_000}}}') is ReasonCode.NUMBER_NOT_EXACT


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_c006_100k_nesting(opening: str, closed: bool) -> None:
    closing = ("]" if opening == "[" else "}") * 100_000 if closed else ""
    assert reason('{"a":' + opening * 100_000 + closing) is ReasonCode.BAD_JSON


def test_c006_the_depth_allowed_is_the_depth_accepted() -> None:
    at_limit = '{"a":' * 64 + "1" + "}" * 64
    assert isinstance(parse(at_limit), ParsedCall)
    assert reason('{"a":' + at_limit + "}") is ReasonCode.BAD_JSON
    brackets_in_text = '{"a":"' + "[{" * 1_000 + '\\"["}'
    assert isinstance(parse(brackets_in_text), ParsedCall)


def test_c006_many_quotes_cost_one_pass() -> None:
    """An unterminated string full of escaped quotes is read once, not once a quote."""
    assert reason('{"a":"' + '\\"[{' * 200_000) is ReasonCode.BAD_JSON


@pytest.mark.parametrize(
    "text",
    ['{"a":"\\ud800"}', '{"\\udfff":1}', '{"a":"\\ude00\\ud83d"}', '{"a":["x",{"b":"\\uDBFFx"}]}', '{"a":"\ud800"}'],
)
def test_c007_lone_surrogate(text: str) -> None:
    assert reason(text) is ReasonCode.BAD_JSON


def test_c007_a_pair_is_a_character() -> None:
    assert value('{"a":"\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}
    assert value('{"a":"\\\\ud800"}') == {"a": "\\ud800"}


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_c008_other_encodings(codec: str) -> None:
    assert reason('{"a":"é"}'.encode(codec)) is ReasonCode.BAD_JSON


def test_c008_byte_order_mark_in_text() -> None:
    assert reason('\ufeff{"a":1}') is ReasonCode.BAD_JSON


@pytest.mark.parametrize("text", ['{"a":1} x', '{"a":1}{"b":2}', '{"a":1},', '{"a":1}\x00', '{"a":1}\u00a0', "{}#"])
def test_c009_trailing_data(text: str) -> None:
    assert reason(text) is ReasonCode.BAD_JSON


@pytest.mark.parametrize("text", ["1", "null", "true", '"{}"', "[]", '[{"a":1}]', " ", "\n"])
def test_c009_root_is_no_object(text: str) -> None:
    assert reason(text) is ReasonCode.BAD_JSON


def test_c009_space_around_the_object_is_fine() -> None:
    assert value(' \t\r\n{"a":1}\n ') == {"a": 1}


@pytest.mark.parametrize("kind", [str, bytes, dict])
def test_c010_too_large_before_it_is_parsed(kind: type) -> None:
    broken = "{" * 10_000_000  # would be refused for another reason if anybody looked
    big = {str: broken, bytes: broken.encode(), dict: {"a": "x" * 10_000_000}}[kind]
    assert reason(big) is ReasonCode.ARGUMENTS_TOO_LARGE


def test_c010_size_is_in_bytes() -> None:
    text = '{"a":"' + "é" * 50 + '"}'
    assert isinstance(parse(text, limits=ArgumentLimits(max_bytes=len(text.encode()))), ParsedCall)
    assert isinstance(parse(text, limits=ArgumentLimits(max_bytes=len(text.encode()) - 1)), Refusal)


@pytest.mark.parametrize("key", ["cafe\u0301", "Café", "CAFÉ", "__proto__", "constructor", "café ", "ca\u200bfé"])
def test_c011_look_alike_keys_are_other_keys(key: str) -> None:
    world = World(contract(properties(café={"type": "string"})))
    assert isinstance(world.shape('{"café":"x"}'), ShapedCall)
    for arguments in ({key: "x"}, {"café": "x", key: "y"}):
        refused = world.shape(arguments)
        assert isinstance(refused, Refusal)
        assert refused.reason is ReasonCode.SCHEMA


@pytest.mark.parametrize("escape", ["\\u0000", "\\u0007", "\\u001b", "\\b", "\\f", "\\u001F", "\\u000b"])
def test_c012_control_characters(escape: str) -> None:
    assert reason(f'{{"a":"x{escape}"}}') is ReasonCode.BAD_JSON
    assert reason(f'{{"x{escape}":1}}') is ReasonCode.BAD_JSON


@pytest.mark.parametrize("raw", ["\x00", "\x1b", "\n", "\t"])
def test_c012_raw_control_characters(raw: str) -> None:
    assert reason(f'{{"a":"{raw}"}}') is ReasonCode.BAD_JSON


def test_c012_text_has_lines_and_tabs() -> None:
    assert value('{"a":"one\\n\\ttwo\\r\\u000a"}') == {"a": "one\n\ttwo\r\n"}


def test_c013_an_object_takes_the_same_path() -> None:
    as_text = parse('{"a":{"b":[1,2.5,null,true,"é"]}}')
    as_object = parse({"a": {"b": [1, 2.5, None, True, "é"]}})
    assert isinstance(as_text, ParsedCall)
    assert isinstance(as_object, ParsedCall)
    assert as_text.arguments == as_object.arguments
    assert as_text.wire_digest == as_object.wire_digest


_CIRCLE: dict[str, object] = {}
_CIRCLE["a"] = _CIRCLE


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "hostile",
    [
        {"a": math.nan},
        {"a": math.inf},
        {"a": 2**53},
        {"a": 2**64},
        {"a": 10**5_000},
        {1: "a"},
        {1: "a", "1": "b"},
        {None: "a"},
        {"a": b"x"},
        {"a": (1, 2)},
        {"a": {1, 2}},
        {"a": object()},
        {"a": _Text("x")},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": 1e20},
        _CIRCLE,
    ],
)
def test_c013_an_object_that_is_not_json(hostile: object) -> None:
    assert reason(hostile) in (ReasonCode.BAD_CALL, ReasonCode.BAD_JSON, ReasonCode.NUMBER_NOT_EXACT)


@pytest.mark.parametrize("hostile", [None, 1, [], bytearray(b"{}"), memoryview(b"{}"), _Text("{}"), object()])
def test_c013_arguments_of_another_type(hostile: object) -> None:
    assert reason(hostile) is ReasonCode.BAD_CALL


def test_c013_control_characters_in_an_object() -> None:
    assert reason({"a": "\x00"}) is ReasonCode.BAD_JSON


def test_c053_the_caller_changes_its_object_after_submitting() -> None:
    mine = {"a": [1]}
    result = parse(mine)
    mine["a"].append(2)
    assert isinstance(result, ParsedCall)
    assert result.arguments == {"a": [1]}
    assert result.wire == b'{"a":[1]}'


@pytest.mark.parametrize(
    "name",
    ["", None, 7, b"act", ["act"], _Text("act"), "a" * 257, "ac\ud800t"],
    ids=ascii,
)
def test_c016_no_tool_name(name: object) -> None:
    assert reason("{}", tool=name) is ReasonCode.BAD_CALL


@pytest.mark.parametrize("name", ["Act", " act", "act ", "\u0430ct", "\uff41ct", "act\u200b", "act\n", "ACT"])
def test_c016_a_look_alike_stays_what_it_is(name: str) -> None:
    result = parse("{}", tool=name)
    assert isinstance(result, ParsedCall)
    assert result.tool == name
    assert result.tool != "act"


def test_c138_empty_text_is_an_empty_object_only_where_nothing_is_required() -> None:
    optional = World(contract(properties(a={"type": "string"})))
    shaped = optional.shape("")
    assert isinstance(shaped, ShapedCall)
    assert shaped.effective == b"{}"
    needs_one = World(contract(properties(("a",), a={"type": "string"})))
    refused = needs_one.shape("")
    assert isinstance(refused, Refusal)
    assert refused.reason is ReasonCode.SCHEMA
    assert "`a`" in refused.suggestion
    assert reason("  ") is ReasonCode.BAD_JSON


def test_a_refusal_never_quotes_a_value() -> None:
    for text in ('{"pin":"4711","pin":"4711"}', '{"pin":4711', '{"pin":"4711\\u0000"}', '{"pin":47114711471147114711}'):
        result = parse(text)
        assert isinstance(result, Refusal)
        assert "4711" not in result.message + result.suggestion + result.detail


# C015: one document for each class of the n_* files of JSONTestSuite, each wrapped as an object where it was none.
INVALID = [
    # structure
    b"", b" ", b"{", b"}", b"[", b"]", b"{}}", b"{]", b"[}", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a"}',
    b"{:1}", b'{"a":}', b'{"a" 1}', b'{"a"::1}', b'{"a":1,,"b":2}', b'{,"a":1}', b'{"a":1,}', b'{a:1}', b"{'a':1}",
    b'{1:1}', b'{null:1}', b'{true:1}', b'{[]:1}', b'{{}:1}', b'{"a":1 "b":2}', b'{"a":1;"b":2}', b'{"a"=1}',
    b'{"a":(1)}', b'{"a":[1,]}', b'{"a":[,1]}', b'{"a":[1,,2]}', b'{"a":[1 2]}', b'{"a":[1:2]}', b'{"a":[1}',
    b'{"a":["x"]]}', b'{"a":[', b'{"a":[1', b'{"a":[1,', b'{"a":["x', b'{"a":[{', b'{"a":/*x*/1}', b'{"a":1}//',
    b'{"a":1}/**/', b'/**/{"a":1}', b'{"a":1}#', b'<a>', b'*', b'{"a":1}]', b'{"a":1}{}', b'\xe2\x81\xa0{}',
    b'{"a":1}\xe2\x81\xa0', b'{\x0c"a":1}', b'{\x0b"a":1}', b'{\xc2\xa0"a":1}', b'{"a":\x00}', b'\x00', b'{}\x00',
    b'\xef\xbb\xbf', b'\xef\xbb\xbf{}', b'{"a":1} \x0c', b'{"\xb9":"0",}', b'{"a":"b"}/', b'{"a":"b"},"c"', b'["a',
    b'{"a":[[[[}',
    # literals
    b'{"a":tru}', b'{"a":True}', b'{"a":TRUE}', b'{"a":nul}', b'{"a":None}', b'{"a":fals}', b'{"a":truee}',
    b'{"a":undefined}', b'{"a":nullx}', b'{"a":t}', b'nul', b'{"a":a}', b'{"a":\xc3\xa5}',
    # numbers
    b'{"a":+1}', b'{"a":++1}', b'{"a":-}', b'{"a":--1}', b'{"a":- 1}', b'{"a":01}', b'{"a":-01}', b'{"a":00}',
    b'{"a":1.}', b'{"a":-1.}', b'{"a":.1}', b'{"a":-.1}', b'{"a":1.e1}', b'{"a":.e1}', b'{"a":1e}', b'{"a":1e+}',
    b'{"a":1E-}', b'{"a":1eE2}', b'{"a":1e1.5}', b'{"a":1 000}', b'{"a":1_000}', b'{"a":1,000.0.0}', b'{"a":0x1}',
    b'{"a":0x}', b'{"a":0b1}', b'{"a":0o7}', b'{"a":1a}', b'{"a":1.2a}', b'{"a":0.1.2}', b'{"a":0e}', b'{"a":0e+}',
    b'{"a":2.e3}', b'{"a":2.e-3}', b'{"a":9.e+}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":NaN}', b'{"a":-NaN}',
    b'{"a":Inf}', b'{"a":1+2}', b'{"a":-foo}', b'{"a":1]', b'{"a":\xef\xbc\x91}', b'{"a":\xd9\xa3}', b'{"a":-2.}',
    b'{"a":-1x}', b'{"a":1\xe5}', b'{"a":1e1\xe5}', b'{"a":0\xe5}',
    # strings
    b'{"a":"}', b'{"a":"\\"}', b'{"a":"x}', b"{\"a\":'x'}", b'{"a":x"}', b'{"a":"\\x00"}', b'{"a":"\\a"}',
    b'{"a":"\\0"}', b'{"a":"\\\'"}', b'{"a":"\\u"}', b'{"a":"\\u00"}', b'{"a":"\\u00A"}', b'{"a":"\\u00g0"}',
    b'{"a":"\\uD834\\uDd"}', b'{"a":"\\uD800\\u"}', b'{"a":"\\uD800\\u1"}', b'{"a":"\\uD800\\u1x"}',
    b'{"a":"\\uD800\\"}', b'{"a":"\\u\xe5"}', b'{"a":"\\\\\\"}', b'{"a":"\\ "}', b'{"a":"\\\t"}', b'{"a":"\\\x00"}',
    b'{"a":"\\\xf0\x9f\x8c\x80"}', b'{"a":"\\\xe5"}', b'{"a":"\x00"}', b'{"a":"\x1f"}', b'{"a":"\n"}', b'{"a":"\t"}',
    b'{"a":"\\U0041"}', b'{"a":"x" "y"}', b'{"a":abc}', b'{"a":"\xe5"}', b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xc0\xaf"}', b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xfc\x80\x80\x80\x80\x80"}', b'{"a":"\xff"}',
    b'{"a":"\x80"}', b'{"\xe5":1}',
]  # fmt: skip


@pytest.mark.parametrize("document", INVALID, ids=ascii)
def test_c015_invalid_documents(document: bytes) -> None:
    if document:
        assert reason(document) in (ReasonCode.BAD_JSON, ReasonCode.NUMBER_NOT_EXACT)
    else:
        assert value(document) == {}  # C138 says what an empty text is
