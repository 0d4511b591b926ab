"""A log of real events by a real writer, with the folders that readers are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.audit.encode import encode
from gateway.audit.origin import enroll, load_keyrings
from gateway.audit_tools.index import Index
from gateway.audit_tools.receipt import make
from gateway.audit_tools.story import Story, story_of
from gateway.domain.event import (
    ApprovalRequested,
    ApprovalVoted,
    CallDenied,
    CallIntent,
    CallOutcome,
    CallSettled,
    Event,
    Subject,
)
from tests.fakes.audit_desk import Desk

STEPS = {"parse": 10, "authorize": 20, "execute": 3000}


class Log:
    """Origins `gw` and, where asked for, `stranger`, whom nobody enrolled."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.desk = Desk(base)
        self.state = base / "state"
        self.state.mkdir()

    def write(self, *events: Event, tick: float = 0.001, **cadence: Any) -> None:
        with self.desk.open(**cadence) as log:
            for event in events:
                log.append(encode(event))
                self.desk.clock.advance(tick)

    def put_stranger(self, *lines: bytes, origin: str = "stranger") -> None:
        folder = self.desk.audit / origin
        folder.mkdir(exist_ok=True)
        with (folder / "00000000.jsonl").open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def stranger_says(self, event: Event, seq: int = 0, origin: str = "stranger") -> bytes:
        head = b'{"seq":%d,"origin":"%s","time":"2027-01-15T08:00:00.000000Z","mono_ns":1,'
        return head % (seq, origin.encode()) + encode(event)[1:]

    def index(self, state: Path | None = None) -> Index:
        return Index.open(state or self.state, self.desk.audit, frozenset(load_keyrings(self.desk.trust)))

    def receipt(self, call_id: str, approvers: dict[str, bytes] | None = None) -> dict[str, Any]:
        with self.index() as index:
            story = story_of(index, call_id, enrolled_only=True) or Story(call_id, (), ())
        desk = self.desk
        keyrings = load_keyrings(desk.trust)
        return make(story, desk.audit, desk.checkpoints, desk.trust, keyrings, approvers or {})

    def also(self, origin: str) -> Desk:
        """A second enrolled origin of the same deployment."""
        other = Desk.__new__(Desk)
        other.__dict__.update(self.desk.__dict__)
        other.origin = origin
        enroll(origin, other.keys, other.trust)
        return other


def subject(call_id: str = "call_1", **fields: Any) -> Subject:
    plain: dict[str, Any] = {
        "call_id": call_id,
        "provider_call_id": "p1",
        "principal": "ana",
        "on_behalf_of": None,
        "conversation": "talk",
        "tool": "refund",
        "parent_id": None,
        "depth": 0,
        "request_id": None,
        "policy_digest": "sha256:00",
    }
    return Subject(**(plain | fields))


def intent(call_id: str = "call_1", arguments: object = None, proofs: Any = (), **fields: Any) -> CallIntent:
    return CallIntent(
        call=subject(call_id, **fields),
        contract="tools/refund.yaml:1",
        contract_version="1",
        contract_digest="sha256:11",
        risk="low",
        effect="none",
        grant="policy.csv:1 (role:support)",
        wire_digest="hmac-sha256:k:1",
        effective_digest="hmac-sha256:k:2",
        arguments=arguments if arguments is not None else {"order": "A-1003"},
        personal=None,
        authority=(),
        facts={},
        proofs=proofs,
        effect_key=None,
        attempt=1,
        sandbox=None,
    )


def outcome(
    call_id: str = "call_1", seq: int = 0, status: str = "released", preview: str = "", **fields: Any
) -> CallOutcome:
    return CallOutcome(subject(call_id, **fields), seq, status, None, "", None, 0, preview, {}, {}, dict(STEPS))


def denied(call_id: str = "call_1", reason: str = "rule", detail: str = "", **fields: Any) -> CallDenied:
    about = subject(call_id, **fields)
    return CallDenied(about, 4, reason, "not_allowed", detail, None, about.tool, None, None, {}, {}, 0, dict(STEPS))


def requested(
    call_id: str = "call_1", request_id: str = "req_1", digest: str = "ab" * 32, **fields: Any
) -> ApprovalRequested:
    return ApprovalRequested(
        subject(call_id, **fields), request_id, digest, "sha256:11", "hmac-sha256:k:2", {"order": "A-1003"},
        ({"kind": "approval", "why": "large", "rule": "tools/refund.yaml:3"},), {}, "2027-01-15T12:00:00.000000Z",
    )  # fmt: skip


def voted(request_id: str = "req_1", digest: str = "ab" * 32, **fields: Any) -> ApprovalVoted:
    plain: dict[str, Any] = {
        "verdict": "approve", "voter": "bob", "key_id": "00", "dev_key": False, "comment": "fine", "proof": ""
    }  # fmt: skip
    return ApprovalVoted(request_id, digest, **(plain | fields))


def settled(call_id: str = "call_1", finding: str = "happened") -> CallSettled:
    return CallSettled(call_id, "gw", 0, finding, "carol", "looked it up")
