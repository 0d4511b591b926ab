"""The policy epoch: which policy was applied for everybody, and which process runs which (I6).

`toolgate policy apply` sets the epoch once the running gateways have followed the lock, or have had their time; from
then on one that runs another policy refuses every call. The hot read of the epoch stands in `kill_switches`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, final

from sqlalchemy import JSON, BigInteger, Column, Integer, MetaData, String, Table, delete, insert, select

from gateway.domain.instant import Clock
from gateway.state.database import Database

METADATA: Final = MetaData()
EPOCHS: Final = Table(
    "policy_epoch",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("digest", String(96), nullable=False),
    Column("applied_by", String(256), nullable=False),
    Column("at_wall_ns", BigInteger, nullable=False),
)
WORKERS: Final = Table(
    "policy_gateways",
    METADATA,
    Column("origin", String(64), primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("version", String(64), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("digest", String(96), nullable=False),
    Column("since_wall_ns", BigInteger, nullable=False),
    Column("fault", String(2048), nullable=False),
    Column("fault_wall_ns", BigInteger, nullable=False),
    Column("shadow", JSON, nullable=True),
)
_ONLY: Final = 1


@final
@dataclass(frozen=True, slots=True)
class Worker:
    """One gateway process. `mode` is `enforce` or `observe`; `digest` is in force there since `since_wall_ns`.

    `fault` says why it could not take a newer policy, so that this one, the last good one, stays; empty if it could.
    `shadow` is the candidate judged beside it and what came of that (`policy_tools.shadow.Tally`), or None.
    """

    origin: str
    pid: int
    version: str
    mode: str
    digest: str
    since_wall_ns: int
    fault: str = ""
    fault_wall_ns: int = 0
    shadow: dict[str, object] | None = None


@final
class PolicyEpoch:
    """The shared record of what is in force. Every method raises StateUnavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        with database.write() as connection:
            METADATA.create_all(connection)

    def applied(self) -> str | None:
        """The digest of the policy that every process must run, or None where none was ever applied."""
        with self._database.read() as connection:
            return connection.execute(select(EPOCHS.c.digest).where(EPOCHS.c.id == _ONLY)).scalar_one_or_none()

    def apply(self, digest: str, by: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(EPOCHS).where(EPOCHS.c.id == _ONLY))
            connection.execute(
                insert(EPOCHS).values(id=_ONLY, digest=digest, applied_by=by, at_wall_ns=self._clock.now().wall_ns)
            )

    def report(self, worker: Worker) -> None:
        """A gateway says what it runs."""
        with self._database.write() as connection:
            connection.execute(delete(WORKERS).where(WORKERS.c.origin == worker.origin))
            connection.execute(insert(WORKERS).values(**asdict(worker)))

    def gone(self, origin: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(WORKERS).where(WORKERS.c.origin == origin))

    def workers(self) -> tuple[Worker, ...]:
        with self._database.read() as connection:
            return tuple(Worker(*row) for row in connection.execute(select(WORKERS).order_by(WORKERS.c.origin)))
