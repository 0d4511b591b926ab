"""What must happen though nobody calls: checkpoints that are due by time, and telling the witness of each one.

Guarantee: a record waits at most `seconds` for its signature while the process lives. The witness is told on a thread
of its own, so the network never holds up a record; it is told again until it agrees. What it answers last is in
`fault`; where the policy requires a witness, `hold` denies new calls until it has agreed to everything signed so far.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, final

from gateway.alarm import alarm
from gateway.audit.cosignature import WitnessKey
from gateway.audit.entry import Signed
from gateway.audit.errors import (
    LogDamaged,
    NoteInvalid,
    NotRecorded,
    WitnessConflict,
    WitnessRefused,
    WitnessUnavailable,
)
from gateway.audit.files import Files
from gateway.audit.proofs import consistency
from gateway.audit.retention import Retired, stored_leaves
from gateway.audit.segment import Place
from gateway.audit.tree import Frontier
from gateway.audit.witness import Witness
from gateway.domain.errors import ToolgateError

RETRY_S: Final = 10.0  # between two attempts at a witness that failed


@final
class Witnessing:
    """One witness of one log. `keys` are the witness's own keys, where it has any; `required` denies without it."""

    def __init__(
        self, witness: Witness, *, keys: tuple[WitnessKey, ...] = (), required: bool = False, close_s: float = 5.0
    ) -> None:
        """`close_s`: how long closing waits for the last checkpoint to be taken."""
        self.witness = witness
        self.required = required
        self.close_s = close_s
        self.fault: ToolgateError | None = None
        self._keys = keys
        self._known: Frontier | None = None
        self._told = b""

    def behind(self, signed: Signed | None) -> bool:
        """Whether the witness has not yet agreed to the last checkpoint."""
        return signed is not None and signed.note != self._told

    def tell(self, place: Place, retired: Retired, signed: Signed, files: Files) -> None:
        """Hand in the checkpoint. Sets `fault`; raises LogDamaged where the witness has seen more than there is."""
        try:
            note = signed.note + self._add(place, retired, signed)
            for key in self._keys:
                key.time(note)
        except LogDamaged as error:
            self._fail(error)
            raise
        except NoteInvalid as error:
            self._fail(WitnessRefused(self.witness.name, f"its answer does not count: {error.why}", 200))
        except (WitnessUnavailable, WitnessRefused, WitnessConflict) as error:
            self._fail(error)
        except (LookupError, OSError) as error:  # no proof can be made here and now
            self._fail(WitnessUnavailable(self.witness.name, str(error)))
        else:
            self._known, self._told, self.fault = signed.frontier, signed.note, None
            self._keep(place, note, files)

    def _add(self, place: Place, retired: Retired, signed: Signed) -> bytes:
        size = signed.frontier.size
        old = self._known.size if self._known is not None else size
        try:
            return self.witness.add(old, self._proof(place, retired, old, signed), signed.note)
        except WitnessConflict as conflict:
            if conflict.size > size:
                why = f"the witness {self.witness.name} has seen {conflict.size} records, {size} are signed here"
                raise LogDamaged(place.origin, why) from conflict
            if conflict.size < 0 or conflict.size == old:
                why = f"the witness {self.witness.name} has seen another history of {size} records"
                raise LogDamaged(place.origin, why) from conflict
            self._known = None
            return self.witness.add(conflict.size, self._proof(place, retired, conflict.size, signed), signed.note)

    def _proof(self, place: Place, retired: Retired, old: int, signed: Signed) -> list[bytes]:
        """After a start the witness is usually a few records behind: then most of the tree is known as it stands."""
        known = self._known or signed.frontier
        return consistency(old, signed.frontier.size, stored_leaves(place, retired, known).root)

    def _fail(self, fault: ToolgateError) -> None:
        if self.fault is None or str(self.fault) != str(fault):
            alarm().error("witness_failed", fault=str(fault), effect=self._effect())
        self.fault = fault

    def _effect(self) -> str:
        return "new calls are denied until it agrees" if self.required else "a rolled-back log would not show"

    def _keep(self, place: Place, note: bytes, files: Files) -> None:
        """The cosigned note is for receipts; the witness has its own copy, so a full disk costs only that."""
        try:
            files.replace(place.witnessed, note)
        except OSError as error:
            alarm().warning("cosigned_checkpoint_not_kept", fault=str(error))


@final
class Keeper:
    """The thread. `sign_due` signs what waits; `signed` gives the last checkpoint; `tell` hands it to the witness."""

    def __init__(
        self,
        name: str,
        seconds: float,
        sign_due: Callable[[], None],
        lagging: Callable[[], bool],
        tell: Callable[[], None],
    ) -> None:
        self._seconds = seconds
        self._sign_due = sign_due
        self._lagging = lagging
        self._tell = tell
        self.closing = False  # from here on a log that is closed is no news
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name=f"audit-keeper-{name}", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """A checkpoint was written."""
        self._wake.set()

    def close(self, patience_s: float) -> None:
        """Tell the witness of the last checkpoint, and end; give up after `patience_s`."""
        self._stop = True
        self._wake.set()
        self._thread.join(patience_s)

    def _run(self) -> None:
        due = time.monotonic() + self._seconds
        while True:
            rest = due - time.monotonic()
            self._wake.wait(min(rest, RETRY_S) if self._lagging() else max(rest, 0))
            self._wake.clear()
            stopping = self._stop  # read before telling: what is signed meanwhile is told in another round
            if not stopping and time.monotonic() >= due:
                try:
                    self._sign_due()
                except NotRecorded as error:
                    if not self.closing:
                        alarm().error("checkpoint_failed", fault=str(error))
                due = time.monotonic() + self._seconds
            if self._lagging():
                self._tell()
            if stopping:
                return
