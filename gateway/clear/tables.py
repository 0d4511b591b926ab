"""The tables of clearing. Plain types only, so that the same definitions serve SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

REQUESTS = Table(
    "requests",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("nonce", String(64), nullable=False),
    Column("conversation", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("on_behalf_of", Text),
    Column("tool", String(64), nullable=False),
    Column("contract_digest", Text, nullable=False),
    Column("effective_digest", Text, nullable=False),
    Column("sandbox", Text),
    Column("display_digest", String(64), nullable=False),
    Column("request_digest", String(64), nullable=False),
    Column("created_wall_ns", BigInteger, nullable=False),
    Column("created_boot_ns", BigInteger, nullable=False),
    Column("expires_wall_ns", BigInteger, nullable=False),
    Column("expires_boot_ns", BigInteger, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("policy_digest", Text, nullable=False),
    Column("provider_call_id", Text, nullable=False),
    Column("masked", Text, nullable=False),
    Column("sealed_wire", LargeBinary),
    Column("sealed_dossier", LargeBinary),
    Column("sealed_verdict", LargeBinary),
    Column("claim_origin", Text),
    Column("claim_call", Text),
    Index("requests_by_conversation", "conversation", "state"),
    Index("requests_by_state", "state"),
)

VOTES = Table(
    "votes",
    METADATA,
    Column("request_id", String(64), primary_key=True),
    Column("voter", String(256), primary_key=True),
    Column("verdict", String(16), primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("comment", Text, nullable=False),
    Column("at_wall_ns", BigInteger, nullable=False),
    Column("dev", Integer, nullable=False),
)

EFFECTS = Table(
    "effects",
    METADATA,
    Column("key", String(128), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("holder_origin", Text),
    Column("holder_call", Text),
    Column("holder_request", String(64)),
    Index("effects_by_call", "holder_call"),
)
