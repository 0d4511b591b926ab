"""C030, C038: calls from eight threads while the policy is exchanged beneath them, through a whole gateway.

Two versions that differ in a right, a rule and a schema take turns in the folder. Every outcome names the version it
was judged by, and must be what exactly that version says: never the one, never the other, never a mixture.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway import Denied, Gateway, Released, ToolCall
from gateway.audit.memory import MemoryLog
from gateway.clock import SystemClock
from gateway.domain.call import Outcome
from gateway.policy.loader import load
from tests.support import ANA, tool, write_policies

THREADS = 8
ENOUGH = 1_000_000_000
SETTINGS = {"loop": {"calls_per_conversation": ENOUGH, "repeats": ENOUGH, "consecutive_denials": ENOUGH}}


def echo(n: int) -> int:
    return n


def spare(n: int) -> int:
    return n


def _version(folder: Path, require: str, most: int, rows: tuple[str, ...]) -> Path:
    rule = [{"id": "bound", "require": require, "tell_model": "No."}]
    made = tool(echo, rules=rule, execution={"inline": True})
    made.contract["parameters"]["properties"]["n"]["maximum"] = most
    write_policies(folder, [made, tool(spare, execution={"inline": True})], settings=SETTINGS, rows=rows)
    return folder


# What each version says, by what is asked: the reason of the denial, or nothing.
SAYS = {
    "a": {("echo", 5): "", ("echo", 15): "rule", ("echo", 25): "schema", ("spare", 1): ""},
    "b": {("echo", 5): "rule", ("echo", 15): "", ("echo", 25): "", ("spare", 1): "deny_rule"},
}
ASKED = list(SAYS["a"])


def _said(outcome: Outcome) -> str:
    if isinstance(outcome, Denied):
        return outcome.refusal.reason.value
    assert isinstance(outcome, Released), outcome
    return ""


def exchange(tmp_path: Path, calls: int, reloads: int) -> Counter[tuple[str, str]]:
    """`calls` calls from eight threads during `reloads` reloads: how many by version and what was said. Raises."""
    versions = {
        "a": _version(tmp_path / "a", "args.n <= 10", 20, ()),
        "b": _version(tmp_path / "b", "args.n >= 11", 30, ("p, user:ana, spare, call, deny",)),
    }
    digests = {load(folder).digest: name for name, folder in versions.items()}
    texts = {
        name: {path: (folder / path).read_bytes() for path in ("policy.csv", "tools/echo.yaml")}
        for name, folder in versions.items()
    }
    in_force = _version(tmp_path / "policies", "args.n <= 10", 20, ())
    log = MemoryLog("reloads", SystemClock())
    turn = threading.Semaphore(0)  # given once for every share of the calls that was made
    share = max(1, calls // THREADS // (reloads * 2))

    with Gateway.from_policies(in_force, home=tmp_path / "home", origin="reloads", log=log) as gateway:
        gateway.register(echo)
        gateway.register(spare)

        def asking(thread: int) -> Counter[tuple[str, str]]:
            seen: Counter[tuple[str, str]] = Counter()
            session = gateway.session(ANA, conversation=f"thread-{thread}")
            for number in range(calls // THREADS):
                name, n = ASKED[(number + thread) % len(ASKED)]
                (outcome,) = session.judge_sync([ToolCall(f"c{number}", name, json.dumps({"n": n}))])
                version = digests[outcome.ctx.policy_digest]
                assert _said(outcome) == SAYS[version][name, n], (version, name, n, outcome)
                seen[version, _said(outcome)] += 1
                if number % share == share - 1:
                    turn.release()
            return seen

        def reloading() -> int:
            done = 0
            for number in range(reloads):
                assert turn.acquire(timeout=600)
                for path, text in texts["b" if number % 2 == 0 else "a"].items():
                    (in_force / path).write_bytes(text)
                done += gateway.reload()
                log.lines.clear()  # a million calls leave two million records
            return done

        with ThreadPoolExecutor(THREADS + 1) as pool:
            work = [pool.submit(asking, thread) for thread in range(THREADS)]
            assert pool.submit(reloading).result() == reloads
            return sum((each.result() for each in work), Counter())


def test_c030_c038_calls_from_eight_threads_see_one_version_each_while_it_is_exchanged(tmp_path: Path) -> None:
    seen = exchange(tmp_path, calls=8_000, reloads=10)
    assert sum(seen.values()) == 8_000
    assert set(seen) == {(version, said) for version, answers in SAYS.items() for said in answers.values()}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_soak_c030_a_million_calls_during_a_hundred_reloads(tmp_path: Path) -> None:
    seen = exchange(tmp_path, calls=1_000_000, reloads=100)
    assert sum(seen.values()) == 1_000_000
    assert len(seen) == 6
