"""A small deployment for tests of clearing: real database, real keys, real markers; only the clock is a fake."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.clear.desk import Desk
from gateway.clear.markers import SpentMarkers
from gateway.clear.port import Rules
from gateway.clear.stage import Clear, Draft
from gateway.clear.store import RequestStore
from gateway.clear.view import RequestView
from gateway.domain.call import (
    AuthorizedCall,
    CallContext,
    ClearedCall,
    ContractRef,
    LimitedCall,
    Parked,
    ParsedCall,
    ShapedCall,
    ValidatedCall,
)
from gateway.domain.canonical import canonical
from gateway.domain.charge import Charge
from gateway.domain.decision import Obligation, Provenance, Refusal
from gateway.domain.ids import Principal, new_id
from gateway.keys import Keys, public_text
from gateway.policy.documents import Approver, Contract
from gateway.state.database import Database
from gateway.waiting import Blocking, OwnLoop, Workers, drive
from tests.fakes.clock import FakeClock

APPROVAL = Obligation("approval", "more than 100 USD", Provenance("tools/refund.yaml", 12, "limit"))
CONFIRMATION = Obligation("confirmation", "closing cannot be undone")
ARGUMENTS: Mapping[str, object] = {"order": "A-7", "amount": "250.00", "reason": "broken"}
WAITS = Blocking(Workers(1), OwnLoop())
HOST = "host-key-1"


def contract(tool: str = "refund", *, approvers: int = 1, confirm: bool = False, expires_s: int = 3600) -> Contract:
    return Contract.model_validate(
        {
            "tool": tool,
            "description": "pays money back",
            "risk": "high",
            "effect": "external",
            "parameters": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in (*ARGUMENTS, "pin")},
            },
            "authority": ("order", "amount"),
            "secrets": ("pin",),
            "approval": {"when": "rules", "approvers": approvers, "confirm": confirm, "expires_s": expires_s},
        }
    )


class World:
    """Opened on one folder; opening another World on the same folder is another process, or a restart."""

    def __init__(
        self, folder: Path, *, clock: FakeClock | None = None, origin: str = "worker-1", busy_s: float = 5
    ) -> None:
        self.folder = folder
        self.clock = clock or FakeClock()
        self.origin = origin
        self.keys = Keys.create(folder / "keys")
        self.people = {name: _person(folder / "people", name) for name in ("alice", "bob", "carol", "dave", "host")}
        self.approvers = {
            name: Approver(id=name, key=public_text(self.people[name])) for name in ("alice", "bob", "carol")
        }
        self.may = {("bob", "refund"), ("carol", "refund"), ("alice", "refund"), ("service", "refund")}
        self.hosts = {HOST: self.people["host"].public_key().public_bytes_raw()}
        self.contracts = {"refund": contract()}
        self.contract_digest = "sha256:contract-1"
        self.images: dict[str, str] = {}
        self.newest_log_ns = 0
        self.pending_requests = 20
        self.database = Database(self.path, busy_s=busy_s)
        self.store = RequestStore(self.database, SpentMarkers(folder / "spent"))

    @property
    def path(self) -> Path:
        return self.folder / "state" / "state.db"

    def rules(self) -> Rules:
        return Rules(
            contracts=dict(self.contracts),
            approvers=tuple(self.approvers.values()),
            may_approve=lambda voter, tool: (voter, tool) in self.may,
            trusted_hosts=dict(self.hosts),
            sandbox_of=lambda tool, _: self.images.get(tool),
            pending_requests=self.pending_requests,
        )

    def clear(self) -> Clear:
        return Clear(
            self.store,
            self.rules(),
            sealer=self.keys,
            clock=self.clock,
            origin=self.origin,
            newest_log_ns=lambda: self.newest_log_ns,
        )

    def desk(self) -> Desk:
        return Desk(
            self.store, self.rules(), sealer=self.keys, clock=self.clock, newest_log_ns=lambda: self.newest_log_ns
        )

    # a call as step 4 hands it over

    def call(
        self,
        arguments: Mapping[str, object] = ARGUMENTS,
        *,
        request_id: str | None = None,
        obligations: tuple[Obligation, ...] = (APPROVAL,),
        principal: str = "alice",
        on_behalf_of: str | None = None,
        conversation: str = "talk-1",
        tool: str = "refund",
        facts: Mapping[str, object] | None = None,
        effect_key: str | None = None,
        generation: int = 0,
        depth: int = 0,
        charges: tuple[Charge, ...] = (),
    ) -> ValidatedCall:
        ctx = CallContext(
            id=new_id("call"),
            provider_call_id="call_abc",
            principal=Principal(principal),
            on_behalf_of=None if on_behalf_of is None else Principal(on_behalf_of),
            conversation=conversation,
            policy_digest="policy-1",
            at=self.clock.now(),
            started_ns=self.clock.monotonic_ns(),
            request_id=request_id,
            depth=depth,
        )
        wire = json.dumps(arguments).encode()
        effective = canonical(arguments)
        masked = canonical({k: "hmac-sha256:00" if k == "pin" else v for k, v in arguments.items()})
        ref = ContractRef(tool, "1", self.contract_digest, "high", "external", Provenance("tools/refund.yaml", 1))
        parsed = ParsedCall(ctx, tool, dict(arguments), False, wire, "wire")
        limited = LimitedCall(ctx, parsed, AuthorizedCall(ctx, parsed, ref, Provenance("policy.csv", 3)), 1, ())
        digest = self.keys.digest.digest(effective)
        shaped = ShapedCall(
            ctx, limited, ref, effective, digest, masked, None, () if effect_key is None else (effect_key,)
        )
        known: dict[str, object] = {"order_total": 300.5} if facts is None else dict(facts)
        return ValidatedCall(ctx, shaped, ref, known, obligations, {}, generation, charges)

    def clear_call(self, call: ValidatedCall) -> ClearedCall | Refusal | Parked | Draft:
        return drive(self.clear()(call, WAITS))

    def park(self, call: ValidatedCall | None = None) -> str:
        """The id of a request that was parked."""
        draft = self.clear_call(call or self.call())
        assert isinstance(draft, Draft), draft
        parked = drive(self.clear().park(draft, WAITS))
        assert isinstance(parked, Parked), parked
        return parked.request_id

    def vote(self, request_id: str, voter: str = "bob", verdict: str = "approve", comment: str = "") -> RequestView:
        desk = self.desk()
        view = desk.show(request_id)
        assert view is not None
        return desk.cast(
            desk.ballot(
                request_id,
                verdict,  # type: ignore[arg-type]
                voter=voter,
                sign_with=self.people[voter].sign,
                comment=comment,
                shown=view.digest,
            )
        )

    def confirm(self, request_id: str, principal: str = "alice") -> RequestView:
        desk = self.desk()
        sign = self.people["host"].sign
        return desk.cast(desk.confirm(request_id, Principal(principal), key_id=HOST, sign_with=sign))

    def redeem(self, request_id: str, **changed: object) -> ClearedCall | Refusal | Parked | Draft:
        return self.clear_call(self.call(request_id=request_id, **changed))  # type: ignore[arg-type]

    def finish(self, cleared: ClearedCall, state: str = "done", content: str | None = "refunded") -> None:
        drive(self.clear().finish(cleared, state, content, WAITS))

    # what only an intruder or a disaster does

    def by_hand(self, sql: str, *values: object) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute(sql, values)
        connection.close()

    def state_of(self, request_id: str) -> str:
        request = self.store.get(request_id)
        assert request is not None
        return request.state

    def backup(self) -> Path:
        self.by_hand("PRAGMA user_version=1")
        kept = self.folder / "backup.db"
        source, target = sqlite3.connect(self.path), sqlite3.connect(kept)
        source.backup(target)
        source.close()
        target.close()
        return kept

    def restored(self, kept: Path) -> World:
        """The deployment after its database was brought back; the log and the markers stay."""
        self.database.close()
        for leftover in self.path.parent.iterdir():
            leftover.unlink()
        shutil.copy(kept, self.path)
        self.path.chmod(0o600)
        again = World(self.folder, clock=self.clock, origin=self.origin)
        again.contracts = self.contracts
        return again


def _person(folder: Path, name: str) -> Ed25519PrivateKey:
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = folder / name
    if not kept.exists():
        kept.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(kept.read_bytes())
