"""The parent of processes that are killed, and the auditor who comes afterwards (I5)."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.audit.intents import LoggedCall
from gateway.office import Office, calls_in, verify_home
from gateway.settings import Home, locate
from tests.conformance.verify_log import verify_origin
from tests.fault.crashing import Ledger, tools
from tests.support import policies_for

PATIENT = {"loop": {"consecutive_denials": 1000, "pending_requests": 1000, "calls_per_conversation": 10_000}}


class Nursery:
    """One process that forks jobs; `kill_at` kills the job once it stands where it was told to stop."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.crashing", str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
        )

    def _tell(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery died"
        said: dict[str, Any] = json.loads(line)
        assert "failed" not in said, said
        return said

    def _gone(self) -> None:
        """Until the kernel has taken everything from the job: its locks too."""
        said = self._hear()
        assert "gone" in said, said

    def do(self, job: dict[str, Any]) -> Any:
        """Let a job run to its end; what it found."""
        self._tell(job)
        done = self._hear()["done"]
        self._gone()
        return done

    def kill_at(self, place: str, job: dict[str, Any]) -> None:
        """Let a job run until it says that it stands at `place`, and kill it there."""
        self._tell(job | {"stop": place})
        said = self._hear()
        assert said.get("at") == place, said
        os.kill(said["pid"], signal.SIGKILL)
        self._gone()

    def kill_after(self, seconds: float, job: dict[str, Any]) -> None:
        """Kill a job that is busy, at whatever it does `seconds` later."""
        self._tell(job)
        said = self._hear()
        assert said.get("at") == "busy", said
        threading.Event().wait(seconds)
        os.kill(said["pid"], signal.SIGKILL)
        self._gone()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclass
class Found:
    """Log, database and business ledger of a deployment that nobody runs, as an auditor reads them."""

    base: Path
    where: Home = field(init=False)
    calls: dict[str, LoggedCall] = field(init=False)
    refunds: Counter[str] = field(init=False)
    requests: dict[str, dict[str, Any]] = field(init=False)
    effects: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.where = locate(self.base / "policies", self.base / "home")
        self.calls = calls_in(self.where)
        self.refunds = Counter(Ledger(self.base).references())
        with closing(sqlite3.connect(self.where.database)) as connection:
            connection.row_factory = sqlite3.Row
            self.requests = {row["id"]: dict(row) for row in connection.execute("SELECT * FROM requests")}
            self.effects = {row["key"]: dict(row) for row in connection.execute("SELECT * FROM effects")}

    def call_for(self, reference: str) -> LoggedCall | None:
        found = [call for call in self.calls.values() if call.arguments["reference"] == reference]  # type: ignore[index]
        assert len(found) <= 1, found
        return found[0] if found else None

    def request_state(self, request_id: str) -> str:
        state = str(self.requests[request_id]["state"])
        return "spent" if state == "pending" and (self.where.spent / request_id).exists() else state

    def explained(self) -> None:
        """Every effect has its intent, every intent its end or its doubt, every row a call that accounts for it."""
        assert max(self.refunds.values(), default=0) <= 1, "a second effect"
        for reference in self.refunds:
            assert self.call_for(reference) is not None, f"{reference} took effect without an intent"
        for call in self.calls.values():
            assert call.outcome in (None, "unknown", "released"), call
            if call.outcome == "released":
                assert self.refunds[call.arguments["reference"]] == 1, call  # type: ignore[index]
            if call.unfinished and call.effect_key is not None:
                assert self.effects[call.effect_key]["state"] == "unknown", call
            if call.request_id is not None:
                assert self.request_state(call.request_id) == ("unknown" if call.unfinished else "done")
                assert (self.where.spent / call.request_id).exists()
        for row in self.effects.values():
            assert row["state"] in ("free", "unknown"), row
            assert row["state"] == "free" or self.calls[row["holder_call"]].unfinished, row
        for request_id, row in self.requests.items():
            assert row["state"] in ("pending", "burnt", "unknown", "done"), row
            if row["state"] in ("unknown", "done"):
                assert self.calls[row["claim_call"]].request_id == request_id
        report = verify_home(self.where)
        assert report.ok, report
        for origin in report.origins:
            verdict = verify_origin(self.where.audit, self.where.checkpoints, self.where.trust, origin.origin)
            assert verdict.kind == "ok", verdict


def deployment(base: Path) -> Nursery:
    """Policies below `base`, and a nursery over them."""
    policies_for(base, *tools(base), settings=PATIENT)
    return Nursery(base)


def settle_all(base: Path, found: Found) -> None:
    """A person looks into the ledger and says of every unfinished call what it was."""
    with Office.open(base / "policies", base / "home") as office:
        for call in found.calls.values():
            if call.unfinished:
                happened = found.refunds[call.arguments["reference"]] == 1  # type: ignore[index]
                finding: Any = "happened" if happened else "did_not_happen"
                assert office.settle(call, finding, by="max", why="the ledger says so")
