"""I1 and I2 at step 1: whatever comes, it is one object or a refusal, and text, bytes and object mean the same."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.call import ParsedCall, RawCall
from gateway.domain.canonical import canonical
from gateway.domain.decision import Refusal
from gateway.parse.stage import Parse
from gateway.policy.documents import ArgumentLimits
from tests.property.test_canonical import printable, said
from tests.unit.validate.world import KEY, context

PARSE = Parse(ArgumentLimits(), KEY)
_JSONISH = st.text(st.sampled_from('{}[]",:\\/0123456789+-.eEtrufalsn \t\n\ud800\u00e9\x00"'), max_size=60)


def parse(arguments: object) -> ParsedCall | Refusal:
    return PARSE(RawCall(context(), "act", arguments))


@given(st.dictionaries(printable, said))
def test_i1_text_bytes_and_object_mean_the_same(value: dict[str, object]) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    results = [parse(text), parse(text.encode()), parse(value)]
    for result in results:
        assert isinstance(result, ParsedCall)
        assert result.arguments == value
        assert result.wire_digest == results[0].wire_digest  # type: ignore[union-attr]


@given(_JSONISH | _JSONISH.map(lambda inside: f'{{"a":{inside}}}'))
def test_i1_accepted_text_is_read_as_every_other_reader_reads_it(text: str) -> None:
    """The standard decoder is the oracle; what it takes and we refuse is the subject of the catalogue's tests."""
    result = parse(text)
    if isinstance(result, ParsedCall) and text:
        assert json.loads(text) == result.arguments
        assert json.loads(canonical(result.arguments)) == result.arguments


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda inside: b'{"a":"' + inside + b'"}'))
def test_i2_any_bytes_end_in_a_value_or_a_refusal(wire: bytes) -> None:
    result = parse(wire)
    assert isinstance(result, ParsedCall | Refusal)
    if isinstance(result, Refusal):
        result.message.encode()
        assert result.message.isprintable()


@given(
    st.recursive(
        st.floats() | st.integers() | st.text() | st.binary() | st.none(),
        lambda v: st.lists(v) | st.tuples(v) | st.dictionaries(st.text() | st.integers(), v),
        max_leaves=10,
    )
)
def test_i2_any_object_ends_in_a_value_or_a_refusal(arguments: object) -> None:
    assert isinstance(parse(arguments), ParsedCall | Refusal)
    assert isinstance(parse({"a": arguments}), ParsedCall | Refusal)
