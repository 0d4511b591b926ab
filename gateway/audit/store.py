"""The files of one origin, written by one thread at a time; `log.AuditLog` does the queueing.

Guarantee: an entry gets a `Position` only after its bytes were synced. After any failed write or sync the
descriptor is closed, and the next batch starts from a new one and from what a rescan of the disk proves.

What happens to the lines of a failed batch: they may or may not be on the disk, and their callers were told
that nothing was recorded. While this process lives, it knows how far it acknowledged, so the rescan moves
everything after that to a quarantine file, cuts the segment there and records the fact as its next record. No
checkpoint can cover such lines, because only acknowledged records are signed. If the process dies first, its
successor cannot know, and keeps whole lines as records: an intent nobody acted on then reads as unfinished,
which is the safe error. A log that is shorter than its checkpoint, or contradicts it, is refused, never restarted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, final

from gateway.audit.errors import LogDamaged, NoteInvalid, NotRecorded
from gateway.audit.files import Files
from gateway.audit.framing import MAX_FRAME_BYTES, Framer
from gateway.audit.lock import OriginLock
from gateway.audit.note import Checkpoint, Signer, open_checkpoint
from gateway.audit.port import Position
from gateway.audit.scan import Scan, rebuild_leaves, scan, set_aside
from gateway.audit.segment import Place, leaves_path
from gateway.audit.space import Reservation, Space
from gateway.audit.tree import HASH_BYTES, leaf_hash
from gateway.domain.errors import ToolgateError
from gateway.domain.instant import Clock

CHECKPOINT_EVERY: Final = 64  # records; a signature and its syncs cost about one record's sync


class Quarantine(NamedTuple):
    """Bytes that were set aside: `size` bytes that stood where record `seq` belongs, now in `path`."""

    path: Path
    seq: int
    size: int


class Entry:
    """One record on its way. `outcome` is set by the store."""

    __slots__ = ("body", "outcome", "reservation")

    def __init__(self, body: bytes, reservation: Reservation | None) -> None:
        self.body = body
        self.reservation = reservation
        self.outcome: Position | Exception | None = None

    def covered(self) -> bool:
        """Whether the disk for this record was set aside beforehand."""
        promise = self.reservation
        return promise is not None and promise.held and len(self.body) + MAX_FRAME_BYTES <= promise.size


@final
class Store:
    """Holds the lock, the descriptor and the tree of one origin. Not thread-safe, except `reserve`."""

    def __init__(
        self,
        place: Place,
        signer: Signer,
        clock: Clock,
        files: Files,
        report: Callable[[Quarantine], bytes],
        checkpoint_every: int,
    ) -> None:
        """Open or create the log. Raises OriginBusy, LogDamaged, NotRecorded."""
        self.place = place
        self.fault: NotRecorded | None = None
        self.quarantined: list[Quarantine] = []
        self._signer: Signer | None = signer
        self._key = signer.verifier
        self._files = files
        self._report = report
        self._every = checkpoint_every
        self._framer = Framer(place.origin, clock)
        self._space = Space(files)
        self._descriptor: int | None = None
        self._state: Scan | None = None
        self._covered = 0
        self._leaves_failed = False
        self._notices: list[Entry] = []
        self._promised: list[Reservation] = []
        try:
            place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.checkpoints_root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = OriginLock(place.lock, place.origin)
        except OSError as error:
            raise self._unavailable(error) from error
        try:
            self._recover()
            if self._notices:
                self.commit([])
                if self.fault is not None:  # commit set it: the repair could not be recorded
                    raise self.fault
        except OSError as error:
            self.close(sign=False)
            raise self._unavailable(error) from error
        except BaseException:
            self.close(sign=False)
            raise

    @property
    def size(self) -> int:
        """Acknowledged records."""
        return self._state.frontier.size if self._state else 0

    def reserve(self, size: int) -> Reservation:
        try:
            return self._space.reserve(size)
        except OSError as error:
            raise self._unavailable(error) from error

    def commit(self, entries: Sequence[Entry]) -> None:
        """Write a batch with one sync and give each entry its outcome. Raises only what interrupts a process."""
        try:
            if self._descriptor is None:
                self._recover()
            waiting = [*self._notices, *entries] if self._notices else entries
            batch = self._admit(waiting)
            self._write(batch)
            if len(batch) == len(waiting):
                self.fault = None
            if self.size - self._covered >= self._every:
                self._try_checkpoint()
        except BaseException as error:  # whatever it was, nobody knows what reached the disk
            self._poison(error)
            if not isinstance(error, Exception):
                raise
        finally:
            if self._notices:
                self._notices = [notice for notice in self._notices if not isinstance(notice.outcome, Position)]
            for entry in entries:
                if entry.outcome is None:
                    entry.outcome = self.fault or self._unavailable(OSError("interrupted"))

    def _admit(self, waiting: Sequence[Entry]) -> Sequence[Entry]:
        """Those there is room for. Records nobody reserved for are refused first, so that outcomes still fit."""
        if self.size - self._covered >= self._every and not self._try_checkpoint():
            waiting = self._refuse(waiting, self.fault)
        try:
            self._claim(waiting)
        except OSError as error:
            self.fault = self._unavailable(error)
            waiting = self._refuse(waiting, self.fault)
            self._claim(waiting)
        return waiting

    def _refuse(self, waiting: Sequence[Entry], why: Exception | None) -> list[Entry]:
        """Refuse what has no disk of its own; two records cannot share one reservation."""
        kept: dict[int, Entry] = {}
        for entry in waiting:
            if entry.covered() and id(entry.reservation) not in kept:
                kept[id(entry.reservation)] = entry
            else:
                entry.outcome = why
        return list(kept.values())

    def _claim(self, waiting: Sequence[Entry]) -> None:
        need = 0
        promised: list[Reservation] = []
        for entry in waiting:
            need += len(entry.body) + MAX_FRAME_BYTES
            promise = entry.reservation
            if promise is not None and promise.held and promise not in promised:
                promised.append(promise)
        self._space.claim(need, promised)
        self._promised = promised

    def _write(self, batch: Sequence[Entry]) -> None:
        if not batch:
            return
        state, descriptor = self._state, self._descriptor
        assert state is not None and descriptor is not None  # noqa: S101, PT018 -- for the type checker
        try:
            seq = state.frontier.size
            lines = [self._framer.line(seq + at, entry.body) for at, entry in enumerate(batch)]
            data = b"\n".join((*lines, b""))
            written = self._files.write(descriptor, data)
            if written != len(data):
                raise OSError(f"short write: {written} of {len(data)} bytes")
            self._files.fdatasync(descriptor)
        except BaseException:
            self._space.undo(self._promised)
            raise
        for line, entry in zip(lines, batch, strict=True):
            leaf = leaf_hash(line)
            state.frontier.append(leaf)
            state.tail.append(leaf)
            entry.outcome = Position(seq, leaf)
            seq += 1
        state.length += len(data)
        self._space.settle(state.length)

    def _try_checkpoint(self) -> bool:
        """Sign; a failure is kept and stops new calls, while promised outcomes are still recorded."""
        try:
            self.checkpoint()
        except OSError as error:
            self.fault = self._unavailable(error)
            return False
        return True

    def checkpoint(self) -> None:
        """Sign what was acknowledged. Raises OSError, LogDamaged."""
        state, signer = self._state, self._signer
        if state is None or signer is None or self._descriptor is None:
            raise OSError("the log is not open")
        self._check_file(state, self._descriptor)
        size = state.frontier.size
        self._save_leaves(state, size)
        text = Checkpoint(self.place.origin, size, state.frontier.root()).text()
        self._files.replace(self.place.checkpoint, signer.sign(text))
        self._covered = size
        state.tail.clear()

    def _save_leaves(self, state: Scan, size: int) -> None:
        """The side file only helps to name a damaged record: without it (a full disk, C142) we sign all the same."""
        if self._leaves_failed:
            return  # the next opening rebuilds it
        try:
            if not state.leaves_whole or self._covered < state.segment_start:
                rebuild_leaves(self.place, self._files, size)
                state.leaves_whole = True
            else:
                offset = (self._covered - state.segment_start) * HASH_BYTES
                self._files.patch(leaves_path(state.segment), offset, b"".join(state.tail))
        except OSError:
            self._leaves_failed = True

    def _check_file(self, state: Scan, descriptor: int) -> None:
        """Refuse to sign over a segment that was cut, extended or unlinked under us."""
        status = os.fstat(descriptor)
        if status.st_nlink == 0 or status.st_size != state.length:
            raise LogDamaged(self.place.origin, f"{state.segment.name} was changed by somebody else while open")

    def _recover(self) -> None:
        """Open the log at what the disk proves. Raises LogDamaged, OSError; nothing is open afterwards then."""
        if self._signer is None:
            raise OSError("the log was closed")
        known = self._state
        signed = self._read_checkpoint()
        found = scan(self.place, signed.size if signed else 0, known.frontier.size if known else None)
        self._compare(found, signed, known)
        descriptor = self._files.open_append(found.segment)
        try:
            if found.rest:
                self._quarantine(found, descriptor)
            self._space.attach(descriptor, found.length)
        except BaseException:
            self._files.close(descriptor)
            raise
        self._descriptor, self._state, self._leaves_failed = descriptor, found, False
        self._covered = signed.size if signed else 0
        if signed is None:
            self.checkpoint()  # the first one, of nothing: from here on a missing checkpoint is damage

    def _read_checkpoint(self) -> Checkpoint | None:
        try:
            return open_checkpoint(self.place.checkpoint.read_bytes(), self._key)
        except FileNotFoundError:
            return None
        except NoteInvalid as error:
            raise LogDamaged(self.place.origin, f"{self.place.checkpoint.name}: {error.why}") from error

    def _compare(self, found: Scan, signed: Checkpoint | None, known: Scan | None) -> None:
        origin, size = self.place.origin, found.frontier.size
        if signed is None and (size or found.rest or known):
            raise LogDamaged(origin, f"{self.place.checkpoint.name} is missing, but the log is not new")
        if signed is not None and size < signed.size:
            raise LogDamaged(origin, f"{size} records are left of the {signed.size} that were signed", size)
        if signed is not None and found.checkpoint_root != signed.root:
            raise LogDamaged(origin, f"the first {signed.size} records are not the ones that were signed")
        if known and (size != known.frontier.size or found.frontier.root() != known.frontier.root()):
            raise LogDamaged(origin, "records that were acknowledged are gone or changed")

    def _quarantine(self, found: Scan, descriptor: int) -> None:
        path = set_aside(self.place, self._files, found)
        self._files.truncate(descriptor, found.length)
        self._files.fdatasync(descriptor)
        aside = Quarantine(path, found.frontier.size, found.rest)
        found.rest = 0
        self.quarantined.append(aside)
        self._notices.append(Entry(self._report(aside), None))

    def _poison(self, error: BaseException) -> None:
        self.fault = self._unavailable(error)
        self._space.detach()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                self._files.close(descriptor)
            except OSError as second:
                self.fault.add_note(f"closing failed too: {second}")

    def _unavailable(self, error: BaseException) -> NotRecorded:
        if isinstance(error, NotRecorded):
            return error
        what = str(error) if isinstance(error, ToolgateError | OSError) else f"{type(error).__name__}: {error}"
        fault = NotRecorded(self.place.origin, what)
        fault.__cause__ = error
        return fault

    def close(self, *, sign: bool = True) -> None:
        """Sign, give back unused disk, unlock. Raises NotRecorded if signing failed; the origin is let go anyway."""
        state, descriptor = self._state, self._descriptor
        failure = self.fault if sign and descriptor is None else None
        try:
            if sign and state is not None and descriptor is not None:
                if state.frontier.size > self._covered:
                    self.checkpoint()
                self._check_file(state, descriptor)
                self._files.truncate(descriptor, state.length)
        except (OSError, LogDamaged) as error:
            failure = self._unavailable(error)
        finally:
            self._space.detach()
            self._descriptor = None
            self._signer = None
            if descriptor is not None:
                self._files.close(descriptor)
            self._lock.release()
        if failure is not None:
            raise failure

    def drop(self) -> None:
        """In a forked child: no key, no descriptor, and the parent's lock untouched (C090)."""
        self._signer = None
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        self._lock.drop()
