"""What every policy document is made of: a strict, frozen model, and an error that knows where it belongs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

TOOL_NAME = r"^[a-zA-Z_][a-zA-Z0-9_-]{0,63}$"  # Rust regex: `$` is the very end. What both OpenAI APIs accept

ToolName = Annotated[str, StringConstraints(pattern=TOOL_NAME)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Misplaced(ValueError):
    """A document that contradicts itself. `path` leads from the model that noticed to the value to change."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


class Document(BaseModel):
    """Strict: no unknown key, no conversion of types, frozen once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
