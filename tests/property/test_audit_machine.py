"""The log as a state machine: any order of appends, faults, reopenings and checkpoints keeps what was acknowledged."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.audit.errors import NotRecorded
from gateway.audit.space import Reservation
from tests.conformance.verify_log import verify_origin
from tests.fakes.audit_desk import Desk, body
from tests.fakes.files import FaultyFiles


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.desk = Desk(self.base)
        self.files = FaultyFiles()
        self.log = self.desk.open(self.files, every=3, rotate_bytes=700)
        self.acknowledged: dict[int, int] = {}
        self.number = 0
        self.sick = False
        self.promises: list[Reservation] = []

    def _append(self, promise: Reservation | None) -> None:
        self.number += 1
        try:
            position = self.log.append(body(n=self.number, pad="x" * (self.number % 50)), promise)
        except NotRecorded:
            assert self.sick
        else:
            assert position.seq not in self.acknowledged
            self.acknowledged[position.seq] = self.number

    @rule()
    def append(self) -> None:
        self._append(None)

    @rule()
    def reserve(self) -> None:
        try:
            self.promises.append(self.log.reserve(300))
        except NotRecorded:
            assert self.sick

    @precondition(lambda self: self.promises)
    @rule()
    def append_outcome(self) -> None:
        promise = self.promises.pop()
        recorded = len(self.acknowledged)
        self._append(promise)
        assert promise.held == (len(self.acknowledged) == recorded)
        if promise.held:
            self.promises.append(promise)

    @rule(
        method=st.sampled_from(["write", "fdatasync", "reserve", "patch", "replace", "truncate", "open_append"]),
        code=st.sampled_from([errno.EIO, errno.ENOSPC]),
        lands=st.sampled_from([0, 3, 60, 10_000]),
    )
    def fall_ill(self, method: str, code: int, lands: int) -> None:
        self.files.lands = lands
        self.files.arm(method, code)
        self.sick = True

    @rule()
    def heal(self) -> None:
        self.files.heal()
        self.sick = False

    @rule()
    def checkpoint(self) -> None:
        try:
            self.log.checkpoint()
        except NotRecorded:
            assert self.sick

    @rule()
    def reopen(self) -> None:
        self.promises.clear()
        try:
            self.log.close()
        except NotRecorded:
            assert self.sick
        self.files.heal()
        self.sick = False
        self.log = self.desk.open(self.files, every=3, rotate_bytes=700)

    @invariant()
    def acknowledged_records_stand_where_they_were_acknowledged(self) -> None:
        lines = self.desk.lines()
        for seq, number in self.acknowledged.items():
            assert json.loads(lines[seq])["n"] == number

    def teardown(self) -> None:
        self.reopen()
        self.log.append(body())
        self.log.close()
        assert self.desk.report().ok
        assert self.desk.report().uncovered == 0
        assert verify_origin(self.desk.audit, self.desk.checkpoints, self.desk.trust, "gw").kind == "ok"
        shutil.rmtree(self.base)


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(stateful_step_count=30, max_examples=40)
