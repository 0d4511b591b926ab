"""What the host sends is what `sandbox/image/runner.py` documents, and nothing that does not fit is sent."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sandbox import SandboxProfile
from sandbox.failure import InputRefused
from sandbox.frame import INPUT_NAME, MOST_FILES, MOST_OUTPUT_BYTES, Request, encoded, greeting

DOCUMENT = yaml.safe_load((Path(__file__).parents[3] / "policies/sandbox/python.yaml").read_text())
SPEC = SandboxProfile.from_mapping(DOCUMENT).pinned_to("sha256:" + "a" * 64)


def read_back(data: bytes) -> tuple[Request, int]:
    """The request and its alarm, read by a second reading of the documented format."""
    wire = io.BytesIO(data)

    def number(form: str) -> int:
        return int(struct.unpack(form, wire.read(struct.calcsize(form)))[0])

    keep, alarm, files, size = struct.unpack(">BIIQ", wire.read(17))
    assert (files, size) == (MOST_FILES, MOST_OUTPUT_BYTES)
    inputs = {}
    for _ in range(number(">I")):
        name = wire.read(number(">H")).decode()
        inputs[name] = wire.read(number(">Q"))
    stdin = wire.read(number(">Q"))
    code = wire.read(number(">Q"))
    assert wire.read() == b""
    return Request(code, inputs, stdin, bool(keep)), alarm


names = st.from_regex(INPUT_NAME, fullmatch=True)


@given(
    st.dictionaries(names, st.binary(max_size=200), max_size=5),
    st.binary(max_size=500),
    st.binary(max_size=50),
    st.booleans(),
    st.floats(0.1, 20_000),
)
def test_round_trip(inputs: dict[str, bytes], code: bytes, stdin: bytes, keep: bool, seconds: float) -> None:
    request = Request(code, inputs, stdin, keep)
    read, alarm = read_back(encoded(SPEC, request, seconds))
    assert read == request
    assert seconds < alarm <= seconds + 6  # the container outlives the host's patience, by little


def test_the_greeting_names_what_to_load() -> None:
    spec = SandboxProfile.from_mapping({**DOCUMENT, "preload": ["json", "csv"]}).pinned_to("sha256:" + "a" * 64)
    assert greeting(spec) == b"TGSB2\n\0\0\0\x08json\ncsv"
    assert greeting(SPEC) == b"TGSB2\n\0\0\0\0"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "/etc/x", ".hidden", "a\n", "a\0", "é", "-rf", "x" * 101])
def test_an_input_is_one_plain_file_name(name: str) -> None:
    with pytest.raises(InputRefused):
        encoded(SPEC, Request(b"", {name: b""}), 1)


def test_code_stdin_and_inputs_together_keep_to_the_cap() -> None:
    encoded(SPEC, Request(b"x" * 10, {"a": b"y" * (SPEC.input_cap - 15)}, b"12345"), 1)
    with pytest.raises(InputRefused, match="exceed"):
        encoded(SPEC, Request(b"x" * 10, {"a": b"y" * (SPEC.input_cap - 15)}, b"123456"), 1)
