"""The files of one origin, written by one thread at a time; `log.AuditLog` does the queueing.

Guarantee: an entry gets a `Position` only after its bytes were synced. After any failed write or sync the
descriptor is closed, and the next batch starts from a new one and from what a rescan of the disk proves.

What happens to the lines of a failed batch: they may or may not be on the disk, and their callers were told
that nothing was recorded. While this process lives, it knows how far it acknowledged, so the rescan moves
everything after that to a quarantine file, cuts the segment there and records the fact as its next record. No
checkpoint can cover such lines, because only acknowledged records are signed. If the process dies first, its
successor cannot know, and keeps whole lines as records: an intent nobody acted on then reads as unfinished,
which is the safe error. A log that is shorter than its checkpoint, or contradicts it, is refused, never restarted.

A segment that is long or old enough ends at a checkpoint, so a signature covers every closed segment whole. A segment
that somebody cut or wrote to is noticed at the very next write, before it is acknowledged; one that was unlinked or
moved away at the next checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import final

from gateway.audit.cadence import Cadence
from gateway.audit.entry import Entry, Quarantine, Signed
from gateway.audit.errors import LogDamaged, NotRecorded, not_recorded
from gateway.audit.files import Files
from gateway.audit.framing import MAX_FRAME_BYTES, Framer
from gateway.audit.keyring import Keyring
from gateway.audit.ledger import Ledger
from gateway.audit.lock import OriginLock
from gateway.audit.newest import first_time_ns
from gateway.audit.note import Checkpoint, Signer
from gateway.audit.port import Position
from gateway.audit.resume import EVERY_BYTES
from gateway.audit.retention import Retired
from gateway.audit.scan import Scan, check, check_file, read_checkpoint, retired_from, save_leaves, scan, set_aside
from gateway.audit.segment import Place, leaves_path, next_segment
from gateway.audit.space import Reservation, Space
from gateway.audit.tree import HASH_BYTES, Frontier, leaf_hash
from gateway.domain.instant import NS, Clock


@final
class Store:
    """Holds the lock, the descriptor and the tree of one origin. Not thread-safe, except `reserve`."""

    def __init__(
        self,
        place: Place,
        signer: Signer,
        keys: Keyring,
        clock: Clock,
        files: Files,
        report: Callable[[Quarantine], bytes],
        cadence: Cadence,
    ) -> None:
        """Open or create the log. Raises OriginBusy, LogDamaged, NotRecorded."""
        self.place = place
        self.fault: NotRecorded | None = None
        self.hold: NotRecorded | None = None  # set from outside: why no new call may begin
        self.told: Callable[[], None] = lambda: None  # called after each checkpoint
        self.upkeep_fault: OSError | None = None
        self.quarantined: list[Quarantine] = []
        self.signed: Signed | None = None
        self._signer: Signer | None = signer
        self._keys = keys
        self._clock = clock
        self._files = files
        self._report = report
        self._cadence = cadence
        self._framer = Framer(place.origin, clock)
        self._space = Space(files)
        self._descriptor: int | None = None
        self._state: Scan | None = None
        self._covered, self._syncs, self._overdue = 0, 0, False  # the last checkpoint, and since then
        self._segment_since = 0
        self._retired = Retired(place.origin)
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
    def files(self) -> Files:
        return self._files

    @property
    def retired(self) -> Retired:
        return self._retired

    @property
    def size(self) -> int:
        """Acknowledged records."""
        return self._state.frontier.size if self._state else 0

    @property
    def ledger(self) -> Ledger:
        """Of the calls in them."""
        return self._state.ledger if self._state else Ledger()

    def reserve(self, size: int) -> Reservation:
        try:
            return self._space.reserve(size)
        except OSError as error:
            raise self._unavailable(error) from error

    def commit(self, entries: Sequence[Entry]) -> None:
        """Write a batch with one sync and give each entry its outcome. Raises only what interrupts a process.

        Call `sign_full` afterwards: by then those who wait for the batch may know.
        """
        try:
            if self._descriptor is None:
                self._recover()
            waiting = [*self._notices, *entries] if self._notices else entries
            batch = self._admit(waiting)
            self._write(batch)
            if len(batch) == len(waiting):
                self.fault = None
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

    @property
    def full(self) -> bool:
        """Whether a checkpoint is due by number."""
        return self._descriptor is not None and self._cadence.due(self.size - self._covered, self._syncs)

    def sign_full(self) -> None:
        """Sign if it is due by number. A failure stops new calls. Raises only what interrupts a process."""
        if self.full:
            self._sign()

    def _admit(self, waiting: Sequence[Entry]) -> Sequence[Entry]:
        """Those there is room for. Records nobody reserved for are refused first, so that outcomes still fit."""
        if self.hold is not None:
            self.fault = self.hold
            waiting = self._refuse(waiting, self.hold)
        if (self._overdue or self.full) and not self._try_checkpoint():
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
            if os.lseek(descriptor, 0, os.SEEK_CUR) != state.length + len(data):
                raise LogDamaged(self.place.origin, f"{state.segment.name} was changed by somebody else while open")
            self._files.fdatasync(descriptor)
        except BaseException:
            self._space.undo(self._promised)
            raise
        self._syncs += 1
        leaves = list(map(leaf_hash, lines))
        state.frontier.extend(leaves)
        state.tail += leaves
        for at, entry in enumerate(batch, seq):
            state.ledger.take(at, lines[at - seq])
            entry.outcome = Position(at, leaves[at - seq])
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

    def sign_due(self) -> None:
        """Sign what has waited long enough. A failure stops new calls, as with a checkpoint that is due by number."""
        if self._descriptor is None or self.size == self._covered:
            return
        self._overdue = True
        self._sign()

    def _sign(self) -> None:
        try:
            self._try_checkpoint()
        except BaseException as error:  # whatever it was, nobody knows what is on the disk now
            self._poison(error)
            if not isinstance(error, Exception):
                raise

    def checkpoint(self) -> None:
        """Sign what was acknowledged. Raises OSError, LogDamaged."""
        state, signer = self._state, self._signer
        if state is None or signer is None or self._descriptor is None:
            raise OSError("the log is not open")
        check_file(self.place, state, self._descriptor)
        size = state.frontier.size
        self._save_leaves(state)
        text = Checkpoint(self.place.origin, size, state.frontier.root()).text()
        note = signer.sign(text)
        self._files.replace(self.place.checkpoint, note)
        self._covered, self._syncs, self._overdue = size, 0, False
        self.signed = Signed(note, Frontier(size, state.frontier.peaks))
        state.tail.clear()
        self._upkeep(state, signer)
        self.told()

    def _upkeep(self, state: Scan, signer: Signer) -> None:
        """Begin a new segment if it is time; keep the place for the next start. Everything written is signed now.

        Neither is needed for a record to be evidence, so a failure is kept in `upkeep_fault` and tried again later.
        """
        try:
            age = self._clock.now().wall_ns - self._segment_since
            if state.length and (
                state.length >= self._cadence.rotate_bytes or age >= self._cadence.rotate_seconds * NS
            ):
                self._rotate(state)
            elif state.length - state.resumed < EVERY_BYTES:
                return
            if state.ledger.keepable:
                state.resume().save(self.place, self._files, signer)
            state.resumed = state.length
            self.upkeep_fault = None
        except OSError as error:
            self.upkeep_fault = error

    def _rotate(self, state: Scan) -> None:
        """Go on in the next segment. Raises OSError; before the switch everything stays, after it only disk is lost.

        The side file of a closed segment is durable: no start reads that segment to make it again.
        """
        following = next_segment(state.segment)
        if not self._leaves_failed:
            held = (state.frontier.size - state.segment_start) * HASH_BYTES
            self._files.patch(leaves_path(state.segment), held, b"")
        descriptor = self._files.open_append(following)
        try:
            self._space.move(descriptor)
        except BaseException:
            self._files.close(descriptor)
            raise
        before, length = self._descriptor, state.length
        assert before is not None  # noqa: S101 -- for the type checker; a checkpoint was just written
        self._descriptor = descriptor
        state.close_segment(following)
        state.resumed = 0
        self._segment_since = self._clock.now().wall_ns
        try:
            self._files.truncate(before, length)  # gives back the disk that was set aside beyond its end
        finally:
            self._files.close(before)

    def _save_leaves(self, state: Scan) -> None:
        """The side file only helps to name a damaged record: without it (a full disk, C142) we sign all the same.

        So it is not waited for either: what a power cut takes of it, the next start makes again.
        """
        if self._leaves_failed:
            return  # the next opening rebuilds it
        try:
            save_leaves(self.place, self._files, self._retired, state, self._covered)
        except OSError:
            self._leaves_failed = True

    def _recover(self) -> None:
        """Open the log at what the disk proves. Raises LogDamaged, OSError; nothing is open afterwards then."""
        if self._signer is None:
            raise OSError("the log was closed")
        known = self._state
        self._retired = retired_from(self.place, self._keys)
        raw, signed = read_checkpoint(self.place, self._keys)
        found = scan(self.place, signed, self._retired, self._keys, known.frontier.size if known else None)
        check(self.place, found, signed, known)
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
        self._syncs = self.size - self._covered  # nobody knows how many served them
        self._segment_since = first_time_ns(found.segment) or self._clock.now().wall_ns
        if signed is None or found.length - found.resumed >= EVERY_BYTES:
            self.checkpoint()  # the first one, of nothing: from here on a missing checkpoint is damage
        elif self.signed is None:
            self.signed = Signed(raw, Frontier(self._covered, found.checkpoint_peaks))

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
        return not_recorded(self.place.origin, error)

    def close(self, *, sign: bool = True) -> None:
        """Sign, give back unused disk, unlock. Raises NotRecorded if signing failed; the origin is let go anyway."""
        state = self._state
        failure = self.fault if sign and self._descriptor is None else None
        try:
            if sign and state is not None and self._descriptor is not None:
                if state.frontier.size > self._covered:
                    self.checkpoint()  # which may begin a new segment
                check_file(self.place, state, self._descriptor)
                self._files.truncate(self._descriptor, state.length)
        except (OSError, LogDamaged) as error:
            failure = self._unavailable(error)
        finally:
            self._space.detach()
            descriptor, self._descriptor = self._descriptor, None
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
