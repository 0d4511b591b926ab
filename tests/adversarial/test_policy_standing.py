"""`toolgate policy status`: what each process really runs, and that the last good policy stays on any error (I6)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from gateway import Gateway
from gateway.cli.app import app
from gateway.domain.call import Released
from tests.adversarial.observing import PERMITTED, look_up, observing, pay
from tests.support import ANA, gateway_with, one, policies_for, records, tool


def status(base: Path, *words: str) -> str:
    where = ["--policies", str(base / "policies"), "--home", str(base / "home")]
    done = CliRunner().invoke(app, ["policy", "status", *words, *where])
    assert done.exit_code == 0, done.output
    return done.output


def unreadable(base: Path) -> None:
    (base / "policies" / "policy.csv").write_text("p, role:support, pay, call\n")


def another_model(base: Path) -> None:
    path = base / "policies" / "model.conf"
    path.write_text(path.read_text().replace("deny))", "deny)) || true"))


def gone(base: Path) -> None:
    (base / "policies" / "policy.csv").unlink()


def another_signature(base: Path) -> None:
    policies_for(base, tool(look_up, name="pay"))


def without_the_tool(base: Path) -> None:
    (base / "policies" / "tools" / "pay.yaml").unlink()
    policies_for(base, tool(look_up))


def half_written(base: Path) -> None:
    path = base / "policies" / "tools" / "pay.yaml"
    path.write_bytes(path.read_bytes()[:40])


def another_sandbox(base: Path) -> None:
    """Containers are started from a profile, so it counts from the next start."""
    (base / "policies" / "sandbox").mkdir()
    (base / "policies" / "sandbox" / "box.yaml").write_text("memory_mb: 64\n")


BROKEN: list[Callable[[Path], None]] = [
    unreadable,
    another_model,
    gone,
    another_signature,
    without_the_tool,
    half_written,
    another_sandbox,
]


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda each: each.__name__)
def test_c031_the_last_good_policy_stays_and_it_is_said_in_log_audit_and_status(
    tmp_path: Path, breaks: Callable[[Path], None]
) -> None:
    with gateway_with(tmp_path, tool(pay)) as gateway, capture_logs() as alarms:
        good = gateway.policy_digest
        breaks(tmp_path)
        assert not gateway.reload()
        assert gateway.policy_digest == good
        assert isinstance(one(gateway.session(ANA), "pay", order_id="A-1", cents=5), Released)
        said = " ".join(status(tmp_path).split())
        assert "could not take over" in said
        assert f"{good[:19]}, the last good one, stays in force" in said
        shutil.rmtree(tmp_path / "policies")
        policies_for(tmp_path, tool(pay))
        assert gateway.reload()
        assert "could not take over" not in status(tmp_path)
    (refused,) = records(tmp_path, "policy.refused")
    assert refused["policy_digest"] == good
    assert [each["event"] for each in alarms].count("policy_refused") == 1


def test_status_names_mode_version_digest_and_since_when(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(pay)) as gateway:
        (worker,) = found(tmp_path)["workers"]
        assert (worker["origin"], worker["mode"], worker["digest"]) == ("gw", "enforce", gateway.policy_digest)
        assert worker["version"]
        assert worker["since_wall_ns"] > 0
        assert worker["shadow"] is None
        assert "ENFORCE" in status(tmp_path)
    assert found(tmp_path)["workers"] == []


def test_status_is_loud_about_a_process_that_only_observes(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay)):
        said = status(tmp_path)
        assert "OBSERVE" in said
        assert "NOTHING IS DENIED" in said
        assert found(tmp_path)["workers"][0]["mode"] == "observe"


def test_status_tells_the_observing_process_from_the_enforcing_one(tmp_path: Path) -> None:
    with (
        gateway_with(tmp_path, tool(pay), settings=PERMITTED),
        Gateway.from_policies(tmp_path / "policies", home=tmp_path / "home", origin="other", observe=True),
    ):
        assert {each["origin"]: each["mode"] for each in found(tmp_path)["workers"]} == {
            "gw": "enforce",
            "other": "observe",
        }


def test_a_hostile_fault_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(pay)) as gateway:
        gateway._report(fault="\x1b[2Jgone\u202e", fault_wall_ns=1)
        said = status(tmp_path)
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_doctor_says_that_observing_is_permitted(tmp_path: Path) -> None:
    with gateway_with(tmp_path, tool(pay), settings=PERMITTED):
        pass
    where = ["--policies", str(tmp_path / "policies"), "--home", str(tmp_path / "home")]
    assert "a gateway that asks for it denies nothing" in " ".join(
        CliRunner().invoke(app, ["doctor", *where]).output.split()
    )


def found(base: Path) -> Any:
    return json.loads(status(base, "--json"))
