"""A receipt proves one call to somebody who holds public keys only; whatever is changed in it is found and named."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.encode import encode
from gateway.audit.keyring import Rotation
from gateway.audit.note import Checkpoint, Signer, Verifier
from gateway.audit.origin import load_keyrings, rotate_key
from gateway.audit_tools.check import Checked, check
from gateway.audit_tools.plain import ascii_json
from gateway.audit_tools.receipt import NoReceipt
from gateway.clear.votes import key_id_of, signed_bytes
from tests.conformance.check_receipt import REFUSALS
from tests.conformance.check_receipt import check as independent
from tests.conformance.verify_log import read_key
from tests.unit.audit_tools.desk import Log, denied, intent, outcome, requested, settled, voted

BOB = Ed25519PrivateKey.from_private_bytes(b"b" * 32)
BOB_PUBLIC = BOB.public_key().public_bytes_raw()
DIGEST = "ab" * 32


def keys_of(log: Log) -> dict[str, Verifier]:
    return {name: ring.first for name, ring in load_keyrings(log.desk.trust).items()}


def verdict(receipt: dict[str, Any], keys: dict[str, Verifier], approvers: dict[str, bytes] | None = None) -> Checked:
    return judged(ascii_json(receipt).encode(), keys, approvers)


def judged(raw: bytes, keys: dict[str, Verifier], approvers: dict[str, bytes] | None = None) -> Checked:
    """Our verdict, once the checker that was written from the document alone has agreed with it."""
    ours = check(raw, keys, approvers)
    try:
        theirs = independent(raw, {name: read_key(str(key)) for name, key in keys.items()}, approvers or {})
    except REFUSALS:
        assert not ours.ok
        return ours
    assert ours.ok, ours.wrong
    assert theirs.proved == {(origin, seq) for origin, seq, _ in ours.proved}
    assert theirs.unproved == set(ours.unproved)
    assert theirs.votes == [(vote.voter, vote.verdict, vote.verified, vote.known) for vote in ours.votes]
    return ours


def approved_call(log: Log) -> None:
    """A call that waited for bob, ran under another id, and stands among others."""
    signature = base64.b64encode(BOB.sign(signed_bytes(DIGEST, "approve", "bob", "fine"))).decode()
    cast = {"voter": "bob", "verdict": "approve", "key_id": key_id_of(BOB_PUBLIC), "dev_key": False}
    proof = cast | {"signature": signature}
    log.write(
        denied("call_0"),
        requested("call_1", "req_1", DIGEST),
        voted("req_1", DIGEST, **cast, proof=signature),
        denied("call_5"),
        intent("call_2", request_id="req_1", proofs=(proof,)),
        outcome("call_2", 4, preview="paid", request_id="req_1"),
        denied("call_6"),
    )


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_a_receipt_proves_request_vote_intent_and_outcome(log: Log) -> None:
    approved_call(log)
    checked = verdict(log.receipt("call_2", {"bob": BOB_PUBLIC}), keys_of(log))
    assert checked.ok, checked.wrong
    assert [seq for _, seq, _ in checked.proved] == [1, 2, 4, 5]
    (vote,) = checked.votes
    assert (vote.voter, vote.verified, vote.known) == ("bob", True, False)
    assert verdict(log.receipt("call_2"), keys_of(log), {"bob": BOB_PUBLIC}).votes[0].known


def test_the_same_under_the_id_it_waited_with_and_under_its_requests(log: Log) -> None:
    approved_call(log)
    for asked in ("call_1", "req_1"):
        assert verdict(log.receipt(asked), keys_of(log)).ok


def test_a_denial_has_a_receipt_too(log: Log) -> None:
    log.write(denied("call_1"))
    assert verdict(log.receipt("call_1"), keys_of(log)).ok


def test_another_key_of_hers_is_not_bobs(log: Log) -> None:
    approved_call(log)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    checked = verdict(log.receipt("call_2"), keys_of(log), {"bob": other})
    assert checked.wrong == ["the vote of 'bob' is not signed by her key"]


def test_a_vote_nobody_can_check_rests_on_the_logs_word(log: Log) -> None:
    approved_call(log)
    (vote,) = verdict(log.receipt("call_2"), keys_of(log)).votes
    assert not vote.verified


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for number, item in enumerate(value) for leaf in _leaves(item, (*path, number))]
    return [path]


def _meaning(text: str) -> list[object]:
    """Words, those in base64 decoded: its last character may be spelled in several ways (RFC 4648, section 3.5)."""
    found: list[object] = []
    for word in text.replace("\n", " \n ").split(" "):
        try:
            found.append(base64.b64decode(word, validate=True))
        except ValueError:
            found.append(word)
    return found


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_changed_value_passes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any one character of any value, changed: refused, unless the meaning of a base64 text stayed the same."""
    global _MADE  # noqa: PLW0603 -- one log serves every example
    if _MADE is None:
        log = Log(tmp_path_factory.mktemp("log"))
        approved_call(log)
        _MADE = log.receipt("call_2", {"bob": BOB_PUBLIC}), keys_of(log)
    good, keys = _MADE
    receipt = copy.deepcopy(good)
    *path, last = data.draw(st.sampled_from(_leaves(receipt)))
    holder = receipt
    for step in path:
        holder = holder[step]
    old = holder[last]
    if isinstance(old, int):
        holder[last] = data.draw(st.integers(-2, 50).filter(lambda new: new != old))
    else:
        at = data.draw(st.integers(0, len(old) - 1))
        new = data.draw(st.characters(codec="utf-8").filter(lambda c: c != old[at]))
        holder[last] = old[:at] + new + old[at + 1 :]
    checked = verdict(receipt, keys)
    same = isinstance(old, str) and _meaning(old) == _meaning(holder[last])
    named_only = path[:1] == ["approvers"]  # what the receipt says of a voter is not believed, only the key's own id
    assert not checked.ok or same or (named_only and (last != "key" or not checked.votes[0].verified)), (path, last)
    assert checked.ok or checked.wrong


