"""Files into sandboxed code, and its output to an operator, through the whole gateway."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from gateway import CodeOutput, Gateway, ToolCall
from gateway.domain.call import Denied, Parked, Released
from tests.support import ANA, gateway_with, one, reason, records, result, tool, vote
from tests.unit.sandbox.daemon import ROOT, ready_fixture  # noqa: F401

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

PARAMETERS = {
    "type": "object",
    "properties": {"code": {"type": "string"}, "data": {"type": "string"}},
    "required": ["code"],
    "additionalProperties": False,
}
GUARDS = {"data": {"kind": "path", "root": "desk", "max_bytes": 1 << 20}}
READ = "open('/tmp/in/data').read()"


def reads(name: str, execution: dict[str, Any], **more: Any) -> Any:
    execution = {"sandbox": "python", "deadline_s": 20, **execution}
    return tool(name=name, parameters=PARAMETERS, guards=GUARDS, execution=execution, **more)


TOOLS = (
    reads("run_code", {}),
    reads("run_step", {"stateful": True}),
    reads("run_asked", {}, risk="high", effect="internal", approval={"when": "always"}),
)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "orders.csv").write_text("a,b\n1,2\n")
    (tmp_path / "secret").write_text("not yours")
    return folder


@pytest.fixture
def gateway(tmp_path: Path, desk: Path, ready: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("TOOLGATE_SANDBOX_CACHE", str(ready[1].parent))
    (tmp_path / "policies/sandbox").mkdir(parents=True)
    text = (ROOT / "policies/sandbox/python.yaml").read_text()
    (tmp_path / "policies/sandbox/python.yaml").write_text(text.replace("input_mib: 16", "input_mib: 1"))
    with gateway_with(tmp_path, *TOOLS, settings={"roots": {"desk": str(desk)}}) as opened:
        yield opened


def test_code_finds_the_file_that_the_call_names(gateway: Gateway, tmp_path: Path, desk: Path) -> None:
    code = f"import csv, os\nprint(os.listdir('/tmp/in'), {READ!r} and list(csv.reader(open('/tmp/in/data'))))"
    found = result(one(gateway.session(ANA), "run_code", code=code, data="orders.csv"))
    assert found["stdout"] == "['data'] [['a', 'b'], ['1', '2']]\n"
    (ended,) = records(tmp_path, "call.outcome")
    content = (desk / "orders.csv").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert ended["evidence"]["inputs"] == [{"name": "data", "bytes": len(content), "sha256": sha256}]
    assert result(one(gateway.session(ANA), "run_code", code="import os; os.listdir('/tmp/in')"))["value"] == "[]"


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "link", "folder/../../secret", "folder", "queue", "none", "%2e%2e/secret", ""]
)
def test_c050_no_other_file_comes_in(gateway: Gateway, desk: Path, path: str) -> None:
    (desk / "folder").mkdir()
    (desk / "link").symlink_to("../secret")
    os.mkfifo(desk / "queue")
    outcome = one(gateway.session(ANA), "run_code", code=READ, data=path)
    assert isinstance(outcome, Denied)
    assert reason(outcome) in ("guard", "guard_found")


def test_what_is_too_large_for_the_sandbox_is_refused_and_not_run(gateway: Gateway, tmp_path: Path, desk: Path) -> None:
    (desk / "large").write_bytes(bytes(1 << 20))  # as much as the guard lets through, and with the code too much
    outcome = one(gateway.session(ANA), "run_code", code="print('ran')", data="large")
    assert isinstance(outcome, Released)
    assert outcome.failure is not None
    assert outcome.failure.code == "input_refused"
    (desk / "large").write_bytes(bytes((1 << 20) + 1))
    assert reason(one(gateway.session(ANA), "run_code", code="print('ran')", data="large")) == "guard_found"


def test_code_changes_neither_the_file_nor_what_the_next_run_reads(gateway: Gateway, desk: Path) -> None:
    session = gateway.session(ANA)
    tamper = "import os\nos.chmod('/tmp/in/data', 0o600)\nopen('/tmp/in/data', 'w').write('forged')\n" + READ
    assert result(one(session, "run_step", code=tamper, data="orders.csv"))["value"] == "'forged'"
    assert (desk / "orders.csv").read_text() == "a,b\n1,2\n"
    assert result(one(session, "run_step", code=READ, data="orders.csv"))["value"] == r"'a,b\n1,2\n'"


def test_an_approved_path_is_opened_again_at_its_use_and_the_record_says_what_it_held(
    gateway: Gateway, tmp_path: Path, desk: Path
) -> None:
    session = gateway.session(ANA)
    parked = one(session, "run_asked", code=READ, data="orders.csv")
    assert isinstance(parked, Parked)
    vote(tmp_path, parked.request_id)
    (desk / "orders.csv").unlink()
    (desk / "orders.csv").symlink_to("../secret")
    assert reason(session.resume_sync(parked.request_id)) == "guard_found"
    (desk / "orders.csv").unlink()
    (desk / "orders.csv").write_text("later")
    again = one(session, "run_asked", code=READ, data="orders.csv")
    assert isinstance(again, Parked)
    vote(tmp_path, again.request_id)
    (desk / "orders.csv").write_text("other")
    assert reason(session.resume_sync(again.request_id)) == "approval_invalid"  # C133
    (desk / "orders.csv").write_text("later")
    assert result(session.resume_sync(again.request_id))["value"] == "'later'"
    ended = records(tmp_path, "call.outcome")[-1]
    assert ended["evidence"]["inputs"][0]["sha256"] == hashlib.sha256(b"later").hexdigest()


@pytest.mark.parametrize("name", ["run_code", "run_step"])
def test_an_operator_sees_output_before_anything_is_released(gateway: Gateway, tmp_path: Path, name: str) -> None:
    async def watched() -> None:
        loop, seen = asyncio.get_running_loop(), asyncio.Event()
        gateway.watch_code(lambda piece: loop.call_soon_threadsafe(seen.set))
        code = "import time\nprint('one', flush=True)\ntime.sleep(600)"
        call = ToolCall("c1", name, json.dumps({"code": code}))
        task = asyncio.ensure_future(gateway.session(ANA).judge([call]))
        await asyncio.wait_for(seen.wait(), 60)
        assert not task.done()
        assert records(tmp_path, "call.outcome") == []
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(watched())


@pytest.mark.parametrize("name", ["run_code", "run_step"])
def test_what_an_operator_sees_is_what_the_model_gets_later(gateway: Gateway, tmp_path: Path, name: str) -> None:
    seen: SimpleQueue[CodeOutput] = SimpleQueue()
    gateway.watch_code(seen.put)
    code = "import sys\nprint('\\x1b[2Jone')\nprint('two', file=sys.stderr)"
    found = result(one(gateway.session(ANA, conversation="c-9"), name, code=code))
    pieces = {piece.stream: piece for piece in (seen.get(timeout=30) for _ in range(2))}
    first, second = pieces["stdout"], pieces["stderr"]
    assert (first.text, first.tool, first.principal, first.conversation) == ("\\x1b[2Jone\n", name, "ana", "c-9")
    assert (first.text, second.text) == (found["stdout"], found["stderr"])
    assert first.call_id == records(tmp_path, "call.outcome")[-1]["call"]["call_id"]


@pytest.mark.parametrize("broken", [lambda piece: 1 / 0, lambda piece: os.read(-1, 1)])
def test_a_broken_watcher_changes_no_result(gateway: Gateway, broken: Callable[[CodeOutput], None]) -> None:
    gateway.watch_code(broken)
    assert result(one(gateway.session(ANA), "run_code", code="print('x')"))["stdout"] == "x\n"
    gateway.watch_code(None)
