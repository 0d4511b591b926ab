"""A contract from what already exists: a Python signature, or a pydantic model of the arguments.

What is generated is a proposal for a person to read: it says what the tool takes, never how risky it is, so `risk`
and `effect` have no default. Descriptions come from the docstring (Google's `Args:` or reST's `:param x:`). Local
`$ref`s are written out and objects are closed, so that the schema is whole in one place.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import orjson
import yaml
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic.json_schema import PydanticJsonSchemaWarning

from gateway.domain.errors import UsageError
from gateway.policy.documents import Contract
from gateway.policy.signature import parameter_types
from gateway.policy.yaml import scalar

Risk = Literal["low", "medium", "high"]
Effect = Literal["none", "internal", "external"]

_REST = re.compile(r"^\s*:param\s+(?:[^:\s]+\s+)*?(\w+)\s*:\s*(.*)$")
_GOOGLE_HEAD = re.compile(r"^(Args|Arguments|Parameters):\s*$")
_GOOGLE_ITEM = re.compile(r"^(\s+)\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_END = re.compile(r"^\s*:\w+[^:]*:|^(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?):\s*$")


def contract_from_signature(
    function: Callable[..., Any],
    *,
    risk: Risk,
    effect: Effect,
    tool: str | None = None,
    description: str | None = None,
) -> Contract:
    """The contract that `function`'s parameters and docstring describe. Raises UsageError where they do not suffice."""
    name = tool or function.__name__
    summary, documented = docstring_parts(inspect.getdoc(function) or "")
    fields: dict[str, Any] = {}
    hints = parameter_types(function)
    for index, one in enumerate(inspect.signature(function).parameters.values()):
        if one.kind not in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            raise UsageError(f"{name} takes {one}: a contract names each parameter. Write the contract by hand")
        if one.name not in hints:
            raise UsageError(f"{name}: annotate the parameter {one.name!r}, or write the contract by hand")
        default = ... if one.default is one.empty else one.default
        field = Field(default, alias=one.name, description=documented.get(one.name))
        fields[f"p{index}"] = (hints[one.name], field)  # the alias carries the name: any name is legal there
    try:
        model = create_model(name, **fields)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise UsageError(f"{name}: a parameter's type has no JSON form. Write the contract by hand: {error}") from error
    return contract_from_model(model, tool=name, risk=risk, effect=effect, description=description or summary)


def contract_from_model(
    model: type[BaseModel], *, tool: str, risk: Risk, effect: Effect, description: str | None = None
) -> Contract:
    """The contract of a tool that takes the fields of `model`. Raises UsageError."""
    text = description or inspect.cleandoc(model.__doc__ or "")
    if not text:
        raise UsageError(f"{tool} needs a docstring or a description: the model chooses tools by it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PydanticJsonSchemaWarning)
            schema = model.model_json_schema()
    except (PydanticUserError, PydanticJsonSchemaWarning) as error:
        raise UsageError(f"{tool}: a parameter has no JSON form. Write the contract by hand: {error}") from error
    return contract_from_schema(schema, tool=tool, risk=risk, effect=effect, description=text)


def contract_from_schema(
    schema: Mapping[str, Any], *, tool: str, risk: Risk, effect: Effect, description: str, free_text: bool = False
) -> Contract:
    """The contract of a tool whose arguments a JSON Schema of type object describes. Raises UsageError."""
    plain = _plain(dict(schema), schema.get("$defs", {}), (), tool)
    plain.pop("description", None)
    plain.setdefault("properties", {})
    plain |= {"type": "object", "additionalProperties": False}
    for name, parameter in plain["properties"].items():
        if not {"type", "enum", "const", "anyOf", "oneOf", "allOf"} & set(parameter):
            raise UsageError(f"{tool}: the parameter {name!a} may be anything. Give it a type")
    document: dict[str, Any] = {
        "tool": tool,
        "description": description,
        "risk": risk,
        "effect": effect,
        "parameters": plain,
    }
    if free_text:
        document["free_text"] = True
    try:
        return Contract.model_validate_json(orjson.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"no contract for {tool}: `{where}` {first['msg']}") from error


def dump_contract_yaml(contract: Contract) -> str:
    """`contract` as a file of tools/, without what is default anyway. `read_contract` reads the same contract back."""
    document = contract.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return dump_yaml(document)


def dump_yaml(document: object, *, ascii_only: bool = False) -> str:
    """Plain data as YAML that the strict reader reads back; invisible characters only survive with `ascii_only`."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=not ascii_only, width=100)


def docstring_parts(doc: str) -> tuple[str, dict[str, str]]:
    """The text before the first section, on one line a paragraph, and what is said of each parameter."""
    lines = inspect.cleandoc(doc).splitlines()
    end = next((index for index, line in enumerate(lines) if _END.match(line)), len(lines))
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines[:end]).strip())
    said: dict[str, str] = {}
    current, indent, in_section = "", 0, False
    for line in lines[end:]:
        rest = _REST.match(line)
        item = _GOOGLE_ITEM.match(line) if in_section else None
        if rest:
            current, indent = rest[1], len(line) - len(line.lstrip())
            said[current] = rest[2]
        elif _END.match(line):
            current, indent, in_section = "", 0, bool(_GOOGLE_HEAD.match(line))
        elif item and (not indent or len(item[1]) <= indent):
            current, indent = item[2], len(item[1])
            said[current] = item[3]
        elif current and line.strip():
            said[current] = f"{said[current]} {line.strip()}".strip()
        elif not in_section:
            current = ""
    return "\n".join(" ".join(part.split()) for part in paragraphs), {name: text for name, text in said.items() if text}


def _plain(schema: dict[str, Any], defs: dict[str, Any], seen: tuple[str, ...], tool: str) -> dict[str, Any]:
    """`schema` with references written out, generated titles dropped and objects closed."""
    if "$ref" in schema:
        target = str(schema["$ref"]).removeprefix("#/$defs/")
        if target in seen or target not in defs:
            raise UsageError(
                f"{tool}: the type {target} contains itself. Write the contract by hand, with a fixed depth"
            )
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _plain({**defs[target], **beside}, defs, (*seen, target), tool)
    result: dict[str, Any] = {"type": schema["type"]} if "type" in schema else {}  # first, for the reader
    for key, value in schema.items():
        if key in ("title", "$defs", "discriminator"):
            continue
        if key in ("properties", "patternProperties"):
            result[key] = {name: _plain(sub, defs, seen, tool) for name, sub in value.items()}
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            result[key] = [_plain(sub, defs, seen, tool) for sub in value]
        elif key in ("items", "additionalProperties", "not", "contains") and isinstance(value, dict):
            result[key] = _plain(value, defs, seen, tool)
        else:
            result[key] = value
    if "properties" in result:
        result.setdefault("additionalProperties", False)
    return result


class _Dumper(yaml.SafeDumper):
    """Quotes whatever the strict reader would not take for a string, and keeps lines of text as lines."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML asks for each value
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    try:
        plain = isinstance(scalar(value), str)
    except ValueError:
        plain = False
    style = "|" if "\n" in value else None if plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
