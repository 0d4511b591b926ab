"""Structured answers: a pydantic model or a schema that the final answer must have (Structured Outputs).

Guarantee: `parsed` is only ever made from an answer that was checked and may leave, and it has the model's type. With a
schema the provider holds the form; with JSON mode (`json_object`) it promises JSON and no form at all, which is
weaker: say what you expect in the prompt and check it yourself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from gateway.domain.errors import UsageError
from gateway.shapes.calls import Format
from gateway.shapes.strict import to_wire

Form = Literal["text", "json_object", "json_schema"]
_ASKED_AS: dict[Format, str] = {"chat": "response_format", "responses": "text_format"}


class NotAsAsked(ValueError):
    """The answer has not the form that was asked for."""


def take_reply_model(format: Format, params: dict[str, Any]) -> Any:
    """The pydantic model in `response_format=` or `text_format=`, as `parse` takes it; `params` gets its schema.

    None where the caller asked for none. Raises UsageError.
    """
    name = _ASKED_AS[format]
    model = params.get(name)
    if format == "responses" and name in params:
        del params[name]
    if model is None or not isinstance(model, type):
        return None
    describe = getattr(model, "model_json_schema", None)
    if describe is None:
        raise UsageError(f"`{name}` is a pydantic model, not {model.__name__}")
    wire = to_wire(_all_required(describe()))
    form = {"name": model.__name__[:64], "schema": wire.schema, "strict": wire.strict}
    if format == "chat":
        params[name] = {"type": "json_schema", "json_schema": form}
    else:
        params["text"] = {**params.get("text", {}), "format": {"type": "json_schema", **form}}
    return model


def form_of(format: Format, params: Mapping[str, Any]) -> Form:
    """What kind of answer a request asks for."""
    text = params.get("text")
    asked = (
        params.get("response_format") if format == "chat" else text.get("format") if isinstance(text, dict) else None
    )
    kind = asked.get("type") if isinstance(asked, dict) else None
    return kind if kind in ("json_object", "json_schema") else "text"


def parse_answer(text: str, form: Form, model: Any) -> object:
    """The answer as a value; None for plain text. Raises NotAsAsked."""
    try:
        if model is not None:
            value: object = model.model_validate_json(text)
            return value
        return None if form == "text" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAsAsked("the answer has not the form that was asked for") from error


def _all_required(node: Any) -> Any:
    """A pydantic schema as strict mode wants it: nothing optional by a default, which is no part of the answer."""
    if isinstance(node, list):
        return [_all_required(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: _all_required(value) for key, value in node.items() if key != "default"}
    properties = made.get("properties")
    if made.get("type") == "object" and isinstance(properties, dict):
        made["required"] = list(properties)
    return made
