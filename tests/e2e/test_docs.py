"""The documentation does not rot: pages are followed, generated pages are fresh, links and names exist."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from examples.scripted_openai import ScriptedOpenAI
from examples.scripted_openai.pages import pages_script
from gateway.domain import event
from scripts import cli_reference, policy_reference
from tests.architecture.source import ROOT, tracked
from tests.e2e.pages import Reader

DOCS = ROOT / "docs"


@pytest.fixture
def model() -> Iterator[dict[str, str]]:
    """The environment of a model that says what the pages say it says."""
    with ScriptedOpenAI(pages_script()) as server:
        yield {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.api_key}


PAGES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.docker] if path.stem == "sandbox" else [])
    for path in (DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md")))
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_happens(page: Path, tmp_path: Path, model: dict[str, str]) -> None:
    Reader(tmp_path, **model).follow(page)


TEXTS = [
    ROOT / name
    for name in tracked()
    if name.endswith(".md") and not name.startswith(("tests/", "benchmarks/", "requirements/"))
]
_FENCED = re.compile(r"```.*?```", re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_policy_reference_is_fresh() -> None:
    assert policy_reference.PAGE.read_text(encoding="utf-8") == policy_reference.page(), policy_reference.COMMAND


def test_the_command_reference_is_fresh() -> None:
    assert cli_reference.PAGE.read_text(encoding="utf-8") == cli_reference.page(), cli_reference.COMMAND


def test_every_event_and_every_field_is_described_in_order() -> None:
    section = (DOCS / "audit-format.md").read_text(encoding="utf-8").partition("\n## Events\n")[2]
    described = {
        part.split("\n", 1)[0].partition(":")[0]: re.findall(
            r"`([a-z_]+)`", " ".join(re.findall(r"^\| (`.*?) \|", part, re.M))
        )
        for part in section.split("\n### ")[1:]
    }
    events = {kind.kind: kind for kind in get_args(event.Event)} | {"call": event.Subject}
    assert set(described) - {"Equal numbers", "Keyed digests"} == set(events)
    for name, kind in events.items():
        assert described[name] == [field.name for field in dataclasses.fields(kind)], name


@pytest.mark.parametrize("path", TEXTS, ids=_id)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = _CODE.sub("", _FENCED.sub("", path.read_text(encoding="utf-8")))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name) if name else path
        assert there.exists(), f"{path.name}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}, target


@pytest.mark.parametrize("path", TEXTS, ids=_id)
def test_every_file_and_command_named_exists(path: Path) -> None:
    """Paths of this repository, `make` targets, `toolgate` commands and their options, in code marks and consoles."""
    text = path.read_text(encoding="utf-8")
    named = [*_CODE.findall(_FENCED.sub("", text)), *re.findall(r"^\$ (.*)$", text, re.M)]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    known = {words[1:]: cli_reference.help_text(words) for words in cli_reference.commands()}
    wrong = []
    for code in named:
        if re.fullmatch(r"(?:gateway|sandbox|tests|scripts|policies|examples|benchmarks|docs)/[\w./-]*", code):
            wrong += [] if (ROOT / code).exists() else [code]
        elif made := re.fullmatch(r"make ([a-z]+)", code):
            wrong += [] if made[1] in targets else [code]
        elif code.startswith("toolgate ") and not code.startswith("toolgate --") and "..." not in code:
            words = tuple(itertools.takewhile(lambda word: re.fullmatch(r"[a-z]+(-[a-z]+)*", word), code.split()[1:]))
            found = max((name for name in known if words[: len(name)] == name), key=len)
            options = re.findall(r"(?<= )--?[a-z-]+", re.split(r" (?:&&|\|) ", code)[0])
            if not found or any(option not in known[found] for option in options):
                wrong.append(code)
    assert not wrong
