"""Whatever the daemon grants otherwise than asked is named; nothing else is."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import SandboxProfile
from sandbox.inspection import MASKED, READ_ONLY, differences

SPEC = SandboxProfile.from_mapping(
    yaml.safe_load((Path(__file__).parents[3] / "policies/sandbox/python.yaml").read_text())
).pinned_to("sha256:" + "a" * 64)


def granted() -> dict[str, Any]:
    """What an honest daemon answers."""
    config = copy.deepcopy(SPEC.container_config())
    host: Any = config.pop("HostConfig")
    host |= {"MaskedPaths": sorted(MASKED), "ReadonlyPaths": sorted(READ_ONLY)}
    config["Env"] = ["PATH=/usr/bin"]
    return {"Image": SPEC.image_id, "HostConfig": host, "Config": config, "Mounts": []}


def test_an_honest_daemon_makes_no_difference() -> None:
    assert differences(SPEC, granted()) == {}


def test_the_order_of_ulimits_does_not_matter() -> None:
    found = granted()
    found["HostConfig"]["Ulimits"].reverse()
    assert differences(SPEC, found) == {}


@pytest.mark.parametrize("key", sorted(SPEC.host_config()))
def test_a_host_setting_granted_otherwise_is_named(key: str) -> None:
    found = granted()
    found["HostConfig"][key] = "otherwise"
    assert set(differences(SPEC, found)) == {f"HostConfig.{key}"}


@pytest.mark.parametrize("key", [key for key, value in SPEC.host_config().items() if value not in (None, "", [], {})])
def test_a_host_setting_left_out_is_named(key: str) -> None:
    found = granted()
    del found["HostConfig"][key]
    assert set(differences(SPEC, found)) == {f"HostConfig.{key}"}


@pytest.mark.parametrize("key", sorted(set(SPEC.container_config()) - {"HostConfig"}))
def test_a_container_setting_granted_otherwise_is_named(key: str) -> None:
    found = granted()
    found["Config"][key] = ["OTHERWISE=1"]
    assert set(differences(SPEC, found)) == {f"Config.{key}"}


@pytest.mark.parametrize("paths", ["MaskedPaths", "ReadonlyPaths"])
def test_an_unmasked_path_is_named(paths: str) -> None:
    for left in (None, [], granted()["HostConfig"][paths][1:]):
        found = granted()
        found["HostConfig"][paths] = left
        assert set(differences(SPEC, found)) == {f"HostConfig.{paths}"}


def test_another_image_or_a_mount_is_named() -> None:
    assert set(differences(SPEC, granted() | {"Image": "sha256:" + "b" * 64})) == {"Image"}
    assert set(differences(SPEC, granted() | {"Mounts": [{"Source": "/"}]})) == {"Mounts"}


def test_apparmor_is_used_where_the_host_has_it() -> None:
    assert differences(SPEC, granted() | {"AppArmorProfile": "docker-default"}) == {}
    assert differences(SPEC, granted() | {"AppArmorProfile": ""}) == {}
    assert set(differences(SPEC, granted() | {"AppArmorProfile": "unconfined"})) == {"AppArmorProfile"}


def test_c104_another_runtime_than_asked_for_is_named() -> None:
    asked = replace(SPEC, profile=replace(SPEC.profile, runtime="runsc"))
    found = granted()
    found["HostConfig"]["PidsLimit"] = asked.host_config()["PidsLimit"]
    assert set(differences(asked, found)) == {"HostConfig.Runtime"}


def test_an_empty_answer_is_no_agreement() -> None:
    assert len(differences(SPEC, {})) > 20
