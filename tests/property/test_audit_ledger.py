"""What a start knows without reading the log is what reading all of it says (I5), whatever the calls hold."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.encode import encode
from gateway.audit.framing import Framer
from gateway.audit.intents import logged_calls
from gateway.audit.ledger import Ledger
from gateway.domain.event import CallDenied, CallIntent, CallOutcome, CallSettled, DenialsCoalesced, Event, Subject
from tests.fakes.clock import FakeClock

CALLS = 4
# What a hostile model or provider may put where fields of ours stand before and after.
HOSTILE: list[Any] = [
    {},
    {"effect_key": None, "request_id": None, "kind": "call.outcome", "call_id": "call_0"},
    {"text": '","request_id":null,"effect_key":null,"kind":"call.settled","'},
    {"deep": [{"effect_key": "x", "request_id": "req_x", "call": {"call_id": "call_1"}}]},
]
NAMES = ["c", '"request_id":null', '"call_id":"call_1"', '"kind":"call.outcome"', "\\", "\u2028"]


def _subject(number: int, request: str | None, name: str) -> Subject:
    return Subject(f"call_{number}", name, name, None, name, "pay", None, 0, request, "sha256:00")


def _intent(number: int, request: str | None, effect: str | None, hostile: Any, name: str) -> CallIntent:
    return CallIntent(
        call=_subject(number, request, name),
        contract="tools/pay.yaml:1",
        contract_version="1",
        contract_digest="sha256:00",
        risk="low",
        effect="external",
        grant=name,
        wire_digest="hmac-sha256:k:0",
        effective_digest="hmac-sha256:k:0",
        arguments=hostile,
        personal=None,
        authority=(),
        facts={"it": hostile},
        proofs=(),
        effect_key=effect,
        attempt=1,
        sandbox=None,
    )


@st.composite
def _stories(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = []
    begun: dict[int, tuple[int, str | None]] = {}
    claims = [  # the same in every attempt of one call
        (draw(st.sampled_from([None, f"req_{number}"])), draw(st.sampled_from([None, "hmac-sha256:k:9"])))
        for number in range(CALLS)
    ]
    for _ in range(draw(st.integers(0, 25))):
        number = draw(st.integers(0, CALLS - 1))
        hostile, name = draw(st.sampled_from(HOSTILE)), draw(st.sampled_from(NAMES))
        what = draw(st.sampled_from(["intent", "outcome", "outcome", "settled", "denied", "other"]))
        if what == "intent":
            request, effect = claims[number]
            begun[number] = (len(events), request)
            events.append(_intent(number, request, effect, hostile, name))
        elif what == "outcome" and number in begun:
            seq, request = begun.pop(number)  # an intent ends once
            status = draw(st.sampled_from(["released", "failed", "unknown"]))
            call = _subject(number, request, name)
            events.append(CallOutcome(call, seq, status, None, name, None, 0, name, {}, {"e": hostile}, {}))
        elif what == "settled":
            finding = draw(st.sampled_from(["happened", "did_not_happen", "cannot_tell"]))
            events.append(CallSettled(f"call_{number}", "gw", 0, finding, name, name))
        elif what == "denied":
            call = _subject(number, None, name)
            events.append(CallDenied(call, 4, "rule", "no", name, None, name, None, None, hostile, {}, 0, {}))
        else:
            events.append(DenialsCoalesced(name, name, 1))
    return events


@given(_stories(), st.integers(0, 25))
def test_a_ledger_says_of_open_calls_what_the_whole_log_says(events: list[Event], kept_at: int) -> None:
    framer, ledger, lines = Framer("gw", FakeClock()), Ledger(), []
    for seq, event in enumerate(events):
        if seq == kept_at:  # stored, and read by the next process
            ledger = Ledger.load(orjson.loads(orjson.dumps(ledger.stored())))
        lines.append(framer.line(seq, encode(event)))
        ledger.take(seq, lines[-1])
    assert ledger.unreadable is None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "gw").mkdir()
        (Path(folder) / "gw" / "00000000.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        logged = logged_calls(Path(folder), ["gw"])
    for call_id, call in logged.items():
        claims = call.request_id is not None or call.effect_key is not None
        known = ledger.calls.get(call_id)
        if known is None:
            assert not claims or (call.request_id is None and call.outcome in ("released", "failed"))
            continue
        assert (known.seq, known.request_id, known.effect_key) == (call.seq, call.request_id, call.effect_key)
        assert known.outcome == call.outcome
        assert ledger.settled.get(("gw", call_id)) == call.settled
    assert ledger.calls.keys() <= logged.keys()


@given(_stories())
def test_a_ledger_that_forgets_says_up_to_when(events: list[Event]) -> None:
    framer, full, short = Framer("gw", FakeClock()), Ledger(), Ledger(remember=1)
    for seq, event in enumerate(events):
        line = framer.line(seq, encode(event))
        full.take(seq, line)
        short.take(seq, line)
    gone = full.calls.keys() - short.calls.keys()
    assert all(full.calls[each].outcome in ("released", "failed") for each in gone)
    assert all(full.calls[each].time <= short.forgot_until for each in gone)
    assert len([each for each in short.calls.values() if each.outcome in ("released", "failed")]) <= 1
    assert bool(gone) <= bool(short.forgot_until)
