"""Personal data under a key of its subject: sealed, readable, erased, and nowhere else in the log."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from gateway import Principal
from gateway.audit.subjects import PersonalUnavailable, SubjectKeys, personal_place, subject_id
from gateway.domain.decision import ReasonCode
from gateway.keys import Keys
from gateway.office import verify_home
from gateway.settings import locate
from tests.conformance.verify_log import verify_origin
from tests.support import ANA, gateway_with, one, reason, records, result, tool

PLACE = personal_place("call.intent", "call_1")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.create(tmp_path / "deployment")


def _subjects(tmp_path: Path, keys: Keys) -> SubjectKeys:
    return SubjectKeys(tmp_path / "subjects", keys)


def test_sealed_parts_are_read_in_their_place_only(tmp_path: Path, keys: Keys) -> None:
    subjects = _subjects(tmp_path, keys)
    sealed = subjects.seal("ana", PLACE, {"to": "x@example.org", "odd": {1, 2}, "\ud800": 2**70})
    assert "example.org" not in str(sealed)
    assert sealed["subject"] == subject_id("ana")
    read = _subjects(tmp_path, keys).read(sealed, PLACE)
    assert read is not None
    assert read["to"] == "x@example.org"
    for other, place in (
        (sealed, b"elsewhere"),
        ({**sealed, "sealed": "AAAA" * 20}, PLACE),
        ({**sealed, "sealed": 7}, PLACE),
    ):
        with pytest.raises(PersonalUnavailable):
            subjects.read(other, place)


def test_erasing_is_final_counts_in_other_processes_and_can_be_repeated(tmp_path: Path, keys: Keys) -> None:
    running, command = _subjects(tmp_path, keys), _subjects(tmp_path, keys)
    before = running.seal("ana", PLACE, {"to": "x"})
    other = running.seal("ben", PLACE, {"to": "y"})
    erased = command.erase("ana")
    assert erased.keys == (before["key"],)
    assert running.read(before, PLACE) is None
    after = running.seal("ana", PLACE, {"to": "z"})
    assert after["key"] != before["key"]
    assert running.read(before, PLACE) is None
    assert running.read(after, PLACE) == {"to": "z"}
    assert running.read(other, PLACE) == {"to": "y"}
    assert command.erase("ana").keys == (before["key"], after["key"])
    assert command.erase("ana").keys == (before["key"], after["key"])
    assert command.erase("nobody").keys == ()
    assert not [
        path
        for path in (tmp_path / "subjects").iterdir()
        if path.name.startswith(subject_id("ana")) and path.suffix == ".key"
    ]


def test_many_first_uses_at_once_agree_on_one_key(tmp_path: Path, keys: Keys) -> None:
    sealed: list[dict[str, object]] = []
    threads = [
        threading.Thread(target=lambda: sealed.append(_subjects(tmp_path, keys).seal("ana", PLACE, {"a": 1})))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sealed) == 8
    assert len({each["key"] for each in sealed}) == 1


def test_a_sealing_key_that_was_rotated_still_opens_subject_keys(tmp_path: Path, keys: Keys) -> None:
    sealed = _subjects(tmp_path, keys).seal("ana", PLACE, {"a": 1})
    assert _subjects(tmp_path, keys.rotate()).read(sealed, PLACE) == {"a": 1}


def mail(to: str, text: str, n: int) -> dict[str, object]:
    if text == "burst":
        raise RuntimeError(f"no mailbox {to}")
    return {"sent": to}


def _mail(**more: object) -> object:
    return tool(mail, personal=["to", "text"], effect="external", **more)


def _raw(base: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (base / "home" / "audit").rglob("*.jsonl*"))


def _opened(base: Path, record: dict[str, object]) -> dict[str, object] | None:
    where = locate(base / "policies", base / "home")
    subjects = SubjectKeys(where.keys / "subjects", Keys.open(where.keys / "deployment"))
    call = record["call"]
    assert isinstance(call, dict)
    assert isinstance(record["personal"], dict)
    return subjects.read(record["personal"], personal_place(str(record["kind"]), call["call_id"]))


def test_personal_arguments_and_what_repeats_them_stand_nowhere_in_plain(tmp_path: Path) -> None:
    secret_to, secret_text = "zoe.private@example.org", "meet me at noon"
    rule = {"id": "few", "require": "args.n < 9 && facts.seen != 'x'", "tell_model": "Too many."}
    governed = _mail(rules=[rule], facts={"seen": {"provider": "seen", "args": ["to"]}})
    confirm = tool(
        mail, name="mail_confirmed", personal=["to", "text"], effect="external", risk="high",
        approval={"when": "always", "approvers": 1, "show_facts": True},
        facts={"seen": {"provider": "seen", "args": ["to"]}},
    )  # fmt: skip
    with gateway_with(tmp_path, governed, confirm) as gateway:  # type: ignore[arg-type]
        gateway.register_fact("seen", lambda ctx, to: f"last written to {to}")
        session = gateway.session(ANA, on_behalf_of=Principal("zoe"))
        assert result(one(session, "mail", to=secret_to, text=secret_text, n=1)) == {"sent": secret_to}
        assert reason(one(session, "mail", to=secret_to, text=secret_text, n=10)) == ReasonCode.RULE
        one(session, "mail", to=secret_to, text="burst", n=1)
        one(session, "mail_confirmed", to=secret_to, text=secret_text, n=1)
    raw = _raw(tmp_path)
    assert secret_to.encode() not in raw
    assert secret_text.encode() not in raw
    (intent, _) = records(tmp_path, "call.intent")
    assert _opened(tmp_path, intent) == {
        "facts": {"seen": f"last written to {secret_to}"},
        "arguments": {"to": secret_to, "text": secret_text},
    }
    assert intent["arguments"] == {"n": 1}
    (released, failed) = records(tmp_path, "call.outcome")
    preview = _opened(tmp_path, released)
    assert preview is not None
    assert secret_to in str(preview["preview"])
    assert failed["status"] == "failed"
    (denied,) = records(tmp_path, "call.denied")
    opened = _opened(tmp_path, denied)
    assert opened is not None
    assert opened["arguments"] == {"to": secret_to, "text": secret_text}
    (asked,) = records(tmp_path, "approval.requested")
    assert _opened(tmp_path, asked) == _opened(tmp_path, intent)
    assert asked["arguments"] == {"n": 1}
    assert {each["personal"]["subject"] for each in (intent, released, denied, asked)} == {subject_id("zoe")}

    where = locate(tmp_path / "policies", tmp_path / "home")
    SubjectKeys(where.keys / "subjects", Keys.open(where.keys / "deployment")).erase("zoe")
    assert _opened(tmp_path, intent) is None
    assert verify_home(where).ok
    assert verify_origin(where.audit, where.checkpoints, where.trust, "gw").kind == "ok"


def test_no_key_no_call_and_a_finished_call_is_recorded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[bool] = []
    real = os.stat

    def stat(path: object, *args: object, **more: object) -> os.stat_result:
        if broken and "subjects" in str(path):
            raise OSError(errno.EIO, "no disk")
        return real(path, *args, **more)  # type: ignore[arg-type]

    ran: list[str] = []

    def mail(to: str) -> str:
        ran.append(to)
        broken.append(True)
        return "done"

    monkeypatch.setattr(os, "stat", stat)
    with gateway_with(tmp_path, tool(mail, personal=["to"], effect="external")) as gateway:
        session = gateway.session(ANA)
        assert result(one(session, "mail", to="first")) == "done"
        assert reason(one(session, "mail", to="second")) == ReasonCode.AUDIT_UNAVAILABLE
        broken.clear()
    assert ran == ["first"]
    (outcome,) = records(tmp_path, "call.outcome")
    assert outcome["status"] == "released"
    assert outcome["personal"] == {"not_kept": ["preview"]}
