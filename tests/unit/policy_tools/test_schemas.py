"""The schemas that editors read: fresh, named in every shipped file, and of one mind with the loader."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.policy.loader import load
from gateway.policy.yaml import read_yaml
from gateway.policy_tools.schemas import NAMES, schema_text, write_schemas

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "policies"
STARTER = ROOT / "gateway/starter_policies"
FILES = [path for folder in (SHIPPED, STARTER) for path in sorted(folder.rglob("*.yaml"))]
_MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)")


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_schemas_are_fresh(name: str) -> None:
    path = SHIPPED / f"schemas/{name}.schema.json"
    assert path.read_text() == schema_text(name), "run `toolgate policy schema -p policies`"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_shipped_file_names_its_schema_and_satisfies_it(path: Path, tmp_path: Path) -> None:
    (first, *_) = path.read_text().splitlines()
    named = _MODELINE.fullmatch(first)
    assert named, first
    folder = SHIPPED if path.is_relative_to(SHIPPED) else STARTER
    there = (path.parent / named[1]).resolve()
    assert there.parent == folder / "schemas"
    schema = json.loads(schema_text(there.name.removesuffix(".schema.json")))
    data = read_yaml(path.read_bytes(), file=path.name).data
    jsonschema.Draft202012Validator(schema).validate(data)
    assert isinstance(data, dict)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(data | {"limmits": {}})


def test_init_writes_the_schemas_its_files_name(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    assert CliRunner().invoke(app, ["init", str(folder)]).exit_code == 0
    for path in folder.rglob("*.yaml"):
        named = _MODELINE.match(path.read_text())
        assert named
        assert (path.parent / named[1]).resolve().is_file()
    digest = load(folder).digest
    (folder / "schemas/contract.schema.json").write_text("{}")
    assert load(folder).digest == digest, "a schema for editors is no part of the policy"


def test_the_command_writes_every_schema(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["policy", "schema", str(tmp_path / "s")])
    assert done.exit_code == 0
    assert {path.name for path in write_schemas(tmp_path / "t")} == {path.name for path in (tmp_path / "s").iterdir()}


def test_no_schema_makes_a_policy_folder(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["policy", "schema", "-p", str(tmp_path / "polices")])
    assert "there is no such folder" in str(done.exception)
    assert not (tmp_path / "polices").exists()
