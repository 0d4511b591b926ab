"""Catalogue C036, C039-C044, C046-C049, C051-C052, C131 and C139 against contracts at load and calls in step 4."""

from __future__ import annotations

import socket
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.call import ShapedCall
from gateway.domain.decision import ReasonCode, Refusal
from gateway.domain.errors import PolicyError
from gateway.validate.facts import Facts
from gateway.validate.schema import TOO_MUCH, compile_schema
from tests.unit.validate.world import World, contract, passed, properties, refused

TEXT = {"type": "string"}
NESTED = {"type": "object", "properties": {"sku": TEXT}}


def shape_reason(world: World, arguments: object) -> ReasonCode:
    return refused(world.shape(arguments)).reason


@pytest.mark.parametrize(
    "arguments",
    ['{"a":"x","b":1}', '{"__proto__":{}}', '{"a":"x","o":{"sku":"1","x":1}}', '{"l":[{"sku":"1"},{"ski":"1"}]}'],
)
def test_c039_extra_property_at_any_depth(arguments: str) -> None:
    world = World(contract(properties(a=TEXT, o=NESTED, l={"type": "array", "items": NESTED})))
    assert shape_reason(world, arguments) is ReasonCode.SCHEMA


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ({"type": "string", "minLenght": 1}, "minLength"),
        ({"type": "string", "maxlength": 1}, "maxLength"),
        ({"type": "object", "propertys": {}}, "properties"),
        ({"type": "integer", "minimun": 1}, "minimum"),
        ({"type": "array", "item": TEXT}, "items"),
        ({"typo": "string"}, "type"),
        ({"anyof": [TEXT]}, "anyOf"),
        ({"type": "integer", "minLength": 3}, "no effect on type integer"),
        ({"type": "string", "properties": {}}, "no effect on type string"),
        ({"enum": ["a"], "minLength": 3}, "say `type`"),
        ({"type": "strin"}, "type"),
    ],
)
def test_c040_typo_keyword(typo: dict[str, Any], meant: str) -> None:
    with pytest.raises(PolicyError, match=r"parameters/properties/a") as caught:
        compile_schema(properties(a=typo), file="tools/act.yaml", line=7)
    assert meant in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("tools/act.yaml", 7)


@pytest.mark.parametrize(
    "hole",
    [
        {},
        {"description": "anything"},
        True,
        {"type": "array"},
        {"type": "array", "items": {}},
        {"type": "array", "items": True},
        {"type": "object"},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "additionalProperties": {}},
        {"anyOf": [TEXT, {}]},
        {"anyOf": [TEXT, True]},
        {"not": TEXT},
        {"if": TEXT, "then": TEXT},
    ],
)
def test_c041_missing_type(hole: object) -> None:
    with pytest.raises(PolicyError):
        compile_schema(properties(a=hole))


