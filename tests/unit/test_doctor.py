"""`toolgate doctor`: each thing that must be true before a start, made untrue, is one failed line with its mend."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import Gateway, Principal, ToolCall
from gateway import doctor as doctor_module
from gateway.cli.app import app
from gateway.doctor import Check, examine
from gateway.domain.errors import ToolgateError
from gateway.execute.check import Standing
from gateway.state.database import Database
from gateway.state.epoch import PolicyEpoch
from tests.fakes.clock import FakeClock

ROOT = Path(__file__).parents[2]
STARTER = ROOT / "gateway" / "starter_policies"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A deployment that has started once, with its policy applied."""
    folder = Path(shutil.copytree(STARTER, tmp_path / "policies"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with Gateway.from_policies(folder, origin="desk") as gateway:
        gateway.register(lambda order_id: "here", name="get_order_status")
        gateway.session(Principal("ana")).judge_sync([ToolCall("1", "get_order_status", '{"order_id": "A-1001"}')])
    assert CliRunner().invoke(app, ["policy", "apply", "--yes", "--by", "sam", "-p", str(folder)]).exit_code == 0
    return folder


def one(policies: Path, name: str) -> Check:
    (found,) = [each for each in examine(policies) if each.name == name]
    return found


def home(policies: Path) -> Path:
    return policies.parent / ".toolgate"


def test_a_sound_deployment_has_nothing_that_failed(policies: Path) -> None:
    found = examine(policies)
    assert [each for each in found if each.verdict == "failed"] == []
    assert {each.name for each in found} == {
        "policy", "lint", "lock", "approvers", "permissions", "keys", "separation", "disk", "clock", "database",
    }  # fmt: skip


def test_a_file_where_a_folder_must_stand_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STARTER, tmp_path / "policies"))
    (tmp_path / ".toolgate").write_text("in the way")
    found = one(folder, "permissions")
    assert found.verdict == "failed"
    assert str(tmp_path / ".toolgate") in found.said


def test_before_the_first_start_nothing_is_made(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STARTER, tmp_path / "policies"))
    before = sorted(tmp_path.rglob("*"))
    assert [each for each in examine(folder) if each.verdict == "failed"] == []
    assert sorted(tmp_path.rglob("*")) == before


def broken_policy(policies: Path) -> None:
    (policies / "policy.csv").write_text("p, user:ana\n")


def writable_by_all(policies: Path) -> None:
    (policies / "policy.csv").chmod(0o666)


def unmet_wall(policies: Path) -> None:
    path = policies / "tools/initiate_refund.yaml"
    path.write_text(path.read_text().split("rules:")[0])


def edited(policies: Path) -> None:
    with (policies / "settings.yaml").open("a") as file:
        file.write("# a comment\n")


def state_writable_by_all(policies: Path) -> None:
    (home(policies) / "state").chmod(0o777)


def trust_gone(policies: Path) -> None:
    shutil.rmtree(home(policies) / "trust")


def keys_readable(policies: Path) -> None:
    next((home(policies) / "keys/deployment").glob("digest-*")).chmod(0o644)


def keys_gone(policies: Path) -> None:
    shutil.rmtree(home(policies) / "keys/deployment")


def signing_key_gone(policies: Path) -> None:
    (home(policies) / "keys/origins/desk.key").unlink()


def keys_beneath_state(policies: Path) -> None:
    (home(policies) / "keys").rename(home(policies) / "state/keys")
    (home(policies) / "keys").symlink_to("state/keys")


def clock_set_back(policies: Path) -> None:
    log = next((home(policies) / "audit/desk").glob("*.jsonl"))
    log.write_text(log.read_text().replace('"time":"20', '"time":"29'))


def database_damaged(policies: Path) -> None:
    for name in ("state.db-wal", "state.db-shm"):
        (home(policies) / "state" / name).unlink(missing_ok=True)
    (home(policies) / "state/state.db").write_bytes(b"not a database at all" * 400)


