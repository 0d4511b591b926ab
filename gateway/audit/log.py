"""The audit log as callers hold it: durable append, from threads and from event loops.

Guarantee (I3): `append` and `append_async` return only once the record is on the disk. Whoever comes first
writes at once on its own thread; whoever comes while a sync runs waits, and everything that has gathered goes
out with the next sync, led by one of those waiting (or by a writer thread, if only event loops wait). A
caller that is cancelled or interrupted leaves its record in the queue: it is still written.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import final

from gateway.audit.cadence import Cadence
from gateway.audit.entry import Entry, Quarantine
from gateway.audit.errors import ForkedWriter, LogDamaged, NotRecorded
from gateway.audit.files import Files, OsFiles
from gateway.audit.framing import check_body
from gateway.audit.keeper import Keeper, Witnessing
from gateway.audit.keyring import Keyring
from gateway.audit.ledger import Ledger
from gateway.audit.note import Signer
from gateway.audit.port import Position
from gateway.audit.segment import Place
from gateway.audit.space import Reservation, reserved_size
from gateway.audit.store import Store
from gateway.domain.instant import Clock


@final
class _Pending(Entry):
    """An entry in the queue. A thread waits at `gate`; a loop waits for `future`; `action` asks for the store."""

    __slots__ = ("action", "future", "gate", "leads")

    def __init__(self, body: bytes, reservation: Reservation | None) -> None:
        self.body = body  # not by super(): this is on the path of every record
        self.reservation = reservation
        self.outcome = None
        self.gate: threading.Lock | None = None
        self.future: asyncio.Future[Position] | None = None
        self.action: Callable[[], None] | None = None
        self.leads = False


@final
class AuditLog:
    """One origin, open for appending. Thread-safe. `with` closes it."""

    def __init__(
        self,
        audit_root: Path,
        checkpoints_root: Path,
        signer: Signer,
        clock: Clock,
        *,
        report: Callable[[Quarantine], bytes],
        files: Files | None = None,
        keys: Keyring | None = None,
        cadence: Cadence | None = None,
        witnessing: Witnessing | None = None,
    ) -> None:
        """Open the origin that `signer` is named after. `report` makes the record about bytes that were set aside.

        `keys` says whose signatures count, where there are older ones than the signer's. `witnessing` is asked first:
        a log behind what it has seen is not opened.

        Raises OriginBusy, LogDamaged, NotRecorded.
        """
        self.origin = signer.verifier.name
        self.key_id = signer.verifier.key_id.hex()
        place = Place(self.origin, audit_root, checkpoints_root)
        cadence = cadence or Cadence()
        ring = keys or Keyring(signer.verifier)
        self._store = Store(place, signer, ring, clock, files or OsFiles(), report, cadence)
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._led = False  # somebody leads; while False the queue is empty
        self._closed = False
        self._queue: list[_Pending] = []
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._witnessing = witnessing
        if witnessing is not None:
            try:
                self._tell()
            except LogDamaged:
                self._store.close(sign=False)
                raise
        self._keeper = Keeper(self.origin, cadence.seconds, self._sign_due, self._lagging, self._tell_or_hold)
        if witnessing is not None:
            self._store.told = self._keeper.poke
        _open_logs.add(self)

    @property
    def size(self) -> int:
        """Records acknowledged so far."""
        return self._store.size

    @property
    def ledger(self) -> Ledger:
        """Of the calls in them; to be read before the first append."""
        return self._store.ledger

    @property
    def fault(self) -> NotRecorded | None:
        """Why the last batch or checkpoint failed; None when all is well."""
        return self._store.fault

    @property
    def concerns(self) -> tuple[str, ...]:
        """What an operator should look at though records are still written."""
        witness = self._witnessing.fault if self._witnessing is not None else None
        return tuple(str(each) for each in (witness, self._store.upkeep_fault) if each is not None)

    @property
    def quarantined(self) -> tuple[Quarantine, ...]:
        """What was set aside since opening; each is also a record of the log."""
        return tuple(self._store.quarantined)

    def append(self, body: bytes, reservation: Reservation | None = None) -> Position:
        """Record one JSON object; durable on return. Raises RecordRefused, NotRecorded."""
        check_body(body)
        return self._position(self._run(_Pending(body, reservation)))

    async def append_async(self, body: bytes, reservation: Reservation | None = None) -> Position:
        """The same without blocking the loop. Raises RecordRefused, NotRecorded."""
        check_body(body)
        entry = _Pending(body, reservation)
        entry.future = asyncio.get_running_loop().create_future()
        self._check_usable()
        with self._mutex:
            self._check_open()
            self._queue.append(entry)
            if not self._led:
                self._led = True
                self._call_writer()
        return await entry.future

    def reserve(self, body_bytes: int) -> Reservation:
        """Set disk aside for one later body of at most `body_bytes`. Raises NotRecorded, RecordRefused."""
        self._check_usable()
        return self._store.reserve(reserved_size(body_bytes))

    def checkpoint(self) -> None:
        """Sign what is recorded so far. Raises NotRecorded."""
        self._do(self._store.checkpoint)

    def close(self) -> None:
        """Finish what is queued, sign, let the origin go. Raises NotRecorded if signing failed. Idempotent."""
        if self._pid != os.getpid():
            return
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        _open_logs.discard(self)
        self._keeper.closing = True
        try:
            if self._witnessing is not None:
                self._do(self._store.sign_due, closing=True)
                self._keeper.close(self._witnessing.close_s)
            self._do(self._store.close, closing=True)
        finally:
            self._keeper.close(0)
            if self._thread is not None:
                self._wake.put(False)
                self._thread.join()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sign_due(self) -> None:
        self._do(self._store.sign_due)

    def _lagging(self) -> bool:
        return self._witnessing is not None and self._witnessing.behind(self._store.signed)

    def _tell(self) -> None:
        """Tell the witness. Raises LogDamaged, which holds for good."""
        signed, witnessing = self._store.signed, self._witnessing
        if signed is None or witnessing is None:
            return
        witnessing.tell(self._store.place, self._store.retired, signed, self._store.files)
        needed = witnessing.fault if witnessing.required else None
        self._store.hold = NotRecorded(self.origin, str(needed)) if needed is not None else None

    def _tell_or_hold(self) -> None:
        try:
            self._tell()
        except LogDamaged as error:
            self._store.hold = NotRecorded(self.origin, str(error))

    def _do(self, action: Callable[[], None], *, closing: bool = False) -> None:
        """Run `action` with nobody else at the store."""
        entry = _Pending(b"", None)
        entry.action = action
        self._run(entry, closing=closing)
        if entry.outcome is not None:
            self._position(entry)

    def _check_usable(self) -> None:
        if self._pid != os.getpid():
            raise ForkedWriter(self.origin)
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise NotRecorded(self.origin, "the log was closed")

    def _position(self, entry: Entry) -> Position:
        outcome = entry.outcome
        if isinstance(outcome, Position):
            return outcome
        raise _fresh(self.origin, outcome)

    def _run(self, entry: _Pending, *, closing: bool = False) -> _Pending:
        if not closing:
            self._check_usable()
        with self._mutex:
            if not closing:
                self._check_open()
            if self._led:
                gate = entry.gate = threading.Lock()
                gate.acquire()
                self._queue.append(entry)
            else:
                gate = None
                self._led = True
        if gate is None:
            self._lead([entry])
        else:
            self._wait(entry, gate)
        return entry

    def _wait(self, entry: _Pending, gate: threading.Lock) -> None:
        try:
            gate.acquire()
        except BaseException:  # an interrupted wait: the record stays queued, somebody else must lead
            with self._mutex:
                entry.gate = None
                appointed = entry.leads
            if appointed:
                self._hand_over()
            raise
        if entry.leads:
            self._lead(self._drain())

    def _drain(self) -> list[_Pending]:
        with self._mutex:
            batch, self._queue = self._queue, []
        return batch

    def _lead(self, batch: list[_Pending]) -> None:
        """Write the batch; sign if that is due, which nobody of the batch has to wait for; let the next one lead."""
        store, told = self._store, False
        try:
            try:
                if len(batch) == 1 and batch[0].action is None:
                    store.commit(batch)
                else:
                    store.commit([entry for entry in batch if entry.action is None])
                    for entry in batch:
                        if entry.action is not None:
                            self._act(entry, entry.action)
            finally:
                if store.full:
                    told = True
                    self._deliver(batch)
            store.sign_full()
        finally:
            self._hand_over()
            if not told:
                self._deliver(batch)

    def _act(self, entry: _Pending, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, NotRecorded, LogDamaged) as error:
            entry.outcome = error if isinstance(error, NotRecorded) else NotRecorded(self.origin, str(error))

    def _hand_over(self) -> None:
        with self._mutex:
            if not self._queue:
                self._led = False
                return
            for entry in self._queue:
                if entry.gate is not None:
                    entry.leads = True
                    entry.gate.release()
                    return
            self._call_writer()

    def _deliver(self, batch: list[_Pending]) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[_Pending]] = {}
        for entry in batch:
            if entry.future is not None:
                loops.setdefault(entry.future.get_loop(), []).append(entry)
            elif entry.gate is not None and not entry.leads:
                entry.gate.release()
        for loop, entries in loops.items():
            try:
                loop.call_soon_threadsafe(self._settle, entries)
            except RuntimeError:  # that loop is closed: its records are written, nobody is left to be told
                continue

    def _settle(self, entries: list[_Pending]) -> None:
        for entry in entries:
            future, outcome = entry.future, entry.outcome
            if future is None or future.done():
                continue
            if isinstance(outcome, Position):
                future.set_result(outcome)
            else:
                future.set_exception(_fresh(self.origin, outcome))

    def _call_writer(self) -> None:
        """Make the writer thread lead. The mutex is held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_loop, name=f"audit-{self.origin}", daemon=True)
            self._thread.start()
        self._wake.put(True)

    def _write_loop(self) -> None:
        while self._wake.get():
            self._lead(self._drain())

    def _abandon(self) -> None:
        """In a forked child (C090): drop key, descriptors and lock, and never use the parent's queue."""
        self._closed = True
        self._mutex = threading.Lock()  # the old one may be held by a thread that this process does not have
        self._store.drop()


def _fresh(origin: str, outcome: Exception | None) -> NotRecorded:
    """Its own exception for each waiter: one instance raised in many threads would mix their tracebacks."""
    error = NotRecorded(origin, outcome.why if isinstance(outcome, NotRecorded) else str(outcome))
    error.__cause__ = outcome
    return error


_open_logs: weakref.WeakSet[AuditLog] = weakref.WeakSet()


def _abandon_all() -> None:
    for log in list(_open_logs):
        log._abandon()
    _open_logs.clear()


def _close_all() -> None:
    for log in list(_open_logs):
        log.close()


os.register_at_fork(after_in_child=_abandon_all)
atexit.register(_close_all)
