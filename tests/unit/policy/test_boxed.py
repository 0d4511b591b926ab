"""A sandboxed contract hands over code and files; what would reach nobody is refused at load, with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import PolicyError
from gateway.policy.loader import load
from tests.support import policies_for, tool

CODE = {"type": "string"}
PATH = {"kind": "path", "root": "desk"}


def contract(base: Path, properties: dict[str, Any], required: list[str], guards: dict[str, Any]) -> Path:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    subject = tool(name="run_code", parameters=parameters, execution={"sandbox": "python"}, guards=guards)
    folder = policies_for(base, subject)
    (folder / "sandbox").mkdir()
    (folder / "sandbox" / "python.yaml").write_text("name: python\n")
    return folder


def test_code_and_files_are_taken(tmp_path: Path) -> None:
    properties = {"code": CODE, "orders": {"type": "string"}, "more.csv": {"type": "string"}}
    load(contract(tmp_path, properties, ["code"], {"orders": PATH, "more.csv": PATH}))


@pytest.mark.parametrize(
    ("properties", "required", "guards", "says"),
    [
        ({"text": CODE}, ["text"], {}, "needs the parameter `code`"),
        ({"code": CODE}, [], {}, "needs the parameter `code`"),
        ({"code": {"type": "object"}}, ["code"], {}, "needs the parameter `code`"),
        ({"code": CODE, "n": {"type": "integer"}}, ["code"], {}, "'n' would not reach the code"),
        ({"code": CODE, "n": {"type": "string"}}, ["code"], {"n": {"kind": "identifier"}}, "'n' would not reach"),
        ({"code": CODE}, ["code"], {"code": PATH}, "`code` is for the sandbox to contain"),
        ({"code": CODE, ".n": {"type": "string"}}, ["code"], {".n": PATH}, "'.n' cannot be the name of a file"),
        ({"code": CODE, "a b": {"type": "string"}}, ["code"], {"a b": PATH}, "'a b' cannot be the name of a file"),
    ],
    ids=["no code", "optional", "no text", "a number", "another guard", "guarded code", "hidden", "a space"],
)
def test_what_would_reach_nobody_is_refused(
    tmp_path: Path, properties: dict[str, Any], required: list[str], guards: dict[str, Any], says: str
) -> None:
    folder = contract(tmp_path, properties, required, guards)
    with pytest.raises(PolicyError) as caught:
        load(folder)
    assert says in caught.value.message
    assert caught.value.file == "tools/run_code.yaml"
    assert caught.value.line
