"""`toolgate audit erase`, `rotate-key`, `retire`, as people type them, on a whole deployment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway import Parked, Principal
from gateway.audit.cadence import Cadence
from gateway.audit.origin import load_keyrings
from gateway.cli.app import app
from gateway.domain.decision import ReasonCode
from gateway.domain.errors import StateUnavailable
from gateway.office import calls_in, verify_home
from gateway.settings import locate
from tests.conformance.verify_log import verify_origin
from tests.support import ANA, gateway_with, one, open_gateway, reason, records, result, tool, vote


def mail(to: str) -> str:
    return "sent"


MAIL = tool(mail, personal=["to"], effect="external")
WHY = ("--by", "max", "--why", "she asked")


def _run(base: Path, *words: str) -> Result:
    where = ["--policies", str(base / "policies"), "--home", str(base / "home")]
    return CliRunner().invoke(app, ["audit", *words, *where])


def _whole(base: Path) -> None:
    where = locate(base / "policies", base / "home")
    report = verify_home(where)
    assert report.ok, report
    for each in report.origins:
        assert verify_origin(where.audit, where.checkpoints, where.trust, each.origin).kind == "ok"


def test_erase_is_recorded_and_verify_still_passes(tmp_path: Path) -> None:
    with gateway_with(tmp_path, MAIL) as gateway:
        result(one(gateway.session(ANA), "mail", to="zoe@example.org"))
    key = records(tmp_path, "call.intent")[0]["personal"]["key"]
    assert "1 key(s) destroyed" in _run(tmp_path, "erase", "ana", *WHY).output
    (erased,) = records(tmp_path, "subject.erased", origin="command-line")
    assert (erased["subject"], erased["keys"], erased["by"]) == ("ana", [key], "max")
    assert "1 key(s)" in _run(tmp_path, "erase", "ana", *WHY).output
    assert "nothing was sealed" in _run(tmp_path, "erase", "nobody", *WHY).output
    _whole(tmp_path)


def test_erase_removes_what_a_spent_request_would_give_back(tmp_path: Path) -> None:
    def book(to: str) -> str:
        return f"booked for {to}"

    booking = tool(book, personal=["to"], effect="external", risk="high")
    with gateway_with(tmp_path, booking) as gateway:
        sessions = [gateway.session(ANA, conversation="c", on_behalf_of=Principal(name)) for name in ("zoe", "max")]
        ids = []
        for session in sessions:
            parked = one(session, "book", to="her-address@example.org")
            assert isinstance(parked, Parked)
            ids.append(parked.request_id)
            vote(tmp_path, parked.request_id)
            assert "her-address" in result(session.resume_sync(parked.request_id))
        said = _run(tmp_path, "erase", "zoe", *WHY)
        assert "removed the results of 1 spent request(s)" in said.output
        assert reason(sessions[0].resume_sync(ids[0])) is ReasonCode.GRANT_SPENT
        assert "her-address" in result(sessions[1].resume_sync(ids[1]))
    assert "removed the results" not in _run(tmp_path, "erase", "zoe", *WHY).output
    _whole(tmp_path)


def test_rotate_key_of_a_gateway_that_is_stopped(tmp_path: Path) -> None:
    with gateway_with(tmp_path, MAIL):
        assert "is held by process" in str(_run(tmp_path, "rotate-key", "gw", *WHY).exception)
    done = _run(tmp_path, "rotate-key", "gw", *WHY)
    assert done.exit_code == 0, done.output
    where = locate(tmp_path / "policies", tmp_path / "home")
    keys = load_keyrings(where.trust)["gw"]
    (rotated,) = records(tmp_path, "key.rotated", origin="command-line")
    assert (rotated["old_key_id"], rotated["new_key_id"]) == (keys.first.key_id.hex(), keys.current.key_id.hex())
    _whole(tmp_path)
    with open_gateway(tmp_path, MAIL) as gateway:
        result(one(gateway.session(ANA), "mail", to="x"))
    _whole(tmp_path)
    assert "signed nothing yet" in str(_run(tmp_path, "rotate-key", "other", *WHY).exception)
    assert _run(tmp_path, "rotate-key", "command-line", *WHY).exit_code == 0
    _whole(tmp_path)


def test_c119_verify_says_what_a_lost_key_still_proves(tmp_path: Path) -> None:
    with gateway_with(tmp_path, MAIL) as gateway:
        result(one(gateway.session(ANA), "mail", to="x"))
    where = locate(tmp_path / "policies", tmp_path / "home")
    key = where.keys / "origins" / "gw.key"
    kept = key.read_bytes()
    key.unlink()
    (report,) = verify_home(where).origins
    assert report.ok
    (said,) = report.warnings
    assert f"lost: restore it from a backup, or go on under a new origin. {report.records} records stay" in said
    key.write_bytes(kept)
    key.chmod(0o644)
    assert "others can read it" in verify_home(where).origins[0].warnings[0]
    key.chmod(0o600)
    assert verify_home(where).origins[0].warnings == ()
    shutil.rmtree(where.keys)  # a verifier's own machine holds no private keys
    assert verify_home(where).origins[0].warnings == ()


def test_retire_keeps_what_is_young_and_what_nobody_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.wiring.Cadence", _small)
    with gateway_with(tmp_path, MAIL, settings={"audit": {"checkpoint_every": 4}}) as gateway:
        session = gateway.session(ANA)
        for number in range(4):
            one(session, "mail", to=f"{number}")
    assert "nothing is old enough" in _run(tmp_path, "retire", "gw", "--keep-days", "1", *WHY).output
    done = _run(tmp_path, "retire", "gw", "--keep-days", "0", *WHY)
    assert "records are retired" in done.output, done.output + str(done.exception)
    (retired,) = records(tmp_path, "segments.retired", origin="command-line")
    where = locate(tmp_path / "policies", tmp_path / "home")
    assert min(path.name for path in (where.audit / "gw").glob("*.jsonl")) == retired["first_kept"]
    assert next(each.retired for each in verify_home(where).origins if each.origin == "gw") == retired["records"]
    _whole(tmp_path)
    with open_gateway(tmp_path, MAIL) as gateway:
        result(one(gateway.session(ANA), "mail", to="x"))
    _whole(tmp_path)


def test_retire_keeps_what_explains_a_claim_that_was_not_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcome is in the log and its claim still in the database: a later start must find out that it ran."""
    monkeypatch.setattr("gateway.wiring.Cadence", _small)
    pay = tool(mail, name="pay", effect="external", effect_key=["to"])
    with gateway_with(tmp_path, pay, settings={"audit": {"checkpoint_every": 4}}) as gateway:
        session = gateway.session(ANA)
        one(session, "pay", to="first")
        with monkeypatch.context() as patch:
            patch.setattr("gateway.clear.stage.Clear.finish", _lost)
            one(session, "pay", to="kept")
        for number in range(6):
            one(session, "pay", to=f"{number}")
    where = locate(tmp_path / "policies", tmp_path / "home")
    (held,) = (call.seq for call in calls_in(where).values() if call.arguments == {"to": "kept"})
    done = _run(tmp_path, "retire", "gw", "--keep-days", "0", *WHY)
    assert done.exit_code == 0, done.output
    assert next(each.retired for each in verify_home(where).origins if each.origin == "gw") <= held
    with open_gateway(tmp_path, pay):
        pass  # the claim is explained and closed
    assert "records are retired" in _run(tmp_path, "retire", "gw", "--keep-days", "0", *WHY).output
    assert next(each.retired for each in verify_home(where).origins if each.origin == "gw") > held
    _whole(tmp_path)


