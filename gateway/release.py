"""Step 8, release: what may leave (OWASP LLM02, LLM05).

Guarantees: declared secrets are masked before anything is handed to the model, a result that breaks its contract is
not handed on at all, nothing is larger than the contract allows, and text from a tool is marked as untrusted data.
The patterns are an extra net: they catch what looks like a credential, and miss what does not (docs/threat-model.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import orjson

from gateway.domain.call import CallContext, Executed, Failure, Released
from gateway.policy.documents import Result

MASK = "[secret removed]"
MIN_SECRET_CHARS = 4  # shorter declared values would mask half of every text

# What credentials look like, by their issuers' own prefixes (public documentation of each service). The prefix stands
# first: a text without it cannot match, and is not searched at all.
SECRET_PATTERNS: dict[str, str] = {
    "sk-": r"\bsk-[A-Za-z0-9_-]{20,}",
    "AKIA": r"\bAKIA[A-Z0-9]{16}\b",
    "ASIA": r"\bASIA[A-Z0-9]{16}\b",
    "gh": r"\bgh[pousr]_[A-Za-z0-9]{36,}",
    "xox": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "eyJ": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    "-----BEGIN ": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
}


@final
class Secrets:
    """Declared secret values: the host's, and per conversation those that arrived as secret parameters."""

    def __init__(self, patterns: tuple[str, ...] = ()) -> None:
        self.look_for(patterns)
        self._hosts: dict[str, str] = {}
        self._heard: dict[tuple[str, str], set[str]] = {}

    def look_for(self, patterns: tuple[str, ...]) -> None:
        """Take the policy's own patterns beside the built-in ones."""
        self._pattern = re.compile("|".join(f"(?:{each})" for each in (*SECRET_PATTERNS.values(), *patterns)))
        self._always = bool(patterns)  # the host's own may begin with anything

    def declare(self, name: str, value: str) -> None:
        self._hosts[value] = name

    def heard(self, ctx: CallContext, value: object) -> None:
        """A secret parameter was used in this conversation: it must not come back out."""
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        if len(text) >= MIN_SECRET_CHARS:
            self._heard.setdefault((ctx.principal.id, ctx.conversation), set()).add(text)

    def mask(self, text: str, principal: str, conversation: str) -> tuple[str, int]:
        """`text` with every declared secret and every credential-like string replaced, and how many were."""
        count = 0
        for value in (*self._hosts, *self._heard.get((principal, conversation), ())):
            if value in text:
                count += text.count(value)
                text = text.replace(value, MASK)
        if self._always or _has_prefix(text):
            text, more = self._pattern.subn(MASK, text)
            count += more
        return text, count


def _has_prefix(text: str) -> bool:
    for prefix in SECRET_PATTERNS:  # noqa: SIM110 -- `any` of a generator costs as much as the whole search
        if prefix in text:
            return True
    return False


@final
@dataclass(frozen=True, slots=True)
class Exit:
    """How one contract's results leave. `problems` gives what is wrong with a decoded result, or nothing."""

    result: Result
    problems: Callable[[Any], str | None] | None


@final
class Release:
    """The step: builds the content; the pipeline makes the outcome durable before it hands it back."""

    def __init__(self, exits: Mapping[str, Exit], secrets: Secrets) -> None:
        self._exits = exits
        self._secrets = secrets

    def __call__(self, call: Executed) -> Released:
        ctx = call.ctx
        tool = call.started.cleared.validated.contract.name
        failure = call.failure
        if not call.value:
            content = error_content(failure or Failure("tool_failed", "The tool gave no result."), ctx.id)
            return Released(ctx, tool, content, failure)
        own = self._exits[tool]
        body = call.value
        if own.problems is not None or own.result.secrets:
            value = orjson.loads(body)
            if own.problems is not None and failure is None and (problem := own.problems(value)) is not None:
                failure = Failure("bad_result", "The tool's result was not usable.", detail=problem)
                return Released(ctx, tool, error_content(failure, ctx.id), failure)
            for pointer in own.result.secrets:
                _mask_at(value, pointer)
            body = orjson.dumps(value)
        text, _ = self._secrets.mask(body.decode(), ctx.principal.id, ctx.conversation)
        if len(text) > own.result.max_bytes or len(text.encode()) > own.result.max_bytes:
            cut = text.encode()[: own.result.max_bytes].decode("utf-8", "ignore")
            text = orjson.dumps({"truncated": True, "bytes": len(body), "text": cut}).decode()
        if failure is not None:
            return Released(ctx, tool, _failed_with(failure, ctx.id, text), failure)
        mark = "result" if own.result.labels.get("") == "trusted" else "untrusted_result"
        return Released(ctx, tool, f'{{"{mark}":{text}}}', None)

    def remember(self, ctx: CallContext, secrets: tuple[object, ...]) -> None:
        """Secret parameters of a call: from now on they do not leave in this conversation."""
        for value in secrets:
            self._secrets.heard(ctx, value)

    def again(self, ctx: CallContext, tool: str, content: str) -> Released:
        """What was released before, for a spent id: nothing runs, nothing is masked twice."""
        return Released(ctx, tool, content, None)

    def answer(self, text: str, principal: str, conversation: str) -> tuple[str, int]:
        """The agent's final answer with secrets masked, and how many there were."""
        return self._secrets.mask(text, principal, conversation)


def error_content(failure: Failure, correlation_id: str) -> str:
    """The one error envelope a model ever sees: `{"error": {code, message, suggestion, correlation_id}}`."""
    return orjson.dumps({"error": _envelope(failure, correlation_id)}).decode()


def _failed_with(failure: Failure, correlation_id: str, text: str) -> str:
    head = orjson.dumps(_envelope(failure, correlation_id)).decode()
    return f'{{"error":{head},"untrusted_result":{text}}}'


def _envelope(failure: Failure, correlation_id: str) -> dict[str, str]:
    return {
        "code": failure.code,
        "message": failure.message,
        "suggestion": failure.suggestion,
        "correlation_id": correlation_id,
    }


def _mask_at(value: Any, pointer: str) -> None:
    """Replace what stands at an RFC 6901 pointer; `*` as a segment means every item of an array or object."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for parent in _reach([value], way):
        for key in _keys(parent, last):
            parent[key] = MASK


def _reach(places: list[Any], way: list[str]) -> list[Any]:
    for part in way:
        places = [place[key] for place in places for key in _keys(place, part)]
    return places


def _keys(place: Any, part: str) -> list[Any]:
    if isinstance(place, dict):
        return list(place) if part == "*" else [part] if part in place else []
    if isinstance(place, list):
        if part == "*":
            return list(range(len(place)))
        return [int(part)] if part.isdecimal() and int(part) < len(place) else []
    return []
