"""Refusals in the shape of OpenAI's error object: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import json


class ApiError(Exception):
    """A request refused; carries the HTTP status and the fields of the error object."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status
        self.kind = kind

    def body(self) -> bytes:
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()
