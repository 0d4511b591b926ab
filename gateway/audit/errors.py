"""What can go wrong with the audit log; each error denies the call that met it (fail closed)."""

from __future__ import annotations

from pathlib import Path

from gateway.domain.errors import AuditUnavailable, ToolgateError, UsageError


class NotRecorded(AuditUnavailable):
    """A record could not be made durable. The call it belongs to must not go on."""

    def __init__(self, origin: str, why: str) -> None:
        self.origin = origin
        self.why = why
        super().__init__(
            f"audit log {origin!r} cannot record: {why}. Calls are denied until a write succeeds; "
            "check the disk under the audit folder and the checkpoint folder."
        )


def not_recorded(origin: str, error: BaseException) -> NotRecorded:
    """Whatever kept a record from the log, as the error that denies."""
    if isinstance(error, NotRecorded):
        return error
    what = str(error) if isinstance(error, ToolgateError | OSError) else f"{type(error).__name__}: {error}"
    fault = NotRecorded(origin, what)
    fault.__cause__ = error
    return fault


class ForkedWriter(NotRecorded):
    """A forked child tried to use its parent's log."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin, "this process was forked from the writer; open an origin of its own after the fork")


class OriginBusy(AuditUnavailable):
    """Another live process holds this origin."""

    def __init__(self, origin: str, holder: int | None) -> None:
        self.origin = origin
        self.holder = holder
        who = f"process {holder}" if holder is not None else "another process"
        super().__init__(
            f"audit origin {origin!r} is held by {who}. Stop it, or give this process an origin of its own."
        )


class LogDamaged(AuditUnavailable):
    """What is on disk contradicts the signed checkpoint or the format; nothing is written over it."""

    def __init__(self, origin: str, what: str, seq: int | None = None) -> None:
        self.origin = origin
        self.what = what
        self.seq = seq
        where = "" if seq is None else f" at record {seq}"
        super().__init__(
            f"audit log {origin!r} is damaged{where}: {what}. Nothing was changed. Run `toolgate audit verify`, "
            "keep the files as evidence, and start on a new origin if service must resume."
        )


class RecordRefused(UsageError):
    """The caller handed in something that is not one JSON object on one line, or misused a reservation."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"not a record: {why}")


class NoteInvalid(ToolgateError):
    """A signed note or checkpoint that is malformed, or that no trusted key has signed."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"invalid signed note: {why}")


class KeyProblem(ToolgateError):
    """A signing or verifying key is missing, exposed, malformed or not the enrolled one."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"key {path}: {why}")


class WitnessUnavailable(ToolgateError):
    """The witness could not be asked: nothing is known, so nothing is proved."""

    def __init__(self, witness: str, why: str) -> None:
        self.witness = witness
        self.why = why
        super().__init__(
            f"the witness {witness} cannot be reached: {why}. Records go on being written if the policy allows it, "
            "but a rolled-back log would not show. Bring the witness back."
        )


class WitnessRefused(ToolgateError):
    """The witness does not take this checkpoint. `status` is the HTTP status it means."""

    def __init__(self, witness: str, why: str, status: int) -> None:
        self.witness = witness
        self.why = why
        self.status = status
        super().__init__(
            f"the witness {witness} refuses the checkpoint ({status}): {why}. Compare the keys it trusts with ours; "
            "if they agree, treat the log as evidence of tampering."
        )


class WitnessConflict(ToolgateError):
    """The witness keeps another checkpoint than we thought: one of `size` records, -1 if it does not say."""

    def __init__(self, witness: str, size: int) -> None:
        self.witness = witness
        self.size = size
        super().__init__(
            f"the witness {witness} has seen {size} records of another or a longer history. "
            "Keep the files as evidence and run `toolgate audit verify --witness`."
        )
