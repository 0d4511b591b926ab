"""I5 beyond one arrow: kills at any moment, restored databases, and who may look before anybody starts again."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.clear.recovery import Finding
from gateway.domain.call import Outcome
from gateway.domain.errors import UsageError
from gateway.office import Office
from tests.fault.crashing import tools
from tests.fault.nursery import Found, Nursery, deployment, settle_all
from tests.support import ANA, one, open_gateway, reason, result


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = deployment(tmp_path)
    yield made
    made.close()


def _kill_at_random(nursery: Nursery, kills: int, seed: int) -> Found:
    moments = random.Random(seed)  # the kernel's scheduling adds the real randomness
    for number in range(kills):
        nursery.kill_after(moments.uniform(0.0, 0.1), {"do": "busy", "tag": f"{seed}-{number}"})
    nursery.do({"do": "probe"})
    found = Found(nursery.base)
    found.explained()
    return found


def test_c073_killed_at_random_moments(nursery: Nursery) -> None:
    found = _kill_at_random(nursery, 25, 1)
    assert found.refunds
    settle_all(nursery.base, found)
    Found(nursery.base).explained()


@pytest.mark.soak
def test_soak_killed_at_random_moments(nursery: Nursery) -> None:
    for seed in range(20):
        _kill_at_random(nursery, 100, seed)


FRESH = """
import sys
from pathlib import Path
from tests.fault.crashing import tools
from tests.support import ANA, one, open_gateway, reason
base = Path(sys.argv[1])
with open_gateway(base, *tools(base)) as gateway:
    session = gateway.session(ANA)
    print(reason(one(session, "refund", order="A-1", cents=5, reference="again")))
"""


def test_c073_a_fresh_interpreter_finds_the_same(nursery: Nursery) -> None:
    nursery.kill_at("effect_done", {"do": "refund", "order": "A-1", "reference": "A-1"})
    said = subprocess.run(
        [sys.executable, "-c", FRESH, str(nursery.base)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert said.stdout.split() == ["effect_held"]
    found = Found(nursery.base)
    found.explained()
    assert found.refunds == {"A-1": 1}


def test_c125_an_intent_without_outcome_is_reported_before_anybody_starts_again(nursery: Nursery) -> None:
    nursery.kill_at("intended", {"do": "refund", "order": "A-1", "reference": "A-1"})
    call = Found(nursery.base).call_for("A-1")
    assert call is not None
    assert call.unfinished
    assert call.outcome is None


@pytest.mark.parametrize(("finding", "lets_go"), [("happened", True), ("did_not_happen", True), ("cannot_tell", False)])
def test_c130_only_a_finding_lets_go_of_the_order(nursery: Nursery, finding: Finding, lets_go: bool) -> None:
    base = nursery.base
    nursery.kill_at("effect_begun", {"do": "refund", "order": "A-1", "reference": "A-1"})
    with open_gateway(base, *tools(base)) as gateway:
        call = Found(base).call_for("A-1")
        assert call is not None
        with Office.open(base / "policies", base / "home") as office, pytest.raises(UsageError, match="alive"):
            office.settle(call, finding, by="max", why="looked into the ledger")
        gateway.close()
    with Office.open(base / "policies", base / "home") as office:
        assert office.settle(call, finding, by="max", why="looked into the ledger")
    for origin in ("gw", "gw", "another"):  # it is so for every process, and after every start
        with open_gateway(base, *tools(base), origin=origin) as gateway:
            said = one(gateway.session(ANA), "refund", order="A-1", cents=3, reference=f"again-{origin}")
            assert lets_go or reason(said) == "effect_held"
    assert Found(base).refunds["again-gw"] == (2 if lets_go else 0)


@pytest.mark.parametrize(("place", "said"), [("claimed", "released"), ("intended", "effect_held")])
def test_c073_c130_another_process_explains_what_one_that_never_comes_back_left(
    nursery: Nursery, place: str, said: str
) -> None:
    nursery.kill_at(place, {"do": "refund", "order": "A-1", "reference": "A-1", "origin": "first"})
    again = nursery.do({"do": "probe", "orders": ["A-1"], "tag": "again", "origin": "second"})["again"]
    assert said in again[0]
    found = Found(nursery.base)
    found.explained()
    assert found.refunds["A-1"] == 0


def test_c073_a_living_process_is_not_explained_by_another(nursery: Nursery) -> None:
    base = nursery.base
    at_work, go_on = threading.Event(), threading.Event()

    def slowly(place: str) -> None:
        if place == "effect_begun":
            at_work.set()
            go_on.wait()

    with open_gateway(base, *tools(base, slowly), origin="first") as gateway:
        said: list[Outcome] = []
        session = gateway.session(ANA)
        caller = threading.Thread(
            target=lambda: said.append(one(session, "refund", order="A-1", cents=5, reference="A-1"))
        )
        caller.start()
        at_work.wait()
        try:
            again = nursery.do({"do": "probe", "orders": ["A-1"], "tag": "again"})["again"]
        finally:
            go_on.set()
            caller.join()
        assert again == [["denied", "busy"]]
        assert result(said[0]) == {"refunded": 5}
    nursery.do({"do": "probe"})
    Found(base).explained()


def _back_up(base: Path) -> Path:
    kept = base / "backup.db"
    with (
        closing(sqlite3.connect(base / "home" / "state" / "state.db")) as source,
        closing(sqlite3.connect(kept)) as target,
    ):
        source.backup(target)
    return kept


def _restore(base: Path, kept: Path) -> None:
    state = base / "home" / "state"
    for leftover in state.iterdir():
        leftover.unlink()
    shutil.copy(kept, state / "state.db")
    (state / "state.db").chmod(0o600)


@pytest.mark.parametrize("origin", ["gw", "another"])
def test_c127_a_restored_database_brings_no_grant_back(nursery: Nursery, origin: str) -> None:
    base = nursery.base
    requests = nursery.do({"do": "park", "orders": ["A-1", "A-2", "A-3", "A-4"]})
    kept = _back_up(base)
    assert nursery.do({"do": "resume", "request": requests[0]})[0] == "released"
    nursery.kill_at("claimed", {"do": "resume", "request": requests[1]})
    nursery.kill_at("intended", {"do": "resume", "request": requests[2]})
    _restore(base, kept)
    said = nursery.do({"do": "probe", "requests": requests, "origin": origin})["resumed"]
    assert said[:3] == [["denied", "grant_spent"]] * 3
    assert said[3][0] == "released"  # it was never used
    assert Found(base).refunds == {"A-1": 1, "A-4": 1}


@pytest.mark.parametrize("origin", ["gw", "another"])
def test_c127_c130_a_restored_database_forgets_no_doubt(nursery: Nursery, origin: str) -> None:
    base = nursery.base
    nursery.do({"do": "probe"})
    kept = _back_up(base)
    nursery.kill_at("effect_done", {"do": "refund", "order": "A-1", "reference": "A-1"})
    _restore(base, kept)
    said = nursery.do({"do": "probe", "orders": ["A-1"], "tag": "again", "origin": origin})["again"]
    assert said == [["denied", "effect_held"]]
    assert Found(base).refunds == {"A-1": 1}