@pytest.mark.parametrize(
    "root", [{}, TEXT, {"type": ["object", "null"]}, {"$ref": "#/$defs/A", "$defs": {"A": NESTED}}]
)
def test_c041_the_root_is_an_object(root: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        compile_schema(root)


def test_c042_external_reference_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener counts who comes; a file that does not exist would say so if anybody read it."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        monkeypatch.setattr(socket.socket, "connect", lambda *at: came.append(at))
        for reference in (
            f"http://127.0.0.1:{port}/x.json",
            f"http://127.0.0.1:{port}/x.json#/$defs/A",
            "https://json-schema.org/draft/2020-12/schema",
            "file:///etc/passwd",
            "x.json",
            "#/properties/b",
            "#",
            "#A",
            "",
        ):
            for schema in (
                properties(a={"$ref": reference}),
                properties(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": {"$ref": reference}}},
                properties(a={"type": "array", "items": {"anyOf": [{"$ref": reference}, TEXT]}}),
            ):
                with pytest.raises(PolicyError):
                    compile_schema(schema)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not came


@pytest.mark.parametrize("keyword", ["$id", "$anchor", "$dynamicRef", "$recursiveRef", "$vocabulary", "id"])
def test_c042_keywords_that_move_references(keyword: str) -> None:
    with pytest.raises(PolicyError):
        compile_schema(properties(a=TEXT | {keyword: "http://127.0.0.1/x"}))
    with pytest.raises(PolicyError):
        compile_schema(properties(a=TEXT) | {keyword: "http://127.0.0.1/x"})


@pytest.mark.parametrize(
    "definitions",
    [
        {"A": {"$ref": "#/$defs/A"}},
        {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
        {"A": {"type": "object", "properties": {"next": {"$ref": "#/$defs/A"}}}},
        {"A": {"type": "object", "properties": {"default": {"$ref": "#/$defs/A"}}}},
        {"A": {"type": "object", "properties": {"enum": {"$ref": "#/$defs/A"}}}},
        {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
        {"A": {"type": "object", "additionalProperties": {"$ref": "#/$defs/A"}}},
        {"A": {"anyOf": [{"$ref": "#/$defs/B"}, TEXT]}, "B": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
        {"A": TEXT, "B": {"$ref": "#/$defs/B"}},
    ],
)
def test_c043_reference_circle(definitions: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="refers to itself"):
        compile_schema(properties(a={"$ref": "#/$defs/A"}) | {"$defs": definitions})


def test_c043_schema_bomb() -> None:
    """Twenty definitions, each twice the one before: a million schemas once written out."""
    bomb = {f"L{n}": {"anyOf": [{"$ref": f"#/$defs/L{n + 1}"}] * 2} for n in range(20)} | {"L20": TEXT}
    with pytest.raises(PolicyError, match="more than 10000"):
        compile_schema(properties(a={"$ref": "#/$defs/L0"}) | {"$defs": bomb})


def test_c043_schema_nested_too_deeply() -> None:
    deep: dict[str, Any] = TEXT
    for _ in range(500):
        deep = {"type": "array", "items": deep}
    with pytest.raises(PolicyError):
        compile_schema(properties(a=deep))


def test_c043_deep_instance() -> None:
    world = World(contract(properties(a=TEXT)))
    assert shape_reason(world, '{"a":' + "[" * 50 + "]" * 50 + "}") is ReasonCode.SCHEMA
    assert shape_reason(world, '{"a":' + "[" * 100_000 + "]" * 100_000 + "}") is ReasonCode.BAD_JSON


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_c044_catastrophic_pattern_is_linear(pattern: str) -> None:
    """100,000 characters: an engine that backtracks would not come back in this universe's lifetime."""
    world = World(contract(properties(a={"type": "string", "pattern": pattern})))
    assert shape_reason(world, {"a": "a" * 100_000 + "!"}) is ReasonCode.SCHEMA


CHOICE = {"anyOf": [{"type": "integer"}, properties(q={"type": "array", "items": {"type": "integer"}})]}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "wrong",
    [
        {"a": ["b"] * 190_000},
        {"a": [{"q": [1.5] * 190_000}]},
        {"a": [{"q": ["x"]}] * 70_000},
        {"d": {f"k{number}": 1 for number in range(70_000)}},
        {f"n{number}": 1 for number in range(70_000)},
    ],
    ids=["items", "inside a choice", "choices", "members", "names"],
)
def test_c151_a_megabyte_of_mistakes_is_refused_at_once(wrong: dict[str, Any]) -> None:
    """Each mistake put into words would take a minute and hold up every other call."""
    texts = {"type": "object", "properties": {}, "additionalProperties": TEXT}
    world = World(contract(properties(a={"type": "array", "items": CHOICE}, d=texts)))
    refusal = world.shape(wrong)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is ReasonCode.SCHEMA
    place = next((name + ": " for name in ("a", "d") if name in wrong), "")
    assert refusal.message == f"The arguments do not fit: {place}{TOO_MUCH}."


def test_c151_much_text_hides_no_mistake() -> None:
    world = World(contract(properties(a=TEXT, b=TEXT)))
    refusal = world.shape({"a": "x, " * 10_000, "c": "y"})
    assert isinstance(refusal, Refusal)
    assert "unknown field" in refusal.message


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(?<!a)b", "(", "(a{1000}){1000}"])
def test_c044_pattern_that_has_no_linear_form(pattern: str) -> None:
    with pytest.raises(PolicyError):
        compile_schema(properties(a={"type": "string", "pattern": pattern}))


@pytest.mark.parametrize("format_", ["colour", "regex", "idn-email", "uri-template", "int32", "password", ""])
def test_c046_unchecked_format(format_: str) -> None:
    with pytest.raises(PolicyError, match="is not checked here"):
        compile_schema(properties(a={"type": "string", "format": format_}))


@pytest.mark.parametrize(
    ("format_", "good", "bad"),
    [
        ("date", "2026-01-31", "2026-02-30"),
        ("date-time", "2026-01-31T09:30:00Z", "2026-01-31 09:30"),
        ("time", "09:30:00Z", "9:30"),
        ("duration", "P1DT2H", "1 day"),
        ("email", "a@example.org", "Bob <a@example.org>"),
        ("hostname", "example.org", "exa mple.org"),
        ("ipv4", "192.0.2.1", "127.1"),
        ("ipv6", "2001:db8::1", "2001:::1"),
        ("uri", "https://example.org/", "//example.org"),
        ("uuid", "3fa85f64-5717-4562-b3fc-2c963f66afa6", "3fa85f64"),
    ],
)
def test_c046_every_accepted_format_is_checked(format_: str, good: str, bad: str) -> None:
    world = World(contract(properties(a={"type": "string", "format": format_})))
    assert isinstance(world.shape({"a": good}), ShapedCall)
    assert shape_reason(world, {"a": bad}) is ReasonCode.SCHEMA


@pytest.mark.parametrize("hostile", ['{"a":NaN}', {"a": float("nan")}, {"a": float("inf")}, '{"a":-Infinity}'])
def test_c047_nan_against_bounds(hostile: object) -> None:
    world = World(contract(properties(a={"type": "number", "minimum": 0, "maximum": 1})))
    assert isinstance(world.shape(hostile), Refusal)


@given(st.integers(-(10**9), 10**9), st.sampled_from(["0.01", "0.1", "0.05", "0.001", "0.3", "2.5", "1e-7"]))
def test_c048_decimal_multiple_is_exact(units: int, step: str) -> None:
    """What a person calculates on paper is the oracle."""
    accepts = _MULTIPLES.setdefault(
        step, compile_schema(properties(a={"type": "number", "multipleOf": float(step)})).accepts
    )
    for number in (float(Decimal(units) * Decimal(step)), units / 1000):
        exact = Decimal(repr(number)) % Decimal(repr(float(step))) == 0
        assert accepts({"a": number}) is exact


_MULTIPLES: dict[str, Any] = {}


@pytest.mark.parametrize("number", ["0.07", "19.99", "4.35", "100", "0"])
def test_c048_known_traps_of_binary_floats(number: str) -> None:
    world = World(contract(properties(a={"type": "number", "multipleOf": 0.01})))
    assert isinstance(world.shape(f'{{"a":{number}}}'), ShapedCall)
    assert shape_reason(world, f'{{"a":{float(number) + 0.005!r}}}') is ReasonCode.SCHEMA


@pytest.mark.parametrize("spelling", ["1", "1.0", "1e0", "10e-1", "1.000"])
def test_c049_one_number_whatever_its_spelling(spelling: str) -> None:
    """C014 too: the rule is that numbers are equal when their canonical spellings are."""
    schema = properties(
        i={"type": "integer"}, n={"type": "number"}, e={"enum": [1, 2]}, c={"const": 1.0}, l={"enum": [[1]]}
    )
    world = World(contract(schema))
    text = "{" + ",".join(f'"{name}":{spelling}' for name in "inec") + f',"l":[{spelling}]}}'
    shaped = world.shaped(text)
    assert shaped.effective == b'{"c":1,"e":1,"i":1,"l":[1],"n":1}'
    assert shaped.digest == world.shaped('{"i":1,"n":1,"e":1,"c":1,"l":[1]}').digest
    fresh = world.compiled.fresh(shaped.effective)
    kinds = {name: type(value) for name, value in fresh.items()}
    assert kinds == {"c": int, "e": int, "i": int, "l": list, "n": float}


def test_c049_true_is_not_1() -> None:
    world = World(contract(properties(i={"type": "integer"}, e={"enum": [1]}, n={"type": "number"})))
    for name in "ien":
        assert shape_reason(world, {name: True}) is ReasonCode.SCHEMA


@pytest.mark.parametrize("spelling", ["-0", "-0.0", "0", "0.0", "-0e5"])
def test_c014_minus_zero_is_zero(spelling: str) -> None:
    world = World(contract(properties(n={"type": "number"}, i={"type": "integer"})))
    shaped = world.shaped(f'{{"n":{spelling},"i":{spelling}}}')
    assert shaped.effective == b'{"i":0,"n":0}'
    assert repr(world.compiled.fresh(shaped.effective)) == "{'i': 0, 'n': 0.0}"


@pytest.mark.parametrize("spelling", ["1e21", "1.5", "1e300", "9007199254740992"])
def test_c049_no_integer_beyond_what_is_exact(spelling: str) -> None:
    world = World(contract(properties(i={"type": "integer"})))
    assert shape_reason(world, f'{{"i":{spelling}}}') in (ReasonCode.SCHEMA, ReasonCode.NUMBER_NOT_EXACT)


def test_c052_defaults_are_put_in_before_the_hash_and_once() -> None:
    nested = {"type": "object", "properties": {"k": {"type": "integer", "default": 3}, "x": TEXT}}
    schema = properties(a=TEXT | {"default": "x"}, o=nested, l={"type": "array", "items": nested, "default": [{}]})
    world = World(contract(schema))
    shaped = world.shaped('{"o":{}}')
    assert shaped.effective == b'{"a":"x","l":[{"k":3}],"o":{"k":3}}'
    again = world.shaped(shaped.effective)
    assert (again.effective, again.digest) == (shaped.effective, shaped.digest)
    assert world.shaped('{"l":[{"k":3}],"a":"x","o":{"k":3}}').digest == shaped.digest


@pytest.mark.parametrize(
    "broken",
    [
        {"a": {"type": "string", "default": 3}},
        {"a": {"type": "integer", "minimum": 5, "default": 3}},
        {"a": {"type": "string", "default": None}},
        {"a": {"type": "array", "items": {"type": "string", "default": "x"}}},
        {"a": {"anyOf": [NESTED, {"type": "object", "properties": {"k": {"type": "integer", "default": 1}}}]}},
        {"a": {"anyOf": [{"type": "string", "default": "x"}, {"type": "null"}]}},
    ],
)
def test_c052_a_default_that_could_not_apply(broken: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="default"):
        compile_schema(properties(**broken))


RULE = {"id": "country", "tell_model": "Not there."}


@pytest.mark.parametrize(
    "require", ["args.country != 'KP'", "!(args.country == 'KP')", "args.country.size() > 0", "args['country'] != 'KP'"]
)
def test_c036_deny_rule_on_an_absent_field(require: str) -> None:
    world = World(contract(properties(country=TEXT, b=TEXT), rules=[RULE | {"require": require}]))
    passed(world.judge({"country": "NO"}))
    assert refused(world.judge({})).reason is ReasonCode.RULE_ERROR
    assert refused(world.judge({"country": None})).reason is ReasonCode.RULE_ERROR


@pytest.mark.parametrize(
    "require",
    [
        "args.l.all(x, args.l.all(y, args.l.all(z, x + y + z >= 0)))",
        "args.l.map(x, args.l.map(y, args.l)).size() > 0",
        "1 / (args.n - args.n) == 1",
        "args.l[100000] == 1",
        "int(args.s) == 1",
        "args.s + 1 == 2",
        "args.n",
        "args.s.matches(args.s)",
    ],
)
def test_c051_a_rule_that_raises_or_would_hang(require: str) -> None:
    """Every one of them is wrong or endless; `args.n` is refused when the contract is loaded."""
    schema = properties(l={"type": "array", "items": {"type": "integer"}}, n={"type": "integer"}, s=TEXT)
    try:
        world = World(contract(schema, rules=[RULE | {"require": require}]))
    except PolicyError:
        assert require == "args.n"
        return
    judged = refused(world.judge({"l": list(range(2_000)), "n": 1, "s": "("}))
    assert judged.reason is ReasonCode.RULE_ERROR
    assert "(" not in judged.message


def test_c051_a_rule_is_not_run_over_more_than_it_may_read() -> None:
    schema = properties(l={"type": "array", "items": {"type": "integer"}}, s=TEXT)
    world = World(contract(schema, rules=[RULE | {"require": "args.l.all(x, (args.s + args.s).size() > 0)"}]))
    passed(world.judge({"l": [1, 2, 3], "s": "x" * 200_000}))
    assert refused(world.judge({"l": list(range(9_000)), "s": "x" * 200_000})).reason is ReasonCode.RULE_ERROR


def test_c139_a_tool_that_changes_its_arguments_changes_nothing() -> None:
    world = World(contract(properties(l={"type": "array", "items": NESTED, "default": [{"sku": "1"}]})))
    shaped = world.shaped({})
    before = (shaped.effective, shaped.digest, shaped.masked)
    mine = world.compiled.fresh(shaped.effective)
    mine["l"][0]["sku"] = "2"
    mine["l"].append("x")
    assert world.compiled.fresh(shaped.effective) == {"l": [{"sku": "1"}]}
    assert (shaped.effective, shaped.digest, shaped.masked) == before
    assert world.shaped({}).effective == before[0]


def test_c131_a_fault_of_a_fact_says_nothing() -> None:
    facts = Facts()
    facts.register("order", lambda ctx, id: {}["row 7 of bob"])
    world = World(
        contract(properties(("id",), id=TEXT), facts={"order": {"provider": "order", "args": ["id"]}}),
        facts,
    )
    judged = refused(world.judge({"id": "7"}))
    assert judged.reason is ReasonCode.FACT_UNAVAILABLE
    assert "bob" not in judged.message + judged.suggestion
    assert "bob" in judged.detail
