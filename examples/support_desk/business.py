"""The shop behind the desk: customers, orders, refunds, mail received, and a ledger of every effect.

Money is integer US cents. Every effect and its ledger row are one transaction. The ledger has no uniqueness
but its own id: an effect that happens twice stands there twice. The shop books what it is told, as back
ends do that trust their caller: whether an order is the caller's, and whether so much is left of it, is for
the gateway.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

BUSY_SECONDS = 5.0  # how long one process waits for another's transaction
PIN_COST = 2**12  # scrypt n: a demonstration's seed should not take seconds

SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'closed')), pin_hash BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers (id),
    status TEXT NOT NULL CHECK (status IN ('placed', 'shipped', 'delivered', 'cancelled')),
    total_cents INTEGER NOT NULL CHECK (total_cents >= 0), currency TEXT NOT NULL CHECK (currency = 'USD'),
    placed_on TEXT NOT NULL, item TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders (id),
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0), reason TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS mails (
    id TEXT PRIMARY KEY, sender TEXT NOT NULL, recipient TEXT NOT NULL, subject TEXT NOT NULL,
    body TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS ledger (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL,
    effect TEXT NOT NULL CHECK (effect IN ('refund', 'close_account', 'mail')),
    subject TEXT NOT NULL, detail TEXT NOT NULL
);
"""

ORDER_COLUMNS = """
    SELECT o.id, o.customer_id, o.status, o.total_cents, o.currency, o.placed_on, o.item,
           COALESCE((SELECT SUM(r.amount_cents) FROM refunds r WHERE r.order_id = o.id), 0) AS refunded_cents
    FROM orders o
"""

LEDGER_ROWS = """
    SELECT number, id, at, effect, subject, detail FROM ledger
    WHERE (? IS NULL OR effect = ?) AND (? IS NULL OR subject = ?) ORDER BY number
"""


class NotFoundError(LookupError):
    """The shop knows no such customer or order."""


class WrongPinError(PermissionError):
    """The pin is not the customer's."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order; `refunded_cents` is the sum of its refunds so far and may exceed the total."""

    id: str
    customer_id: str
    status: str
    total_cents: int
    currency: str
    placed_on: str
    item: str
    refunded_cents: int


@dataclass(frozen=True, slots=True)
class Customer:
    id: str
    name: str
    email: str
    status: str


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One effect and its subject: `refund` of an order, `close_account` of a customer, `mail` to someone."""

    number: int
    id: str
    at: str
    effect: str
    subject: str
    detail: dict[str, object]


@dataclass(frozen=True, slots=True)
class Mail:
    id: str
    sender: str
    recipient: str
    subject: str
    body: str
    at: str


def hash_pin(customer_id: str, pin: str) -> bytes:
    return hashlib.scrypt(pin.encode(), salt=customer_id.encode(), n=PIN_COST, r=8, p=1)


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop in one SQLite file. A connection a call: fit for any thread or process."""

    database: Path

    def create(self) -> None:
        """Make the tables where they are missing."""
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)

    def add_customer(self, customer: Customer, pin: str) -> None:
        row = (customer.id, customer.name, customer.email, customer.status, hash_pin(customer.id, pin))
        with self._writing() as connection:
            connection.execute("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", row)

    def add_order(self, order: Order) -> None:
        """Store an order; its `refunded_cents` is computed, never stored."""
        row = (order.id, order.customer_id, order.status, order.total_cents)
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*row, order.currency, order.placed_on, order.item),
            )

    def order(self, order_id: str) -> Order:
        """Raises NotFoundError."""
        with self._connection() as connection:
            row = connection.execute(ORDER_COLUMNS + "WHERE o.id = ?", (order_id,)).fetchone()
        if row is None:
            raise NotFoundError(f"no order {order_id}")
        return Order(*row)

    def search(self, customer_id: str, status: str | None, limit: int) -> list[Order]:
        """Orders of one customer, newest first; of one status if named."""
        where = "WHERE o.customer_id = ? AND (? IS NULL OR o.status = ?) ORDER BY o.placed_on DESC, o.id LIMIT ?"
        with self._connection() as connection:
            rows = connection.execute(ORDER_COLUMNS + where, (customer_id, status, status, limit)).fetchall()
        return [Order(*row) for row in rows]

    def customer(self, customer_id: str) -> Customer:
        """Raises NotFoundError."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT id, name, email, status FROM customers WHERE id = ?", (customer_id,)
            ).fetchone()
        if row is None:
            raise NotFoundError(f"no customer {customer_id}")
        return Customer(*row)

    def refund(self, order_id: str, amount_cents: int, reason: str) -> str:
        """Book one refund and return its id. Raises NotFoundError for an unknown order."""
        self.order(order_id)
        refund_id = f"rf-{uuid.uuid4()}"
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO refunds VALUES (?, ?, ?, ?, ?)",
                (refund_id, order_id, amount_cents, reason, _now()),
            )
            _enter(connection, "refund", order_id, amount_cents=amount_cents, reason=reason, refund_id=refund_id)
        return refund_id

    def close_account(self, customer_id: str, reason: str, pin: str) -> None:
        """Close the account. Raises NotFoundError, or WrongPinError where `pin` is not the customer's."""
        with self._writing() as connection:
            row = connection.execute("SELECT pin_hash FROM customers WHERE id = ?", (customer_id,)).fetchone()
            if row is None:
                raise NotFoundError(f"no customer {customer_id}")
            if not hmac.compare_digest(row[0], hash_pin(customer_id, pin)):
                raise WrongPinError("the pin is not the one on file")
            connection.execute("UPDATE customers SET status = 'closed' WHERE id = ?", (customer_id,))
            _enter(connection, "close_account", customer_id, reason=reason)

    def receive_mail(self, sender: str, recipient: str, subject: str, body: str) -> None:
        """What the mail server calls for each recipient of a message it accepted."""
        mail_id = str(uuid.uuid4())
        with self._writing() as connection:
            row = (mail_id, sender, recipient, subject, body, _now())
            connection.execute("INSERT INTO mails VALUES (?, ?, ?, ?, ?, ?)", row)
            _enter(connection, "mail", recipient, mail_id=mail_id, title=subject)

    def mails(self) -> list[Mail]:
        """Mail received, oldest first."""
        with self._connection() as connection:
            rows = connection.execute("SELECT * FROM mails ORDER BY rowid").fetchall()
        return [Mail(*row) for row in rows]

    def ledger(self, effect: str | None = None, subject: str | None = None) -> list[LedgerEntry]:
        """Effects in the order they happened; of one kind or one subject if named."""
        with self._connection() as connection:
            rows = connection.execute(LEDGER_ROWS, (effect, effect, subject, subject)).fetchall()
        return [
            LedgerEntry(number, entry_id, at, kind, about, json.loads(detail))
            for number, entry_id, at, kind, about, detail in rows
        ]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.database, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed whole at the end, rolled back on any exception."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _enter(connection: sqlite3.Connection, effect: str, subject: str, **detail: object) -> None:
    row = (str(uuid.uuid4()), _now(), effect, subject, json.dumps(detail))
    connection.execute("INSERT INTO ledger (id, at, effect, subject, detail) VALUES (?, ?, ?, ?, ?)", row)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
