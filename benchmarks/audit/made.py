"""A log to measure: real records through the real writer, on a disk that is not waited for while it is made."""

from __future__ import annotations

import time
from pathlib import Path
from typing import final

from gateway.audit.cadence import Cadence
from gateway.audit.encode import encode
from gateway.audit.entry import Entry, Quarantine
from gateway.audit.files import Files, OsFiles
from gateway.audit.keyring import Keyring
from gateway.audit.log import AuditLog
from gateway.audit.note import Signer
from gateway.audit.segment import Place
from gateway.audit.store import Store
from gateway.clock import SystemClock
from gateway.domain.event import CallIntent, LogRepaired, Subject

SIGNER = Signer("bench", bytes(range(32)))
KEYS = Keyring(SIGNER.verifier)
BATCH = 2000


@final
class Unwaited:
    """The real disk without waiting for it."""

    def __init__(self) -> None:
        self._real: Files = OsFiles()
        self.open_append = self._real.open_append
        self.write = self._real.write
        self.truncate = self._real.truncate
        self.reserve = self._real.reserve
        self.close = self._real.close
        self.patch = self._real.patch

    def fdatasync(self, descriptor: int) -> None:
        """Not here."""

    def replace(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)


def intent(number: int) -> CallIntent:
    """One intent of a small refund, as the pipeline makes it."""
    call = Subject(
        f"call_{number:032x}",
        f"call_{number}",
        "ana",
        None,
        "c-1",
        "initiate_refund",
        None,
        0,
        None,
        "sha256:" + "ab" * 32,
        ("support",),
    )
    return CallIntent(
        call=call,
        contract="tools/initiate_refund.yaml:1",
        contract_version="1",
        contract_digest="sha256:" + "cd" * 32,
        risk="low",
        effect="external",
        grant="policy.csv:3",
        wire_digest="hmac-sha256:00112233:" + "ef" * 32,
        effective_digest="hmac-sha256:00112233:" + "01" * 32,
        arguments={"order": f"ord-{number}", "amount_cents": number % 5000, "reason": "arrived broken"},
        personal=None,
        authority=("order",),
        facts={},
        proofs=(),
        effect_key=None,
        attempt=1,
        sandbox=None,
    )


def small(number: int) -> bytes:
    """The body of a record of about 300 bytes: what a denial in a flood comes to."""
    return b'{"v":1,"kind":"call.denied","call":{"call_id":"call_%032x"},"reason":"limit","detail":"%s"}' % (
        number,
        b"x" * 80,
    )


def open_store(folder: Path, *, rotate_bytes: int = 64 << 20) -> Store:
    place = Place("bench", folder / "audit", folder / "checkpoints")
    cadence = Cadence(records=BATCH, rotate_bytes=rotate_bytes)
    return Store(place, SIGNER, KEYS, SystemClock(), Unwaited(), _repaired, cadence)


def open_log(folder: Path) -> AuditLog:
    """The same log as a gateway opens it, its key enrolled below `folder`."""
    enrolled = folder / "trust" / "origins" / "bench.pub"
    enrolled.parent.mkdir(parents=True, exist_ok=True)
    enrolled.write_text(f"{SIGNER.verifier}\n", encoding="utf-8")
    return AuditLog(folder / "audit", folder / "checkpoints", SIGNER, SystemClock(), report=_repaired, keys=KEYS)


def make(folder: Path, records: int) -> float:
    """Write a log; seconds it took."""
    began = time.perf_counter()
    store = open_store(folder)
    for start in range(store.size, records, BATCH):
        store.commit([Entry(small(number), None) for number in range(start, min(start + BATCH, records))])
        store.sign_full()
    store.close()
    return time.perf_counter() - began


def body(number: int) -> bytes:
    return encode(intent(number))


def _repaired(aside: Quarantine) -> bytes:
    return encode(LogRepaired(f"{aside.size} bytes", (aside.path.name,)))
