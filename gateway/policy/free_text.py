"""What a contract of free text must look like: one parameter `input`, and one way to say what it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.policy.model import Misplaced

MAX_GRAMMAR = 16_384  # characters


def check_free_text(parameters: Mapping[str, object], grammar: str | None, *, free_text: bool) -> None:
    """Raises Misplaced, which says what to change."""
    if not free_text:
        if grammar is not None:
            raise Misplaced("`grammar` is for free text: add `free_text: true`, or remove it", "grammar")
        return
    properties = parameters.get("properties")
    field = properties.get("input") if isinstance(properties, dict) and len(properties) == 1 else None
    if not isinstance(field, dict) or field.get("type") != "string" or parameters.get("required") != ["input"]:
        message = "`free_text` needs exactly one parameter: `input`, of type string and required"
        raise Misplaced(message, "parameters")
    if grammar is not None and "pattern" in field:
        raise Misplaced("free text has a `pattern` or a `grammar`: remove one of them", "grammar")
    if not _is_whole(field.get("pattern", "^$")):
        message = "the pattern of free text is the whole text's grammar: write it as ^(...)$"
        raise Misplaced(message, "parameters")


def _is_whole(pattern: object) -> bool:
    """True for a pattern from `^` to `$` without a choice outside of brackets, where neither would hold for all."""
    if not isinstance(pattern, str):
        return False
    bare = re.sub(r"\\.|\[(?:\\.|[^\]])*\]", "", pattern, flags=re.DOTALL)  # neither escapes nor classes
    while (inner := re.sub(r"\([^()]*\)", "", bare)) != bare:
        bare = inner
    return bare.startswith("^") and bare.endswith("$") and "|" not in bare and pattern.endswith("$")
