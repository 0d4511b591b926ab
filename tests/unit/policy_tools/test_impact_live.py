"""What decided a recorded call and is not in its arguments: the time, the calls before it, what a guard found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import Gateway, ToolCall
from gateway.policy.loader import load
from gateway.policy_tools.explain import explain, find
from gateway.policy_tools.impact import Impact, impact
from gateway.policy_tools.recorded import RecordedCalls
from tests.support import ANA, tool, write_policies

NOWHERE = "https://nowhere.invalid/"


def act(text: str) -> str:
    return str(text)


def move(a: str, b: str) -> str:
    return a + b


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "there.txt").write_text("a")
    return tmp_path / "files"


@pytest.fixture
def ask(tmp_path: Path, root: Path) -> Callable[..., Impact]:
    """Ask with each text under `contract`, then judge it all by `candidate`, or by the same policy."""

    def asked(texts: list[str], contract: dict[str, object], candidate: dict[str, object] | None = None) -> Impact:
        folder = _write(tmp_path / "policies", root, contract)
        with Gateway.from_policies(folder, home=tmp_path / "home", origin="live") as gateway:
            gateway.register(act)
            session = gateway.session(ANA)
            for number, text in enumerate(texts):
                session.judge_sync([ToolCall(f"c{number}", "act", {"text": text})])
        return judged_by(tmp_path, root, contract if candidate is None else candidate)

    return asked


def judged_by(tmp_path: Path, root: Path, contract: dict[str, object]) -> Impact:
    candidate = load(_write(tmp_path / "candidate", root, contract))
    return impact(candidate, tmp_path / "home" / "audit")


def _write(folder: Path, root: Path, contract: dict[str, object]) -> Path:
    return write_policies(folder, [tool(act, **contract)], settings={"roots": {"files": str(root)}})


def _rule(require: str) -> dict[str, object]:
    return {"rules": [{"id": "bound", "require": require, "tell_model": "No."}]}


PATH = {"guards": {"text": {"kind": "path", "root": "files"}}}
URL = {"guards": {"text": {"kind": "url", "hosts": ["nowhere.invalid"]}}}


@pytest.mark.parametrize(
    ("contract", "texts", "judged"),
    [
        (_rule("session.calls <= 2"), ["a", "b", "c"], 0),
        (_rule('session.conversation != ""'), ["a"], 1),
        (_rule('session["calls"] <= 1'), ["a", "b"], 0),
        (PATH, ["there.txt", "missing.txt", "../x"], 2),
        (URL, [NOWHERE, "https://elsewhere.invalid/"], 1),
    ],
)
def test_the_policy_that_decided_changes_nothing_whatever_it_decided_by(
    ask: Callable[..., Impact], contract: dict[str, object], texts: list[str], judged: int
) -> None:
    found = ask(texts, contract)
    assert found.changes == []
    assert found.judged == judged
    assert sum(found.undecidable.values()) == len(texts) - judged


@pytest.mark.parametrize(
    ("recorded", "judged", "said"),
    [
        ("2015-02-03T04:05:06.000007Z", 1, ""),
        ("soon", 0, "'soon' is no time; write it like 2026-01-31T09:30:00Z"),
        ("2015-02-03T04:05:06", 0, "'2015-02-03T04:05:06' is no time; write it like 2026-01-31T09:30:00Z"),
    ],
)
def test_a_rule_on_the_time_is_asked_about_the_time_of_the_call(
    ask: Callable[..., Impact], tmp_path: Path, root: Path, recorded: str, judged: int, said: str
) -> None:
    ask(["a"], {})
    segment = next((tmp_path / "home/audit").rglob("*.jsonl"))
    segment.write_text(re.sub('"time":"[^"]*"', f'"time":"{recorded}"', segment.read_text()))  # nobody verifies here
    found = judged_by(tmp_path, root, _rule('now == timestamp("2015-02-03T04:05:06.000007Z")'))
    assert (found.judged, found.same) == (judged, judged)
    assert list(found.undecidable) == ([said] if said else [])


def test_a_guard_that_is_gone_is_judged_and_comes_first(ask: Callable[..., Impact]) -> None:
    found = ask([NOWHERE], URL, {})
    assert [change.kind for change in found.changes] == [("deny", "allow")]
    assert not found.undecidable


def test_a_wider_list_of_hosts_is_judged(ask: Callable[..., Impact]) -> None:
    wider = {"guards": {"text": {"kind": "url", "hosts": ["nowhere.invalid", "elsewhere.invalid"]}}}
    found = ask(["https://elsewhere.invalid/", "https://127.0.0.1/"], URL, wider)
    assert [change.kind for change in found.changes] == [("deny", "allow")]
    assert found.same == 1


def test_explain_does_not_say_that_it_would_be_found_well(ask: Callable[..., Impact], tmp_path: Path) -> None:
    ask(["missing.txt"], PATH)
    (call,) = RecordedCalls(tmp_path / "home" / "audit")
    past = find(tmp_path / "home" / "audit", call.call_id)
    assert past is not None
    found = explain(past, load(tmp_path / "policies", locked=False), None)
    assert found.verdict is None
    assert "refused what it found then" in found.why_not


def test_two_facts_of_one_provider_may_differ(tmp_path: Path) -> None:
    facts = {"mine": {"provider": "size", "args": ["a"]}, "theirs": {"provider": "size", "args": ["b"]}}
    rules = [{"id": "smaller", "require": "facts.mine < facts.theirs", "tell_model": "No."}]
    made = tool(move, facts=facts, rules=rules)
    folder = write_policies(tmp_path / "policies", [made])
    with Gateway.from_policies(folder, home=tmp_path / "home", origin="live") as gateway:
        gateway.register(move)
        gateway.register_fact("size", lambda _, a=None, b=None: len(a or b))
        session = gateway.session(ANA)
        for number, pair in enumerate((("x", "yy"), ("xx", "y"))):
            session.judge_sync([ToolCall(f"c{number}", "move", dict(zip("ab", pair, strict=True)))])
    found = impact(load(folder), tmp_path / "home" / "audit")
    assert (found.judged, found.same, dict(found.undecidable)) == (2, 2, {})
