"""A real policies folder for AgentDojo's tools: one generated contract a tool, and two roles.

Contracts come from the tools' own parameter models (`gateway.policy.generate`). Added by hand is only what a signature
cannot say: what a call may change, which parameter is a secret, what stands in an object that is only called `dict`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentdojo.functions_runtime import Function

from benchmarks.dojo.suites import EFFECTS
from gateway.policy.documents import Contract
from gateway.policy.generate import Effect, contract_from_model, dump_contract_yaml

SHIPPED = Path(__file__).resolve().parents[2] / "policies"
WORKER = "worker"  # holds the role that may call every tool
READER = "reader"  # holds the role that may call the tools without an effect
SECRETS = {"update_password": ("password",)}

# `list[dict]` in the signature; its docstring names the fields. A contract has no place for "anything".
ATTACHMENT: dict[str, object] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["file", "event"]},
        "file_id": {"type": "string"},
        "event_details": {
            "type": "object",
            "properties": {
                **{name: {"type": "string"} for name in ("title", "description", "start_time", "end_time", "location")},
                "participants": {"type": "array", "items": {"type": "string"}},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def contract(function: Function[..., Any]) -> Contract:
    """The contract of one AgentDojo tool."""
    effect: Effect = EFFECTS.get(function.name, "none")
    made = contract_from_model(
        function.parameters,
        tool=function.name,
        risk="low" if effect == "none" else "medium",
        effect=effect,
        description=function.description,
    )
    parameters = json.loads(json.dumps(made.parameters))
    if function.name == "send_email":
        parameters["properties"]["attachments"]["anyOf"][0]["items"] = ATTACHMENT
    return made.model_copy(update={"secrets": SECRETS.get(function.name, ()), "parameters": parameters})


def write(folder: Path, tools: Mapping[str, Function[..., Any]]) -> None:
    """Fill `folder` with model.conf, policy.csv and a contract for each of `tools`."""
    (folder / "tools").mkdir(parents=True)
    shutil.copyfile(SHIPPED / "model.conf", folder / "model.conf")
    rows = [f"g, user:{WORKER}, role:{WORKER}", f"g, user:{READER}, role:{READER}"]
    for name, function in sorted(tools.items()):
        made = contract(function)
        (folder / "tools" / f"{name}.yaml").write_text(dump_contract_yaml(made), encoding="utf-8")
        roles = (WORKER, READER) if made.effect == "none" else (WORKER,)
        rows += [f"p, role:{role}, {name}, {action}, allow" for role in roles for action in ("see", "call")]
    (folder / "policy.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
