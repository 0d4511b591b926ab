"""One audit log with its keys and folders under a temporary path, as tests open, damage and verify it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.audit.cadence import Cadence
from gateway.audit.entry import Quarantine
from gateway.audit.files import Files
from gateway.audit.keeper import Witnessing
from gateway.audit.log import AuditLog
from gateway.audit.note import Signer
from gateway.audit.origin import enroll, load_keyrings, load_signer
from gateway.audit.segment import Place
from gateway.audit.verify import OriginReport, VerifyReport, verify
from tests.fakes.clock import FakeClock


def body(**fields: object) -> bytes:
    """A record body as an encoder writes it."""
    return json.dumps({"kind": "test", **fields}, separators=(",", ":")).encode()


def repaired(aside: Quarantine) -> bytes:
    return body(repaired=aside.path.name, at=aside.seq, size=aside.size)


class Desk:
    def __init__(self, base: Path, origin: str = "gw") -> None:
        self.origin = origin
        self.audit = base / "audit"
        self.checkpoints = base / "checkpoints"
        self.keys = base / "keys"
        self.trust = base / "trust"
        self.clock = FakeClock()
        enroll(origin, self.keys, self.trust)

    @property
    def place(self) -> Place:
        return Place(self.origin, self.audit, self.checkpoints)

    @property
    def segment(self) -> Path:
        return self.place.folder / "00000000.jsonl"

    @property
    def leaves(self) -> Path:
        return self.place.folder / "00000000.leaves"

    @property
    def checkpoint(self) -> Path:
        return self.place.checkpoint

    def signer(self) -> Signer:
        return load_signer(self.origin, self.keys, self.trust)

    @staticmethod
    def report_torn(aside: Quarantine) -> bytes:
        return repaired(aside)

    def cadence(self, every: int = 64, **more: Any) -> Cadence:
        return Cadence(records=every, **more)

    def open(
        self, files: Files | None = None, every: int = 64, witnessing: Witnessing | None = None, **cadence: Any
    ) -> AuditLog:
        return AuditLog(
            self.audit,
            self.checkpoints,
            self.signer(),
            self.clock,
            report=repaired,
            keys=load_keyrings(self.trust)[self.origin],
            files=files,
            cadence=self.cadence(every, **cadence),
            witnessing=witnessing,
        )

    def filled(self, count: int, every: int = 64, **cadence: Any) -> list[bytes]:
        """Write `count` records and close; the stored lines."""
        with self.open(every=every, **cadence) as log:
            for number in range(count):
                log.append(body(n=number))
        return self.lines()

    def lines(self) -> list[bytes]:
        return b"".join(path.read_bytes() for path in self.place.segments()).splitlines()

    def put(self, lines: list[bytes], tail: bytes = b"") -> None:
        """Replace the segment's content."""
        self.segment.write_bytes(b"".join(line + b"\n" for line in lines) + tail)

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines()]

    def verify(self) -> VerifyReport:
        return verify(self.audit, self.checkpoints, load_keyrings(self.trust))

    def report(self) -> OriginReport:
        return next(report for report in self.verify().origins if report.origin == self.origin)
