"""The frame that the host writes is the one that the in-container runner reads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sandbox import SandboxProfile
from sandbox.failure import InputRefused
from sandbox.frame import INPUT_NAME, frame
from sandbox.image import runner

SPEC = SandboxProfile.from_mapping(
    yaml.safe_load((Path(__file__).parents[3] / "policies/sandbox/python.yaml").read_text())
).pinned_to("sha256:" + "a" * 64)


def read_back(data: bytes) -> tuple[dict[str, bytes], bytes, bytes]:
    """Inputs, code and what is left on descriptor 0, read by the runner's own function."""
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)
    writer = threading.Thread(target=lambda: (os.write(writing, data), os.close(writing)))
    writer.start()
    try:
        inputs, code = runner.read_frame()
        return inputs, code, os.read(0, 1 << 16)
    finally:
        writer.join()
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reading)


names = st.from_regex(INPUT_NAME, fullmatch=True)


@given(st.dictionaries(names, st.binary(max_size=200), max_size=5), st.binary(max_size=500), st.binary(max_size=50))
def test_round_trip_leaves_the_rest_to_the_program(inputs: dict[str, bytes], code: bytes, rest: bytes) -> None:
    assert read_back(frame(SPEC, code, inputs) + rest) == (inputs, code, rest)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "/etc/x", ".hidden", "a\n", "a\0", "é", "-rf", "x" * 101])
def test_an_input_is_one_plain_file_name(name: str) -> None:
    with pytest.raises(InputRefused):
        frame(SPEC, b"", {name: b""})


def test_code_and_inputs_together_keep_to_the_cap() -> None:
    frame(SPEC, b"x" * 10, {"a": b"y" * (SPEC.input_cap - 10)})
    with pytest.raises(InputRefused, match="exceed"):
        frame(SPEC, b"x" * 11, {"a": b"y" * (SPEC.input_cap - 10)})


@pytest.mark.parametrize("cut", [0, 3, 8, 20])
def test_a_cut_frame_runs_nothing(cut: int) -> None:
    with pytest.raises(EOFError):
        read_back(frame(SPEC, b"print(1)", {"a": b"b"})[:cut])
