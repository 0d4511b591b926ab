"""Proposals of contracts from what an agent already has: a Python module, or an OpenAI `tools` list as JSON.

A module's public functions become tools, and so do its pydantic models (each is then a tool's arguments). What cannot
become a contract is named with the reason and left out, never bent until it fits. Reading a module imports it: its
top-level code runs, with the rights of whoever asked.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import orjson
from pydantic import BaseModel

from gateway.domain.canonical import NotCanonical, plain
from gateway.domain.errors import SettingsError, UsageError
from gateway.policy.documents import Contract
from gateway.policy.generate import contract_from_model, contract_from_schema, contract_from_signature
from gateway.policy_tools.guesses import guess, secret_parameters
from gateway.policy_tools.proposal import TODO, Proposal
from gateway.validate.schema import is_schema

MAX_BYTES: Final = 4 * 1024 * 1024
_HOSTED: Final = "the provider runs it: a gateway sees no call. Allow it in settings.yaml (provider_tools), or leave it"


def from_source(source: str) -> Proposal:
    """A path ending in .json is an OpenAI tools list, any other a module: `shop.tools` or `shop/tools.py`."""
    return from_tools_json(Path(source)) if source.endswith(".json") else from_module(_import(source))


def from_module(module: ModuleType) -> Proposal:
    """Functions and pydantic models that `module` itself defines, without those that begin with `_`."""
    proposal = Proposal()
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        try:
            if inspect.isfunction(thing):
                risk, effect = guess(name)
                said = None if inspect.getdoc(thing) else TODO
                _add(proposal, contract_from_signature(thing, risk=risk, effect=effect, description=said))
            elif inspect.isclass(thing) and issubclass(thing, BaseModel):
                tool = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
                risk, effect = guess(tool)
                said = None if thing.__doc__ else TODO
                _add(proposal, contract_from_model(thing, tool=tool, risk=risk, effect=effect, description=said))
        except UsageError as error:
            proposal.left_out.append((name, str(error)))
    return proposal


def from_tools_json(path: Path) -> Proposal:
    """The `tools` of a request, in the shape of either API: the list alone, or an object that holds it."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise SettingsError(f"{path} has more than {MAX_BYTES} bytes")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"{path} is no JSON: {error}") from error
    tools = document.get("tools") if isinstance(document, dict) else document
    if not isinstance(tools, list):
        raise SettingsError(f"{path} holds no list of tools: give the `tools` of a request")
    proposal = Proposal()
    for number, name, tool in _flat(tools):
        try:
            _add(proposal, _of_tool(tool))
        except UsageError as error:
            proposal.left_out.append((name or f"tool {number}", str(error)))
    return proposal


def _flat(tools: list[Any]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Each tool with what the Chat Completions shape wraps (`function`, `custom`) taken out of its wrapping."""
    for number, tool in enumerate(tools, start=1):
        if not isinstance(tool, dict):
            yield number, "", {"type": None}
            continue
        kind = tool.get("type")
        inner = tool.get(kind) if isinstance(kind, str) else None
        flat = {"type": kind, **inner} if isinstance(inner, dict) else tool
        name = flat.get("name") or kind
        yield number, name if isinstance(name, str) else "", flat


def _of_tool(tool: dict[str, Any]) -> Contract:
    kind, name, said = tool.get("type"), tool.get("name"), tool.get("description")
    if kind not in ("function", "custom"):
        raise UsageError(_HOSTED if isinstance(kind, str) else "it is no tool: an object with a `type` is")
    if not isinstance(name, str) or not name:
        raise UsageError("it has no name")
    risk, effect = guess(name)
    text = said if isinstance(said, str) and said.strip() else TODO
    if kind == "custom":
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {"input": {"type": "string", "maxLength": 10_000}},
            "required": ["input"],
        }
        form = tool.get("format")
        grammar = form.get("grammar", form) if isinstance(form, dict) else None
        if isinstance(grammar, dict) and grammar.get("syntax") == "regex":
            definition = grammar.get("definition")
            if not isinstance(definition, str):
                raise UsageError("its grammar is no text")
            schema["properties"]["input"]["pattern"] = f"^({definition})$"
        return contract_from_schema(schema, tool=name, risk=risk, effect=effect, description=text, free_text=True)
    parameters = tool.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict) or not _is_schema(parameters) or parameters.get("type", "object") != "object":
        raise UsageError("its `parameters` are no JSON Schema of an object")
    return contract_from_schema(parameters, tool=name, risk=risk, effect=effect, description=text)


def _is_schema(parameters: dict[str, Any]) -> bool:
    try:
        return is_schema(plain(parameters))
    except NotCanonical:  # too deep, or numbers that readers disagree about
        return False


def _add(proposal: Proposal, contract: Contract) -> None:
    properties = contract.parameters["properties"]
    secrets = secret_parameters(properties if isinstance(properties, dict) else ())
    proposal.add(contract.model_copy(update={"secrets": secrets}))


def _import(source: str) -> ModuleType:
    try:
        if not source.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(source)
        spec = importlib.util.spec_from_file_location(Path(source).stem, source)
        if spec is None or spec.loader is None or not Path(source).is_file():
            raise SettingsError(f"{source} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # annotations are resolved through it
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise SettingsError(f"{source} cannot be imported: {error}") from error
    return module