async def _lost(*_: object) -> None:
    raise StateUnavailable("the disk is gone")


async def _nobody_knows(*_: object) -> None:
    raise RuntimeError("nobody knows what it did")


def test_retire_keeps_the_findings_that_still_settle_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.wiring.Cadence", lambda **more: _small(**{**more, "records": 1}))
    pay = tool(mail, name="pay", effect="external", effect_key=["to"])
    with gateway_with(tmp_path, pay) as gateway, monkeypatch.context() as patch:
        patch.setattr("gateway.execute.stage.Execute.__call__", _nobody_knows)
        unknown = one(gateway.session(ANA), "pay", to="x")
    settled = _run(tmp_path, "settle", unknown.ctx.id, "--found", "did_not_happen", *WHY)
    assert settled.exit_code == 0, settled.output
    for _ in range(12):
        _run(tmp_path, "erase", "nobody", *WHY)
    where = locate(tmp_path / "policies", tmp_path / "home")
    _run(tmp_path, "retire", "command-line", "--keep-days", "0", *WHY)
    assert not [call for call in calls_in(where).values() if call.unfinished]
    (where.audit / "command-line" / "frontier").unlink(missing_ok=True)
    with open_gateway(tmp_path, pay) as gateway:
        assert result(one(gateway.session(ANA), "pay", to="x")) == "sent"


def _small(**more: object) -> object:
    return Cadence(**{**more, "rotate_bytes": 1500})  # type: ignore[arg-type]
