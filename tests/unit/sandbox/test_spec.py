"""A profile chooses amounts within the ceilings and can relax no row of the container table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sandbox import ProfileError, SandboxProfile
from sandbox.spec import RUNSC_THREADS, RUNTIMES, seccomp_text

SHIPPED = Path(__file__).parents[3] / "policies/sandbox/python.yaml"
IMAGE_ID = "sha256:" + "a" * 64


def shipped(**changes: object) -> dict[str, object]:
    return {**yaml.safe_load(SHIPPED.read_text()), **changes}


def host_config(**changes: object) -> dict[str, Any]:
    return SandboxProfile.from_mapping(shipped(**changes)).pinned_to(IMAGE_ID).host_config()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"privileged": True}, "privileged"),
        ({"network": "bridge"}, "network"),
        ({"name": ""}, "name"),
        ({"image": 3}, "image"),
        ({"memory_mib": True}, "memory_mib"),
        ({"memory_mib": "256"}, "memory_mib"),
        ({"memory_mib": 256.0}, "memory_mib"),
        ({"memory_mib": 10**9}, "memory_mib"),
        ({"memory_mib": 0}, "memory_mib"),
        ({"deadline_s": float("nan")}, "deadline_s"),
        ({"deadline_s": float("inf")}, "deadline_s"),
        ({"processes": -1}, "processes"),
        ({"processes": 0}, "processes"),
        ({"cpus": 0}, "cpus"),
        ({"tmp_mib": 256}, "tmp_mib"),
        ({"input_mib": 65}, "input_mib"),
        ({"output_kib": None}, "output_kib"),
        ({"runtime": "kata"}, "runtime"),
        ({"runtime": ""}, "runtime"),
        ({"runtime": None}, "runtime"),
        ({"runtime": ["runc"]}, "runtime"),
        ({"preload": "pandas"}, "preload"),
        ({"preload": ["os; import socket"]}, "preload"),
        ({"preload": ["a..b"]}, "preload"),
        ({"preload": [1]}, "preload"),
        ({"preload": ["os"] * 33}, "preload"),
    ],
)
def test_a_profile_out_of_bounds_is_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(ProfileError) as refused:
        SandboxProfile.from_mapping(shipped(**change))
    assert refused.value.field == field


def test_the_runtime_is_asked_for_by_name() -> None:
    assert host_config()["Runtime"] == "runc"
    assert host_config(runtime="runsc")["Runtime"] == "runsc"


def test_gvisor_has_room_for_its_own_threads_and_answers_clone3_itself() -> None:
    assert host_config(runtime="runsc")["PidsLimit"] == host_config()["PidsLimit"] + RUNSC_THREADS
    rules = {
        runtime: {rule["names"][0]: rule for rule in json.loads(seccomp_text(runtime))["syscalls"]}
        for runtime in RUNTIMES
    }
    assert rules["runc"].pop("clone3")["errnoRet"] == 38  # ENOSYS
    assert rules["runsc"].pop("clone3")["action"] == "SCMP_ACT_ALLOW"
    assert rules["runc"] == rules["runsc"]


def test_modules_to_preload_are_names() -> None:
    assert SandboxProfile.from_mapping(shipped()).preload == ()
    assert SandboxProfile.from_mapping(shipped(preload=["pandas", "matplotlib.pyplot"])).preload == (
        "pandas",
        "matplotlib.pyplot",
    )


@pytest.mark.parametrize("field", sorted(shipped()))
def test_every_field_must_be_given(field: str) -> None:
    document = shipped()
    del document[field]
    with pytest.raises(ProfileError) as refused:
        SandboxProfile.from_mapping(document)
    assert refused.value.field == field


def test_the_request_holds_every_row_of_the_container_table() -> None:
    asked = host_config()
    assert asked["ReadonlyRootfs"] is True
    assert asked["CapDrop"] == ["ALL"]
    assert asked["CapAdd"] is None
    assert asked["Privileged"] is False
    assert asked["NetworkMode"] == asked["IpcMode"] == "none"
    assert asked["CgroupnsMode"] == "private"
    assert asked["Memory"] == asked["MemorySwap"] == 256 * 1024 * 1024
    assert asked["PidsLimit"] == 64
    assert asked["CpuQuota"] == asked["CpuPeriod"]
    assert asked["LogConfig"]["Type"] == "none"
    assert asked["OomScoreAdj"] == 1000
    assert asked["Init"] is True
    assert {"Name": "core", "Soft": 0, "Hard": 0} in asked["Ulimits"]
    assert asked["PidMode"] == asked["UTSMode"] == asked["UsernsMode"] == ""
    assert not asked["Devices"]
    assert not asked["Binds"]
    assert not asked["Mounts"]
    assert {"noexec", "nosuid", "nodev"} <= set(asked["Tmpfs"]["/tmp"].split(","))
    assert "no-new-privileges" in asked["SecurityOpt"]


def test_the_seccomp_profile_travels_as_text() -> None:
    option = next(o for o in host_config()["SecurityOpt"] if o.startswith("seccomp="))
    assert json.loads(option.removeprefix("seccomp="))["defaultAction"] == "SCMP_ACT_ERRNO"


@pytest.mark.parametrize("image_id", ["toolgate-sandbox-python", "toolgate-sandbox-python:latest", "sha256:abc", ""])
def test_c103_a_tag_is_no_pin(image_id: str) -> None:
    with pytest.raises(ProfileError, match="image id"):
        SandboxProfile.from_mapping(shipped()).pinned_to(image_id)


@pytest.mark.parametrize(
    "change",
    [
        {"memory_mib": 128},
        {"deadline_s": 5},
        {"processes": 8},
        {"cpus": 0.5},
        {"tmp_mib": 32},
        {"open_files": 64},
        {"runtime": "runsc"},
        {"preload": ["json"]},
    ],
)
def test_the_digest_covers_what_a_run_may_use(change: dict[str, object]) -> None:
    base = SandboxProfile.from_mapping(shipped()).pinned_to(IMAGE_ID)
    assert SandboxProfile.from_mapping(shipped(**change)).pinned_to(IMAGE_ID).digest != base.digest
    assert SandboxProfile.from_mapping(shipped()).pinned_to(IMAGE_ID).digest == base.digest
    assert SandboxProfile.from_mapping(shipped()).pinned_to("sha256:" + "b" * 64).digest != base.digest


AMOUNTS = st.integers(-1, 20_000) | st.floats(-1, 20_000) | st.booleans() | st.none() | st.text(max_size=3)


@given(st.dictionaries(st.sampled_from([*shipped(), "runtime", "preload", "network"]), AMOUNTS, max_size=4))
def test_what_an_editor_calls_wrong_is_wrong(changes: dict[str, object]) -> None:
    document = shipped(**changes)
    if not jsonschema_rs.is_valid(SandboxProfile.json_schema(), document):
        with pytest.raises(ProfileError):
            SandboxProfile.from_mapping(document)


def test_an_editor_takes_the_shipped_profiles() -> None:
    for path in SHIPPED.parent.glob("*.yaml"):
        assert jsonschema_rs.is_valid(SandboxProfile.json_schema(), yaml.safe_load(path.read_text())), path
    assert not jsonschema_rs.is_valid(SandboxProfile.json_schema(), shipped(network="bridge"))
    assert not jsonschema_rs.is_valid(SandboxProfile.json_schema(), shipped(memory_mib=10**9))
