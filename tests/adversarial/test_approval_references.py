"""Catalogue, C133: what stands behind an approved reference, exchanged after people agreed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import OpenedFile, Parked, Session
from gateway.cli.app import app
from gateway.domain.decision import ReasonCode
from gateway.office import Office
from gateway.policy.guard_documents import IdentifierGuard, UrlGuard
from gateway.validate.beneath import open_file
from tests.adversarial.clearing import reason as reason_of
from tests.support import ANA, Tool, gateway_with, one, reason, records, result, tool, vote
from tests.unit.clear.world import ARGUMENTS, World, contract

AGREED = b"pay 25 to Lea\n"
OTHER = b"pay 99 to Eve\n"
DIGEST = hashlib.sha256(AGREED).hexdigest()


def sends(fn: Callable[..., Any], **more: Any) -> Tool:
    """`fn` takes an opened file of the folder `desk`; a person must agree unless `more` says otherwise."""
    parameters = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
    asks = {"risk": "high", "effect": "external", "approval": {"when": "always"}}
    guards = {"order": {"kind": "path", "root": "desk", "max_bytes": 1000}}
    return Tool(tool(name="send").contract | asks | {"parameters": parameters, "guards": guards} | more, fn)


def send(order: OpenedFile) -> str:
    return order.read().decode()


def desk(base: Path) -> tuple[Path, dict[str, Any]]:
    (base / "desk").mkdir()
    file = base / "desk" / "order.txt"
    file.write_bytes(AGREED)
    return file, {"settings": {"roots": {"desk": str(base / "desk")}}}


def agreed(base: Path, session: Session) -> str:
    """A request that a person has agreed to."""
    parked = one(session, "send", order="order.txt")
    assert isinstance(parked, Parked), parked
    vote(base, parked.request_id)
    return parked.request_id


def test_c133_the_approver_is_shown_what_the_file_holds(tmp_path: Path) -> None:
    _, more = desk(tmp_path)
    with gateway_with(tmp_path, sends(send), **more) as gateway:
        parked = one(gateway.session(ANA), "send", order="order.txt")
        assert isinstance(parked, Parked)
        with Office.open(tmp_path / "policies", tmp_path / "home") as office:
            view = office.desk().show(parked.request_id)
        where = ["-p", str(tmp_path / "policies"), "--home", str(tmp_path / "home")]
        said = CliRunner().invoke(app, ["approvals", "show", parked.request_id, *where]).output
    assert view is not None
    (argument,) = view.arguments
    assert argument.leads_to.startswith(f"{len(AGREED)} bytes with SHA-256 {DIGEST}; ")
    assert DIGEST in said
    assert all(len(line) <= 80 for line in said.splitlines() if DIGEST in line)
    assert DIGEST not in (tmp_path / "home" / "audit" / "gw" / "00000000.jsonl").read_text()  # it may be guessable


def test_c133_a_file_that_is_as_it_was_is_handed_over(tmp_path: Path) -> None:
    _, more = desk(tmp_path)
    with gateway_with(tmp_path, sends(send), **more) as gateway:
        session = gateway.session(ANA)
        assert result(session.resume_sync(agreed(tmp_path, session))) == AGREED.decode()


@pytest.mark.parametrize("content", [OTHER, AGREED + b"x", AGREED[:-1], b""])
@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "replaced"])
def test_c133_a_file_exchanged_after_approval_is_not_what_was_approved(
    tmp_path: Path, content: bytes, in_place: bool
) -> None:
    file, more = desk(tmp_path)
    ran: list[str] = []

    def send(order: OpenedFile) -> str:
        ran.append(order.name)
        return order.read().decode()

    with gateway_with(tmp_path, sends(send), **more) as gateway:
        session = gateway.session(ANA)
        request_id = agreed(tmp_path, session)
        if not in_place:
            file.unlink()
        file.write_bytes(content)
        assert reason(session.resume_sync(request_id)) is ReasonCode.APPROVAL_INVALID
        assert ran == []
        assert records(tmp_path, "call.denied")[-1]["detail"] == (
            "what it refers to has changed since it was asked: order"
        )
        file.write_bytes(AGREED)  # the grant was not burnt, and is for these bytes
        assert result(session.resume_sync(request_id)) == AGREED.decode()


def test_c133_a_file_changed_while_the_call_runs_is_read_as_it_was_approved(tmp_path: Path) -> None:
    file, more = desk(tmp_path)

    def send(order: OpenedFile) -> str:
        with file.open("r+b") as same:  # the same inode that the guard opened
            same.write(OTHER)
        return os.pread(order.fileno(), 100, 0).decode() + order.read().decode() + str(order.size)

    with gateway_with(tmp_path, sends(send), **more) as gateway:
        session = gateway.session(ANA)
        assert result(session.resume_sync(agreed(tmp_path, session))) == AGREED.decode() * 2 + str(len(AGREED))
    assert file.read_bytes() == OTHER


def test_c133_the_held_content_cannot_be_written_by_anybody(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(AGREED)
    with open_file(str(tmp_path), "a.txt", 100) as opened:
        opened.pinned(hold=True)
        assert not os.get_inheritable(opened.fileno())
        with pytest.raises(PermissionError):
            os.pwrite(opened.fileno(), OTHER, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(opened.fileno(), 0)
        assert opened.read() == AGREED


def test_c133_a_file_larger_than_may_be_read_is_never_hashed_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(AGREED)
    with open_file(str(tmp_path), "a.txt", 100) as opened:
        with (tmp_path / "a.txt").open("ab") as same:
            same.write(b"x" * 100)
        for hold in (False, True):
            with pytest.raises(OSError, match="grew"):
                opened.pinned(hold=hold)


def test_c133_what_cannot_be_read_is_neither_asked_for_nor_run(world: World, approved: str) -> None:
    class Gone:
        def pinned(self, *, hold: bool) -> dict[str, object]:
            raise OSError("the disk is gone")

    for request_id in (None, approved):
        call = world.call(request_id=request_id)
        call.capabilities["order"] = Gone()
        assert reason_of(world.clear_call(call)) is ReasonCode.FACT_UNAVAILABLE
    assert world.state_of(approved) == "pending"


def test_c133_what_leads_where_nobody_can_look_is_shown_as_mutable(world: World) -> None:
    guards = {
        "order": IdentifierGuard(kind="identifier", prefix="A-"),
        "reason": UrlGuard(kind="url", hosts=("example.org",)),
    }
    world.contracts["refund"] = contract().model_copy(update={"guards": guards})
    view = world.desk().show(world.park(world.call({**ARGUMENTS, "reason": "https://example.org/report"})))
    assert view is not None
    assert {each.name: each.leads_to for each in view.arguments} == {
        "order": "what this names may change after you agree",
        "amount": "",
        "reason": "what stands at this address may change after you agree",
    }


def test_c133_a_call_that_needs_nobody_is_handed_the_file_itself(tmp_path: Path) -> None:
    """It pays neither for a digest nor for a copy."""
    file, more = desk(tmp_path)

    def send(order: OpenedFile) -> bool:
        return os.fstat(order.fileno()).st_ino == file.stat().st_ino

    freely = {"risk": "low", "effect": "none", "approval": {"when": "rules"}}
    with gateway_with(tmp_path, sends(send, **freely), **more) as gateway:
        assert result(one(gateway.session(ANA), "send", order="order.txt")) is True
