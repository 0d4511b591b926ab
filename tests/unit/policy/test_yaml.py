"""The strict YAML reader: plain data with places, and a clear refusal of everything else (C034)."""

from __future__ import annotations

import re

import orjson
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.domain.errors import PolicyError
from gateway.policy.yaml import MAX_DEPTH, MAX_VALUES, Place, read_yaml


def read(text: str | bytes) -> object:
    return read_yaml(text.encode() if isinstance(text, str) else text, file="x.yaml").data


def refusal(text: str | bytes) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1.2.3", "1.2.3"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("''", ""),
        ("7", 7),
        ("-7", -7),
        ("7.5", 7.5),
        ("1e3", 1000.0),
        ("'7'", "7"),
        ('"true"', "true"),
    ],
)
def test_c034_scalars_follow_the_core_schema(text: str, meaning: object) -> None:
    value = read(f"a: {text}")
    assert value == {"a": meaning}
    assert type(value["a"]) is type(meaning)  # type: ignore[index]


@pytest.mark.parametrize("text", ["007", "0x1F", "0o17", "1_000", ".inf", "-.inf", ".nan", "1e400", "9007199254740992"])
def test_c034_a_number_with_two_readings_is_refused(text: str) -> None:
    error = refusal(f"a: 1\nb: {text}")
    assert (error.file, error.line, error.column) == ("x.yaml", 2, 4)
    assert "too large" in error.message or "Quote it" in error.message


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "second time (first on line 1)"),
        ("a:\n  b: 1\n  b: 1\n", 3, 3, "second time"),
        ("a: 1\n'a': 2", 2, 1, "second time"),
        ("a: &x 1", 1, 4, "anchors"),
        ("a: *x", 1, 4, "aliases"),
        ("&x a: 1", 1, 1, "anchors"),
        ("a: !!str 1", 1, 4, "tag"),
        ("a: !python/object/apply:os.system [x]", 1, 4, "tag"),
        ("a: 1\n--- \nb: 2", 2, 1, "second document"),
        ("%YAML 1.1\n---\na: 1", 1, 1, "directives"),
        ("<<: {a: 1}", 1, 1, "merge"),
        ("1: a", 1, 1, "key must be text"),
        ("a: {b: Why, in your words}", 1, 26, "quote text with a comma"),
        ("a:\nb: 1", 1, 3, "a value is missing"),
        ("- a\n-\n", 2, 2, "a value is missing"),
        ("? [a]\n: b", 1, 3, "key must be text"),
        ("a: b: c", 1, 5, "not YAML"),
        ("a:\n\tb: c", 2, 1, "not YAML"),
        ("a: 1\nb: \u202ec", 2, 4, "U+202E"),
        ("a: 1\x00", 1, 5, "U+0000"),
        ("a: 1\rb: 2", 1, 5, "U+000D"),
        ("\ufeffa: 1", 1, 1, "byte order mark"),
    ],
)
def test_c034_refused_with_its_place(text: str, line: int, column: int, says: str) -> None:
    error = refusal(text)
    assert (error.line, error.column) == (line, column), error
    assert says in error.message


def test_c034_the_billion_laughs_stop_at_the_first_anchor() -> None:
    error = refusal("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    assert error.line == 1


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 50_000 + "x", "{a: " * 20_000])
def test_c034_depth_is_capped_before_the_stack_is(text: str) -> None:
    assert f"deeper than {MAX_DEPTH}" in refusal(text).message


def test_c034_size_is_capped() -> None:
    assert "at most" in refusal("#" * 300_000).message
    assert f"more than {MAX_VALUES}" in refusal("[" + "1," * 40_000 + "1]").message


def test_not_utf8_and_empty_files_are_refused() -> None:
    assert refusal(b"a: 1\nb: \xff").line == 2
    assert "empty" in refusal("# nothing\n").message


def test_places_of_keys_and_values() -> None:
    document = read_yaml(b"a: 1\nb:\n  - x\n  - c: y\n", file="x.yaml")
    assert document.place(("b", 1, "c")) == Place(4, 8)
    assert document.place(("b", 1, "c"), key=True) == Place(4, 5)
    assert document.place(("b", "tag", 1, "missing")) == Place(4, 5), "what is not in the file is passed over"


HIDDEN = re.compile("[\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(alphabet=st.characters(codec="ascii")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_json_is_read_as_json(value: object) -> None:
    """YAML 1.2 is a superset of JSON: what a JSON writer escapes arrives unchanged."""
    text = orjson.dumps({"root": value}, option=orjson.OPT_INDENT_2)
    assume(not HIDDEN.search(text.decode()))  # a JSON writer leaves some of them as they are; refused above
    assert read(text) == {"root": value}


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_input_gives_plain_data_or_a_policy_error(raw: str | bytes) -> None:
    try:
        found = read(raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw)
    except PolicyError:
        return
    orjson.dumps(found)


@given(
    st.lists(
        st.sampled_from(["a: 1", "  b: no", "- x", "[1, 2", "]", "c: {d: e}", "'q': ~", "|", "  text"]), max_size=8
    )
)
def test_what_is_accepted_agrees_with_pyyaml_on_shape(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        ours = read(text)
    except PolicyError:
        return
    theirs = yaml.load(text, Loader=yaml.BaseLoader)  # BaseLoader: the same shape, every scalar a string
    assert _shape(ours) == _shape(theirs)


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shape(sub) for key, sub in value.items()}
    return [_shape(sub) for sub in value] if isinstance(value, list) else "scalar"