_MADE: tuple[dict[str, Any], dict[str, Verifier]] | None = None


def test_records_left_out_are_noticed_where_they_can_be(log: Log) -> None:
    approved_call(log)
    receipt = log.receipt("call_2")
    without = {**receipt, "records": [each for each in receipt["records"] if "call.outcome" not in each["line"]]}
    checked = verdict(without, keys_of(log))
    assert any("no outcome" in note for note in checked.notes)
    only_votes = {**receipt, "records": [each for each in receipt["records"] if "approval." in each["line"]]}
    assert "no record of the call itself is proved by a key you hold" in verdict(only_votes, keys_of(log)).wrong


def test_records_of_another_call_are_refused(log: Log) -> None:
    approved_call(log)
    receipt, other = log.receipt("call_2"), log.receipt("call_0")
    mixed = {**receipt, "records": receipt["records"] + other["records"]}
    assert verdict(mixed, keys_of(log)).wrong == ["record 0 of 'gw' is about another call"]
    assert not verdict({**receipt, "call_id": "call_0"}, keys_of(log)).ok


def test_a_forger_with_a_key_of_his_own_is_refused(log: Log) -> None:
    """He signs a tree of his own under the origin's name: the checker's key did not."""
    approved_call(log)
    receipt = log.receipt("call_2")
    note = receipt["origins"]["gw"]["checkpoint"]
    found = Checkpoint.parse(note.split("\n\n")[0] + "\n")
    receipt["origins"]["gw"]["checkpoint"] = Signer("gw", b"f" * 32).sign(found.text()).decode()
    checked = verdict(receipt, keys_of(log))
    assert any("not signed by the key you hold" in each for each in checked.wrong)


def test_without_the_origins_key_nothing_is_proved(log: Log) -> None:
    approved_call(log)
    checked = verdict(log.receipt("call_2"), {"other": Signer("other", b"o" * 32).verifier})
    assert not checked.ok
    assert len(checked.unproved) == 4


def test_several_origins_prove_their_own_parts(log: Log) -> None:
    other = log.also("cli")
    log.write(denied("call_1"))
    with other.open() as second:
        second.append(encode(settled("call_1")))
    receipt, keys = log.receipt("call_1"), keys_of(log)
    assert len(verdict(receipt, keys).proved) == 2
    checked = verdict(receipt, {"gw": keys["gw"]})
    assert checked.ok
    assert checked.unproved == [("cli", 0)]