def another_epoch(policies: Path) -> None:
    database = Database(home(policies) / "state/state.db")
    PolicyEpoch(database, FakeClock()).apply("sha256:" + "0" * 64, "eve")
    database.close()


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("policy", broken_policy, "policy.csv:1"),
        ("policy", writable_by_all, "can be written by anybody"),
        ("lint", unmet_wall, "effect-unguarded"),
        ("lock", edited, "it has changed since it was applied"),
        ("permissions", state_writable_by_all, "can be written by others"),
        ("permissions", trust_gone, "is gone"),
        ("keys", keys_readable, "others can reach it"),
        ("keys", keys_gone, "is gone"),
        ("keys", signing_key_gone, "origin desk: lost"),
        ("keys", keys_beneath_state, "lie beneath"),
        ("clock", clock_set_back, "behind the newest record"),
        ("database", database_damaged, "failed"),
        ("database", another_epoch, "the lock does not"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_is_one_failed_line_with_a_mend(
    name: str, spoil: Callable[[Path], None], said: str, policies: Path
) -> None:
    spoil(policies)
    found = one(policies, name)
    assert found.verdict == "failed", found
    assert said in found.said
    assert found.mend
    done = CliRunner().invoke(app, ["doctor", "-p", str(policies)])
    assert done.exit_code == 1
    assert any(line.startswith("failed") and name in line for line in done.stdout.splitlines())


@pytest.mark.parametrize("spoil", [broken_policy, writable_by_all, edited, keys_readable, state_writable_by_all])
def test_what_doctor_calls_failed_a_start_refuses(spoil: Callable[[Path], None], policies: Path) -> None:
    spoil(policies)
    assert any(each.verdict == "failed" for each in examine(policies))
    with pytest.raises(ToolgateError):
        Gateway.from_policies(policies, origin="desk").close()


def test_a_policy_never_applied_and_a_key_made_with_dev_are_warnings(policies: Path) -> None:
    (policies / "policy.lock").unlink()
    key = "ed25519:" + "A" * 43 + "="
    (policies / "approvers.yaml").write_text(f"approvers: [{{id: lea, key: '{key}', dev: true}}]\n")
    lock = one(policies, "lock")
    assert (lock.verdict, lock.mend) == ("warning", "toolgate policy apply")
    unstarted = next(each for each in examine(policies, policies / "elsewhere") if each.name == "lock")
    assert unstarted.mend == "start a gateway once, then toolgate policy apply"
    assert one(policies, "approvers") == Check(
        "approvers", "warning", "made with --dev: lea", "each makes her own key: toolgate approvers add PERSON"
    )


def test_keys_apart_from_the_log_are_worth_saying(policies: Path, tmp_path: Path) -> None:
    assert one(policies, "separation").verdict == "warning"
    for folder in ("keys", "checkpoints"):
        away = tmp_path / f"away-{folder}" / folder
        away.parent.mkdir()
        (home(policies) / folder).rename(away)
        (home(policies) / folder).symlink_to(away)
    assert one(policies, "separation").verdict == "ok"


@pytest.mark.parametrize(
    ("free_mib", "read_only", "inodes", "verdict"),
    [(10, False, 9, "failed"), (500, False, 9, "warning"), (5000, False, 9, "ok"), (5000, True, 9, "failed"),
     (5000, False, 0, "failed")],
)  # fmt: skip
def test_room_on_the_disk(
    free_mib: int, read_only: bool, inodes: int, verdict: str, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = os.ST_RDONLY if read_only else 0
    full = os.statvfs_result((4096, 4096, 10**9, 0, free_mib * 256, 100, 0, inodes, flags, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert one(policies, "disk").verdict == verdict


@pytest.mark.parametrize(
    ("standing", "verdict", "said"),
    [
        (Standing("python", "Docker does not answer", seccomp=False, looked_at=False), "failed", "does not answer"),
        (Standing("python", "", seccomp=False, looked_at=True), "failed", "no seccomp"),
        (Standing("python", "", seccomp=True, looked_at=False), "warning", "nobody has looked"),
        (Standing("python", "", seccomp=True, looked_at=True), "ok", "held"),
    ],
)
def test_the_sandbox_of_each_profile_in_use(
    standing: Standing, verdict: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        doctor_module, "standing", lambda profiles, _: [standing] if set(profiles) == {"python"} else []
    )
    (found,) = [each for each in examine(ROOT / "policies", tmp_path / "home") if each.name == "sandbox python"]
    assert found.verdict == verdict
    assert said in found.said


def test_a_daemon_that_is_not_there_is_a_failed_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    (found,) = [each for each in examine(ROOT / "policies", tmp_path / "home") if each.name == "sandbox python"]
    assert found.verdict == "failed"
    assert "sandbox check" in found.mend


def test_for_programs_and_with_strict(policies: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "-p", str(policies), "--json"])
    assert done.exit_code == 0
    assert {each["name"]: each["verdict"] for each in json.loads(done.stdout)}["separation"] == "warning"
    assert CliRunner().invoke(app, ["doctor", "-p", str(policies), "--strict"]).exit_code == 1
