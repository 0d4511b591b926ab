"""What a loaded policy is: digests, provenance, references between files, and the policy that ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from examples.support_desk import tools as desk
from gateway.policy.loader import load
from gateway.policy.policy_set import PolicyErrors
from gateway.policy.signature import signature_mismatches
from tests.unit.policy.folders import CONTRACT_TEXT, POLICY_TEXT, contract_text, refused, write_policies

POLICIES = Path(__file__).parents[3] / "policies"


def test_a_comment_changes_the_policy_digest_and_no_contract_digest(tmp_path: Path) -> None:
    before = load(write_policies(tmp_path))
    reordered = "# a comment\n" + CONTRACT_TEXT.replace("risk: low\neffect: none\n", "effect:   none\nrisk: 'low'\n")
    after = load(write_policies(tmp_path, tools__look_up_dot_yaml=reordered + "idempotent: false\n"))
    assert after.digest != before.digest
    assert after.files["policy.csv"] == before.files["policy.csv"]
    assert after.refs()["look_up"].digest == before.refs()["look_up"].digest


@pytest.mark.parametrize(
    "changed",
    [
        CONTRACT_TEXT.replace("risk: low", "risk: high"),
        CONTRACT_TEXT.replace("string", "integer"),
        CONTRACT_TEXT + "code_version: '2'\n",
        CONTRACT_TEXT + "rules:\n- {id: a, require: 'true', tell_model: No.}\n",
    ],
)
def test_a_changed_contract_has_another_digest(tmp_path: Path, changed: str) -> None:
    before = load(write_policies(tmp_path))
    after = load(write_policies(tmp_path, tools__look_up_dot_yaml=changed))
    assert after.refs()["look_up"].digest != before.refs()["look_up"].digest


def test_the_digest_covers_names_as_well_as_bytes(tmp_path: Path) -> None:
    profile = "deadline_s: 5\n"
    one = load(write_policies(tmp_path / "a", sandbox__x_dot_yaml=profile))
    other = load(write_policies(tmp_path / "b", sandbox__y_dot_yaml=profile))
    assert one.digest != other.digest
    assert one.digest == load(tmp_path / "a").digest
    assert one.sandbox_profiles["x"] == {"deadline_s": 5}


def test_a_rule_knows_its_line(tmp_path: Path) -> None:
    text = (
        CONTRACT_TEXT
        + "rules:\n  - id: a\n    require: 'true'\n    tell_model: No.\n  - {id: b, require: 'true', tell_model: No.}\n"
    )
    contract = load(write_policies(tmp_path, tools__look_up_dot_yaml=text)).contracts["look_up"]
    assert str(contract.provenance("rules", 1, name="b")) == "tools/look_up.yaml:15 (b)"
    assert contract.error("bad", "rules", 0, "require").line == 13


@pytest.mark.parametrize(
    ("line", "at", "says"),
    [
        ("execution: {sandbox: pyton}", (11, 22), "Did you mean 'python'?"),
        ("execution: {fallback: look_upp}", (11, 23), "has no contract in tools/"),
        ("execution: {fallback: look_up}", (11, 23), "circle: look_up -> look_up"),
        ("execution: {fallback: other}", (11, 23), "circle: look_up -> other -> look_up"),
        ("execution: {fallback: different}", (11, 23), "does not share these parameters: key, name"),
        ("execution: {fallback: needs_more}", (11, 23), "does not share these parameters: more"),
    ],
)
def test_references_that_lead_nowhere(tmp_path: Path, line: str, at: tuple[int, int], says: str) -> None:
    folder = write_policies(
        tmp_path,
        tools__look_up_dot_yaml=contract_text("look_up", line),
        tools__other_dot_yaml=contract_text("other", "execution: {fallback: look_up}"),
        tools__different_dot_yaml=contract_text("different").replace("key", "name"),
        tools__needs_more_dot_yaml=contract_text("needs_more").replace(
            "  required: [key]", "    more: {type: string}\n  required: [key, more]"
        ),
        sandbox__python_dot_yaml="x: 1",
    )
    error = refused(folder)
    assert error.file == "tools/look_up.yaml"
    assert (error.line, error.column) == at
    assert says in error.message


def test_a_contract_stands_in_the_file_of_its_name(tmp_path: Path) -> None:
    error = refused(write_policies(tmp_path, tools__look_up_dot_yaml=contract_text("lookup")))
    assert (error.file, error.line) == ("tools/look_up.yaml", 1)
    assert "Name it tools/lookup.yaml" in error.message


def test_nothing_of_a_loaded_policy_can_be_replaced(tmp_path: Path) -> None:
    found = load(write_policies(tmp_path))
    with pytest.raises(TypeError):
        found.contracts["other"] = found.contracts["look_up"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        found.digest = "x"  # type: ignore[misc]


def test_a_policy_of_only_user_rows_needs_no_roles(tmp_path: Path) -> None:
    rows = POLICY_TEXT.replace("g, user:ana, role:support\n", "").replace("role:support", "user:ana")
    assert load(write_policies(tmp_path, policy_dot_csv=rows)).access.roles == ()


def test_the_shipped_policy_loads_and_fits_the_desks_functions() -> None:
    found = load(POLICIES)
    assert found.approvers.approvers == ()
    for tool, loaded in found.contracts.items():
        function = getattr(desk, tool, None)
        if function is not None:
            assert signature_mismatches(loaded.contract, function) == []
    assert {"export_customers", "run_python"} == {tool for tool in found.contracts if not hasattr(desk, tool)}


def test_the_shipped_contracts_read_alike_to_an_ordinary_yaml_reader() -> None:
    """Nothing in them depends on our reader: PyYAML's safe loader gives the same data."""
    for tool, loaded in load(POLICIES).contracts.items():
        assert yaml.safe_load((POLICIES / "tools" / f"{tool}.yaml").read_text()) == loaded.document.data


def test_without_a_folder_the_next_step_is_said(tmp_path: Path) -> None:
    with pytest.raises(PolicyErrors, match="`toolgate init` writes one"):
        load(tmp_path / "policies")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PolicyErrors, match="cannot be read"):
        load(tmp_path / "dangling")
