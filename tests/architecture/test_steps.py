"""The numbered steps read alike in gateway/pipeline.py, in `Step` and in docs/architecture.md: one drawing for all."""

from __future__ import annotations

import re

from gateway.domain.decision import Step
from tests.architecture.source import ROOT

STEPS = {step.name.lower(): step.value for step in Step}


def _numbered(text: str) -> list[tuple[str, int]]:
    """Every `4 validate` (with whatever markup between) in a text."""
    names = "|".join(STEPS)
    return [(name, int(number)) for number, name in re.findall(rf"\b(\d)[.:)|`*\s]+({names})\b", text)]


def test_the_pipeline_names_every_step_by_its_number() -> None:
    text = (ROOT / "gateway/pipeline.py").read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    assert dict(_numbered(docstring)) == STEPS
    assert len(_numbered(docstring)) == len(STEPS)


def test_each_step_is_taken_under_its_number() -> None:
    """The line that takes a step ends in its number; where it calls a stage (`to.limit(call)`), in that stage's."""
    lines = [line for line in (ROOT / "gateway/pipeline.py").read_text(encoding="utf-8").splitlines() if "(" in line]
    taken = [(line, int(comment[1])) for line in lines if (comment := re.search(r"\)\s+# (\d)\b", line))]
    assert {number for _, number in taken} == set(STEPS.values())
    for line, number in taken:
        if stage := re.search(rf"\bto\.({'|'.join(STEPS)})\b", line):
            assert STEPS[stage[1]] == number, line.strip()


def test_the_documentation_numbers_the_steps_alike() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    found = _numbered(text)
    assert dict(found) == STEPS
    assert all(STEPS[name] == number for name, number in found)
