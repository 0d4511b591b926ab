"""Reading untyped JSON: each helper returns the type it names or refuses the request as the API would."""

from __future__ import annotations

from typing import cast

from examples.scripted_openai.errors import ApiError

TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
PICTURE_PARTS = frozenset({"image_url", "input_image"})


def as_object(value: object, param: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong_type(param, "an object", value)
    return cast("dict[str, object]", value)


def as_list(value: object, param: str) -> list[object]:
    if not isinstance(value, list):
        raise _wrong_type(param, "an array", value)
    return cast("list[object]", value)


def required(holder: dict[str, object], key: str, param: str) -> object:
    if key not in holder:
        raise ApiError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    return holder[key]


def required_text(holder: dict[str, object], key: str, param: str) -> str:
    value = required(holder, key, param)
    if not isinstance(value, str):
        raise _wrong_type(param, "a string", value)
    return value


def content_text(value: object, param: str) -> str:
    """The text of a message: a string, or a list of parts; pictures say nothing."""
    if isinstance(value, str):
        return value
    texts = []
    for index, raw in enumerate(as_list(value, param)):
        at = f"{param}[{index}]"
        part = as_object(raw, at)
        kind = required_text(part, "type", f"{at}.type")
        if kind == "refusal":
            texts.append(required_text(part, "refusal", f"{at}.refusal"))
        elif kind in TEXT_PARTS:
            texts.append(required_text(part, "text", f"{at}.text"))
        elif kind in PICTURE_PARTS:
            required(part, "image_url", f"{at}.image_url")  # looked at by nobody
        else:
            raise ApiError(
                f"Invalid value: '{kind}'. The scripted server knows text and pictures only.",
                param=f"{at}.type",
                code="invalid_value",
            )
    return "".join(texts)


def _wrong_type(param: str, expected: str, value: object) -> ApiError:
    got = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    name = got.get(type(value), "a number")
    return ApiError(
        f"Invalid type for '{param}': expected {expected}, but got {name} instead.",
        param=param,
        code="invalid_type",
    )
