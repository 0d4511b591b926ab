"""Output files are bytes in memory, bounded, with a type that their content bears out (C107)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.frame import MOST_FILES, MOST_OUTPUT_BYTES
from sandbox.outputs import UNKNOWN, Collector, media_type

PNG = b"\x89PNG\r\n\x1a\n..."


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("plot.png", PNG, "image/png"),
        ("plot.PNG", PNG, "image/png"),
        ("plot.png", b"<script>", UNKNOWN),
        ("plot.jpg", PNG, UNKNOWN),
        ("data.csv", b"a,b\n", "text/csv"),
        ("data.csv", b"\xff\xfe", UNKNOWN),
        ("data.csv", b"a\0b", UNKNOWN),
        ("page.html", PNG, UNKNOWN),
        ("a.json", b"{}", "application/json"),
        ("csv", b"a", UNKNOWN),
        ("a.exe", b"MZ", UNKNOWN),
    ],
)
def test_a_type_needs_name_and_content(name: str, content: bytes, expected: str) -> None:
    assert media_type(name, content) == expected


@given(st.lists(st.tuples(st.sampled_from(["begin", "add"]), st.binary(max_size=120)), max_size=60))
def test_c107_whatever_comes_the_result_is_bounded_and_plain(steps: list[tuple[str, bytes]]) -> None:
    collector = Collector()
    try:
        for step, data in steps:
            getattr(collector, step)(data)
    except ValueError:
        pass
    for artifact in collector.artifacts():
        assert "/" not in artifact.name
        assert not artifact.name.startswith((".", "-"))


def test_c107_files_and_bytes_are_counted() -> None:
    collector = Collector()
    collector.begin(b"a")
    collector.add(bytes(MOST_OUTPUT_BYTES))
    with pytest.raises(ValueError, match="too many"):
        collector.add(b"x")
    collector = Collector()
    for number in range(MOST_FILES):
        collector.begin(b"f%d" % number)
    with pytest.raises(ValueError, match="too many"):
        collector.begin(b"one.more")
