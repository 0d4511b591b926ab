"""A process that can be killed at any arrow of one call, cheaply: a nursery imports everything once and forks.

Started as `python -m tests.fault.crashing BASE`, it reads one job a line (JSON) on standard input. Each job runs in a
forked child that opens the deployment below BASE itself, and answers with one line: `{"pid", "at"}` when it stands at
the place where it is to be killed, or `{"pid", "done"}`; then comes `{"gone"}` once it is dead. The nursery itself
opens nothing and starts no thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.audit.files import OsFiles
from gateway.audit.log import AuditLog
from gateway.clear import store as store_module
from gateway.clear.markers import SpentMarkers
from gateway.clear.store import RequestStore
from gateway.domain.call import Denied, Outcome, Parked, Released, Unknown
from tests.support import ANA, Tool, ask, open_gateway, tool, vote

LEDGER = "ledger.db"
INTENT, OUTCOME = b'"kind":"call.intent"', b'"kind":"call.outcome"'


class Ledger:
    """The business side: one row a refund, synced when `refund` returns. It refuses nothing, so it counts mistakes."""

    def __init__(self, base: Path) -> None:
        self._path = base / LEDGER

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS refunds (reference TEXT, order_id TEXT, cents INTEGER)")
        try:
            yield connection
        finally:
            connection.close()

    def refund(self, reference: str, order: str, cents: int, at: Callable[[str], None]) -> None:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO refunds VALUES (?, ?, ?)", (reference, order, cents))
            at("effect_begun")
            connection.execute("COMMIT")
        at("effect_done")

    def references(self) -> list[str]:
        with self._open() as connection:
            return [row[0] for row in connection.execute("SELECT reference FROM refunds")]


def tools(base: Path, at: Callable[[str], None] = lambda _: None) -> tuple[Tool, ...]:
    """`refund` needs no grant, `big_refund` does. Both hold the order and take turns on it."""
    ledger = Ledger(base)

    def refund(order: str, cents: int, reference: str) -> dict[str, object]:
        ledger.refund(reference, order, cents, at)
        return {"refunded": cents}

    common = {"effect": "external", "effect_key": ["order"], "serialize_by": ["order"]}
    return (
        tool(refund, risk="medium", **common),
        tool(refund, name="big_refund", risk="high", **common),
    )


Place = tuple[type, tuple[str, ...], str, bytes]

PLACES: dict[str, Place] = {
    "before_claim": (RequestStore, ("claim",), "before", b""),
    "marked_not_claimed": (SpentMarkers, ("mark",), "after", b""),
    "claimed": (RequestStore, ("claim",), "after", b""),
    "intent_not_synced": (OsFiles, ("write",), "after", INTENT),
    "intended": (AuditLog, ("append", "append_async"), "after", INTENT),
    "outcome_not_synced": (OsFiles, ("write",), "after", OUTCOME),
    "outcome_kept": (AuditLog, ("append", "append_async"), "after", OUTCOME),
    "done_not_committed": (store_module, ("finish",), "after", b""),  # type: ignore[dict-item]
    "done": (RequestStore, ("finish",), "after", b""),
}
IN_TOOL = ("effect_begun", "effect_done")


class Stops:
    """Stands still at one named place, having said so; the rest of the process cannot tell it from a slow disk."""

    def __init__(self, say: Callable[[dict[str, object]], None], place: str) -> None:
        self._say = say
        self._place = place
        if place in PLACES:
            self._arm(*PLACES[place])

    def at(self, place: str) -> None:
        if place == self._place:
            self._say({"at": place})
            threading.Event().wait()

    def _arm(self, owner: type, names: tuple[str, ...], when: str, about: bytes) -> None:
        for name in names:
            setattr(owner, name, self._wrapped(getattr(owner, name), when, about))

    def _wrapped(self, real: Any, when: str, about: bytes) -> Any:
        place = self._place

        def meant(args: tuple[Any, ...]) -> bool:
            return not about or any(isinstance(each, bytes) and about in each for each in args)

        def wrapped(*args: Any) -> Any:
            if when == "before" and meant(args):
                self.at(place)
            result = real(*args)
            if when == "after" and meant(args):
                self.at(place)
            return result

        async def awaited(*args: Any) -> Any:
            result = await real(*args)
            if meant(args):
                self.at(place)
            return result

        return awaited if asyncio.iscoroutinefunction(real) else wrapped


def described(outcome: Outcome) -> list[str]:
    match outcome:
        case Released():
            return ["released", outcome.content]
        case Denied():
            return ["denied", outcome.refusal.reason]
        case Parked():
            return ["parked", outcome.request_id]
        case Unknown():
            return ["unknown", outcome.detail]


def run(base: Path, job: dict[str, Any], say: Callable[[dict[str, object]], None]) -> object:
    """One job in this process. `awaited` takes the asyncio form of every wait."""
    stops = Stops(say, job.get("stop", ""))
    gateway = open_gateway(base, *tools(base, stops.at), origin=job.get("origin", "gw"))
    session = gateway.session(ANA, conversation=job.get("conversation", "c-1"))
    match job["do"]:
        case "refund":
            call = ask("refund", order=job["order"], cents=5, reference=job["reference"])
            found = asyncio.run(session.judge([call]))[0] if job.get("awaited") else session.judge_sync([call])[0]
            return described(found)
        case "park":
            calls = [ask("big_refund", order=each, cents=500, reference=each) for each in job["orders"]]
            parked = [session.judge_sync([call])[0] for call in calls]
            gateway.close()
            ids = [each.request_id for each in parked if isinstance(each, Parked)]
            vote(base, *ids)
            return ids
        case "resume":
            request = job["request"]
            awaited = job.get("awaited")
            return described(asyncio.run(session.resume(request)) if awaited else session.resume_sync(request))
        case "probe":
            resumed = [described(session.resume_sync(each)) for each in job.get("requests", ())]
            again = [
                described(session.judge_sync([ask("refund", order=each, cents=7, reference=f"{each}-{job['tag']}")])[0])
                for each in job.get("orders", ())
            ]
            gateway.close()
            return {"resumed": resumed, "again": again}
        case "busy":  # calls one after the other until somebody kills it
            say({"at": "busy"})
            for number in range(10_000):
                order = f"{job['tag']}-{number}"
                session.judge_sync([ask("refund", order=order, cents=1, reference=order)])
    return None


def nurse(base: Path) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            pid = os.getpid()

            def say(fields: dict[str, object], pid: int = pid) -> None:
                os.write(1, json.dumps({"pid": pid, **fields}).encode() + b"\n")

            try:
                say({"done": run(base, json.loads(line), say)})
            except BaseException as error:  # whatever happened, the test must hear of it
                say({"failed": f"{type(error).__name__}: {error}"})
                raise
            finally:
                os._exit(0)  # what an exit would still put in order is what a crash must do without
        os.waitpid(child, 0)
        os.write(1, json.dumps({"gone": child}).encode() + b"\n")


if __name__ == "__main__":
    nurse(Path(sys.argv[1]))