def test_a_key_from_before_a_rotation_still_checks(log: Log) -> None:
    log.write(intent("call_1"))
    desk = log.desk
    ring = load_keyrings(desk.trust)["gw"]
    signed = ring.checkpoint(desk.checkpoint.read_bytes())
    rotate_key("gw", desk.keys, desk.trust, signed)
    log.write(outcome("call_1", 0))
    ring = load_keyrings(desk.trust)["gw"]
    receipt = log.receipt("call_1")
    for key in ring.keys:  # somebody who was given the first key, and somebody who was given the newest
        assert verdict(receipt, {"gw": key}).ok
    receipt["origins"]["gw"]["rotations"] = []
    assert not verdict(receipt, {"gw": ring.first}).ok


# what a forger builds


def _forged(origin: str, seq: int, **fields: Any) -> dict[str, Any]:
    line = json.dumps({"seq": seq, "origin": origin, "time": "2027-01-15T08:00:00.000000Z", "mono_ns": 1, **fields})
    return {"origin": origin, "seq": seq, "line": line, "proof": []}


def _with(receipt: dict[str, Any], *more: dict[str, Any], **changed: Any) -> dict[str, Any]:
    records = [*receipt["records"], *more]
    nobody = {each["origin"]: {"checkpoint": "", "rotations": []} for each in more}
    return {**receipt, "records": records, "origins": nobody | receipt["origins"], **changed}


def test_a_record_nobody_proved_does_not_lend_a_proved_call_to_another_one(log: Log) -> None:
    """It says that call_9 waited under bob's request; only an enrolled origin's word would count."""
    approved_call(log)
    receipt = log.receipt("call_2")
    link = _forged("x", 0, kind="approval.requested", call={"call_id": "call_9"}, request_id="req_1")
    forged = _with(receipt, link, call_id="call_9")
    assert any("about another call" in each for each in verdict(forged, keys_of(log)).wrong)


def test_an_unproved_record_that_fits_is_listed_and_proves_nothing(log: Log) -> None:
    approved_call(log)
    link = _forged("x", 0, kind="call.settled", call_id="call_2", finding="did_not_happen")
    checked = verdict(_with(log.receipt("call_2"), link), keys_of(log))
    assert checked.ok
    assert checked.unproved == [("x", 0)]


def test_a_signature_from_another_request_is_no_vote_here(log: Log) -> None:
    """A gateway's owner puts an old signature of bob's under a new call: good, by his key, and not for this."""
    other = "cd" * 32
    signature = base64.b64encode(BOB.sign(signed_bytes(other, "approve", "bob", "fine"))).decode()
    cast = {"voter": "bob", "verdict": "approve", "key_id": key_id_of(BOB_PUBLIC), "dev_key": False}
    log.write(
        requested("call_1", "req_1", DIGEST),
        voted("req_1", other, **cast, proof=signature),
        intent("call_2", request_id="req_1", proofs=(cast | {"signature": signature},)),
    )
    checked = verdict(log.receipt("call_2"), keys_of(log), {"bob": BOB_PUBLIC})
    assert checked.wrong == ["the vote of 'bob' was cast on another request"]


def test_a_record_stands_in_it_once(log: Log) -> None:
    """An outcome told twice reads as a payment made twice."""
    approved_call(log)
    receipt = log.receipt("call_2")
    twice = {**receipt, "records": [*receipt["records"], receipt["records"][-1]]}
    assert verdict(twice, keys_of(log)).wrong == ["not a receipt: a record stands in it twice"]


def test_nothing_travels_with_a_receipt_that_nobody_vouched_for(log: Log) -> None:
    approved_call(log)
    receipt, keys = log.receipt("call_2", {"bob": BOB_PUBLIC}), keys_of(log)
    raw = ascii_json(receipt).encode()
    assert judged(raw, keys).ok
    for at in ("", "origins/gw", "records/0", "approvers/0"):
        fuller = copy.deepcopy(receipt)
        holder: Any = fuller
        for step in filter(None, at.split("/")):
            holder = holder[int(step) if step.isdigit() else step]
        holder["note"] = "trust me"
        assert not verdict(fuller, keys).ok, at
    for bad in (
        _with(receipt, origins={**receipt["origins"], "x": {"checkpoint": "", "rotations": []}}),
        _with(receipt, origins={}),
        _with(receipt, call_id=""),
        _with(receipt, approvers=[{"id": "bob", "key_id": "", "key": "AAAA"}]),
    ):
        assert not verdict(bad, keys).ok
    said_twice = raw.replace(b'"call_id": "call_2"', b'"call_id": "call_9", "call_id": "call_2"', 1)
    assert said_twice != raw
    assert judged(said_twice, keys).wrong == ["not a receipt: no JSON object (a name stands twice in one object)"]


