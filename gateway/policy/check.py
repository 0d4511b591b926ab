"""Plain data -> a document of `documents.py`, or an error that names file, line, column and what to do.

Pydantic decides; here its findings are put into plain words and into their place in the file. One error a file is
reported: a misspelt key before everything else (it usually explains the rest), then the first in reading order.
"""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.domain.errors import PolicyError
from gateway.policy.documents import Document, Misplaced
from gateway.policy.text import did_you_mean
from gateway.policy.yaml import Path, YamlDocument

D = TypeVar("D", bound=Document)

_SHOWN_CHARS = 60


def checked(document: YamlDocument, model: type[D]) -> D:
    """`document` as a `model`. Raises PolicyError."""
    if not isinstance(document.data, dict):
        raise document.error(f"a {model.__name__.lower()} file is a mapping of keys to values")
    try:
        return model.model_validate_json(orjson.dumps(document.data))  # JSON mode: lists become tuples
    except ValidationError as error:
        found = error.errors(include_url=False)
        worst = min(found, key=lambda one: (one["type"] != "extra_forbidden", _line(document, one)))
        raise _explain(document, model, worst) from error


def _line(document: YamlDocument, finding: ErrorDetails) -> tuple[int, int]:
    at = document.place(finding["loc"])
    return at.line, at.column


def _explain(document: YamlDocument, model: type[Document], finding: ErrorDetails) -> PolicyError:
    path: Path = finding["loc"]
    whole = document.known(path) if path and isinstance(path[-1], int) else path[-1:]  # a number alone says nothing
    name = "/".join(map(str, whole))
    shown = ascii(finding["input"])[:_SHOWN_CHARS]
    context = finding.get("ctx", {})
    match finding["type"]:
        case "extra_forbidden":
            known = _known_keys(model, path[:-1])
            return document.error(f"`{name}` is not a key here.{did_you_mean(name, known)}", path, key=True)
        case "missing":
            return document.error(f"the key `{name}` is missing. Add it", path[:-1], key=True)
        case "value_error":
            cause = context.get("error")
            return document.error(str(cause), (*path, *cause.path) if isinstance(cause, Misplaced) else path)
        case "literal_error":
            near = did_you_mean(str(finding["input"]), str(context["expected"]).replace("'", "").split(", "))
            return document.error(f"`{name}` must be {context['expected']}, not {shown}.{near}", path)
        case "bool_type":
            return document.error(f"`{name}` must be true or false, not {shown}", path)
        case "union_tag_invalid" | "union_tag_not_found":
            key = str(context["discriminator"]).strip("'")
            kinds = str(context.get("expected_tags", "")) or "given"
            return document.error(f"`{key}` under `{name}` must be {kinds}, not {shown}", (*path, key))
        case _:
            said = finding["msg"].removeprefix("Input ")
            return document.error(f"`{name}` {said[:1].lower()}{said[1:]}; it is {shown}", path)


def _known_keys(model: type[Document], path: Path) -> list[str]:
    """The keys that may stand at `path`, read off the model's own JSON Schema."""
    root: dict[str, Any] = model.model_json_schema()
    here = _alternatives(root, root)
    for part in path:
        below = []
        for schema in here:
            child = schema.get("properties", {}).get(part) or schema.get("items" if isinstance(part, int) else "")
            extra = schema.get("additionalProperties")
            child = child or (extra if isinstance(extra, dict) else None)
            below += _alternatives(root, child) if child else []
        here = below or here  # a part that stands in no file (the tag of a union) leads nowhere
    return sorted({key for schema in here for key in schema.get("properties", {})})


def _alternatives(root: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return _alternatives(root, root["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    several = schema.get("anyOf") or schema.get("oneOf") or []
    return [one for each in several for one in _alternatives(root, each)] or [schema]