@pytest.mark.parametrize("seq", [-1, 1 << 70])
def test_a_place_outside_the_tree_proves_nothing(log: Log, seq: int) -> None:
    log.write(denied("call_1"))
    receipt = log.receipt("call_1")
    receipt["records"] = [_forged("gw", seq, kind="call.denied", call={"call_id": "call_1"})]
    assert not verdict(receipt, keys_of(log)).ok


def test_a_rotation_that_goes_back_is_passed_over(log: Log) -> None:
    """A key that was rotated out comes back under a statement of its successor: it signs nothing more."""
    log.write(intent("call_1"))
    desk = log.desk
    old = desk.signer()
    rotate_key("gw", desk.keys, desk.trust, load_keyrings(desk.trust)["gw"].checkpoint(desk.checkpoint.read_bytes()))
    new = desk.signer()
    log.write(outcome("call_1", 0))
    receipt, first = log.receipt("call_1"), load_keyrings(desk.trust)["gw"].first
    back = Rotation("gw", 9, bytes(32), old.verifier).note(new, old).decode()
    receipt["origins"]["gw"]["rotations"].append(back)
    assert verdict(receipt, {"gw": first}).ok
    receipt["origins"]["gw"]["checkpoint"] = old.sign(
        receipt["origins"]["gw"]["checkpoint"].split("\n\n")[0] + "\n"
    ).decode()
    assert not verdict(receipt, {"gw": first}).ok


# when no receipt is given


def test_a_record_beyond_the_last_signature_has_none_yet(log: Log) -> None:
    with log.desk.open() as writer:
        writer.append(encode(denied("call_1")))
        with pytest.raises(NoReceipt, match="not under a signature yet"):
            log.receipt("call_1")
    assert verdict(log.receipt("call_1"), keys_of(log)).ok


def test_an_unknown_call_and_a_strangers_have_none(log: Log) -> None:
    log.write(denied("call_1"))
    log.put_stranger(log.stranger_says(denied("call_2")))
    for asked in ("call_2", "call_9"):
        with pytest.raises(NoReceipt, match="no such call"):
            log.receipt(asked)


def test_a_stranger_cannot_crowd_a_call_out_of_its_receipt(log: Log) -> None:
    log.write(intent("call_1"), outcome("call_1", 0))
    log.put_stranger(*(log.stranger_says(denied("call_1"), n) for n in range(1_100)))
    assert len(verdict(log.receipt("call_1"), keys_of(log)).proved) == 2


def test_an_edited_log_gives_none(log: Log) -> None:
    approved_call(log)
    log.desk.put([line.replace(b'"preview":"paid"', b'"preview":"lost"') for line in log.desk.lines()])
    with pytest.raises(NoReceipt, match="verify"):
        log.receipt("call_2")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"receipt":"toolgate receipt v1"}',
        b'{"receipt":"toolgate receipt v2","call_id":"c","origins":{},"records":[1],"approvers":[]}',
        b'{"receipt":"toolgate receipt v1","call_id":"c","origins":{},"records":[],"approvers":[]}',
        b'{"receipt":"toolgate receipt v1","call_id":"c","origins":{},"records":[1],"approvers":[]}',
        b'{"receipt":"toolgate receipt v1","call_id":"c","origins":{"gw":1},"records":[{}],"approvers":[]}',
        b'{"receipt":"toolgate receipt v1","call_id":"","origins":{"g":{}},"records":[1],"approvers":[]}',
    ],
)
def test_what_is_no_receipt_is_refused(raw: bytes) -> None:
    checked = judged(raw, {"gw": Signer("gw", b"g" * 32).verifier})
    assert not checked.ok
    assert checked.wrong[0].startswith("not a receipt")


def test_hostile_text_survives_the_way_byte_for_byte(log: Log) -> None:
    log.write(denied("call_1", detail="\u202e\x7f\u2028\x1b[31m é 🔥"))
    receipt = log.receipt("call_1")
    raw = ascii_json(receipt).encode()
    assert raw.isascii()
    assert b"\x7f" not in raw
    assert json.loads(raw)["records"][0]["line"].encode() == log.desk.lines()[0]
    assert judged(raw, keys_of(log)).ok
