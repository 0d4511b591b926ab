"""Step 8, release: what may leave (OWASP LLM02, LLM05).

Guarantees: declared secrets are masked before anything is handed to the model, a result that breaks its contract is
not handed on at all, nothing is larger than the contract allows, and text from a tool is marked as untrusted data.
The patterns are an extra net: they catch what looks like a credential, and miss what does not (docs/threat-model.md).
"""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import orjson

from gateway.domain.call import CallContext, Executed, Failure, Released
from gateway.domain.decision import ReasonCode, Refusal, Step
from gateway.domain.masking import MASK, Masker, leaves
from gateway.policy.documents import Result

RAN = "The tool did run: do not repeat the call. Tell the user what you cannot say."
TOOL_FAILED = "tool_failed"  # the code of a failure that the tool put into its own words
TOO_MANY_SECRETS = Refusal(
    Step.VALIDATE,
    ReasonCode.CALL_BUDGET,
    "This conversation holds as many secrets as can be kept.",
    "Stop calling tools and answer with what you have.",
)
MAX_SECRETS = 500  # a conversation: each is looked for in every result, a millisecond a megabyte
MAX_CONVERSATIONS = 10_000  # conversations whose secrets are remembered; the longest idle one is forgotten first

# What credentials look like, by their issuers' own prefixes (public documentation of each service). The prefix stands
# first: a text without it cannot match, and is not searched at all.
SECRET_PATTERNS: dict[str, str] = {
    "sk-": r"\bsk-[A-Za-z0-9_-]{20,}",
    "AKIA": r"\bAKIA[A-Z0-9]{16}\b",
    "ASIA": r"\bASIA[A-Z0-9]{16}\b",
    "gh": r"\bgh[pousr]_[A-Za-z0-9]{36,}",
    "xox": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "eyJ": r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    "-----BEGIN ": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
}


@final
class Secrets:
    """Declared secret values: the host's, and per conversation those that arrived as secret parameters."""

    def __init__(self, patterns: tuple[str, ...] = ()) -> None:
        self.look_for(patterns)
        self._hosts: dict[str, str] = {}
        self._heard: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()

    def look_for(self, patterns: tuple[str, ...]) -> None:
        """Take the policy's own patterns beside the built-in ones."""
        self._pattern = re.compile("|".join(f"(?:{each})" for each in (*SECRET_PATTERNS.values(), *patterns)))
        self._always = bool(patterns)  # the host's own may begin with anything

    def declare(self, name: str, value: str) -> None:
        self._hosts[value] = name

    def heard(self, ctx: CallContext, values: tuple[object, ...], most: float = math.inf) -> bool:
        """Secret parameters of this conversation: they must not come back out.

        False where they would be more than `most` in all; then none of these is remembered.
        """
        key = (ctx.principal.id, ctx.conversation)
        known = self._heard.get(key, frozenset()).union(*map(leaves, values))
        if len(known) > most:
            return False
        self._heard[key] = known
        self._heard.move_to_end(key)
        while len(self._heard) > MAX_CONVERSATIONS:
            self._heard.popitem(last=False)
        return True

    def mask(self, text: str, principal: str, conversation: str) -> tuple[str, int]:
        """Plain text with every declared secret and every credential-like string replaced, and how many were."""
        masker = self._masker(principal, conversation)
        return masker.text(text), masker.count

    def mask_answer(self, text: str, principal: str, conversation: str) -> tuple[str, int]:
        """The same for what its reader may decode: in JSON no escape hides a secret. Masked JSON is spelled anew."""
        masker = self._masker(principal, conversation)
        masked = masker.text(text)
        if not masked.lstrip().startswith(("{", "[", '"')):
            return masked, masker.count
        found = masker.count
        try:
            value = masker.value(json.loads(masked, object_pairs_hook=_members))
        except json.JSONDecodeError:
            return masked, found
        except (ValueError, RecursionError):  # JSON that others read: a number too long, or too deep to look through
            return MASK, found + 1
        return (masked if masker.count == found else json.dumps(value)), masker.count

    def mask_json(self, text: str, principal: str, conversation: str) -> str:
        """The same for one JSON value, which stays one: a secret is looked for in each string and number."""
        looks_like_one = self._always or _has_prefix(text)
        if not looks_like_one and not self._hosts and (principal, conversation) not in self._heard:
            return text
        masker = self._masker(principal, conversation)
        if not looks_like_one and not masker.touches(text):
            return text
        value = masker.value(orjson.loads(text))
        return orjson.dumps(value).decode() if masker.count else text

    def _masker(self, principal: str, conversation: str) -> Masker:
        return Masker((*self._hosts, *self._heard.get((principal, conversation), ())), self._credentials)

    def _credentials(self, text: str) -> tuple[str, int]:
        return self._pattern.subn(MASK, text) if self._always or _has_prefix(text) else (text, 0)


def _members(pairs: list[tuple[str, Any]]) -> object:
    """A JSON object; its pairs where a key stands twice, because readers differ about which of them counts."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else [list(pair) for pair in pairs]


def _has_prefix(text: str) -> bool:
    for prefix in SECRET_PATTERNS:  # noqa: SIM110 -- `any` of a generator costs as much as the whole search
        if prefix in text:
            return True
    return False


@final
@dataclass(frozen=True, slots=True)
class Exit:
    """How one contract's results leave. `problems` gives what is wrong with a decoded result, or nothing.

    `quotable` gives the words of a failure as a record may hold them.
    """

    result: Result
    problems: Callable[[Any], str | None] | None
    quotable: Callable[[str], str]


@final
class Release:
    """The step: builds the content; the pipeline makes the outcome durable before it hands it back."""

    def __init__(self, exits: Mapping[str, Exit], secrets: Secrets, *, withholds: bool = True) -> None:
        """`withholds=False` is observe mode: a result that breaks its contract is handed on, and said to."""
        self._exits = exits
        self._secrets = secrets
        self._withholds = withholds

    def __call__(self, call: Executed) -> Released:
        ctx = call.ctx
        tool = call.started.cleared.tool
        own = self._exits[tool]
        failure = None if call.failure is None else self._recordable(ctx, own, call.failure)
        if not call.value:
            failure = failure or Failure(TOOL_FAILED, "The tool gave no result.")
            return Released(ctx, tool, error_content(failure, ctx.id), failure)
        text = call.value.decode()
        let_through = None
        if own.problems is not None or own.result.secrets:
            value = orjson.loads(text)
            if own.problems is not None and failure is None and (problem := own.problems(value)) is not None:
                failure = Failure(
                    "bad_result",
                    "The tool's result was not usable.",
                    RAN,
                    detail=self._said(own.quotable(problem), own, ctx),
                )
                if self._withholds:
                    return Released(ctx, tool, error_content(failure, ctx.id), failure)
                let_through, failure = failure, None
            for pointer in own.result.secrets:
                _mask_at(value, pointer)
            text = orjson.dumps(value).decode()
        text = _bounded(self._secrets.mask_json(text, ctx.principal.id, ctx.conversation), own.result.max_bytes)
        if failure is not None:
            return Released(ctx, tool, _failed_with(failure, ctx.id, text), failure)
        mark = "result" if own.result.labels.get("") == "trusted" else "untrusted_result"
        return Released(ctx, tool, f'{{"{mark}":{text}}}', None, let_through)

    def _recordable(self, ctx: CallContext, own: Exit, failure: Failure) -> Failure:
        """What a tool says when it fails may quote its arguments, or anything it heard before (I10)."""
        if not failure.detail:
            return failure
        said = own.quotable(failure.detail) if failure.code == TOOL_FAILED else failure.detail
        said, _ = self._secrets.mask(said, ctx.principal.id, ctx.conversation)
        return Failure(failure.code, failure.message, failure.suggestion, said)

    def _said(self, problem: str, own: Exit, ctx: CallContext) -> str:
        """What is wrong with a result, for the record; it may quote the result."""
        if own.result.secrets:
            return "the result breaks its schema (not quoted: the contract names secrets in it)"
        return self._secrets.mask(problem, ctx.principal.id, ctx.conversation)[0]

    def remember(self, ctx: CallContext, secrets: tuple[object, ...]) -> Refusal | None:
        """Secret parameters of a call: from now on they do not leave in this conversation. Too many are refused."""
        return None if not secrets or self._secrets.heard(ctx, secrets, MAX_SECRETS) else TOO_MANY_SECRETS

    def regardless(self, ctx: CallContext, secrets: tuple[object, ...]) -> None:
        """The same of a call that is only observed: nothing may refuse it."""
        if secrets:
            self._secrets.heard(ctx, secrets)

    def again(self, ctx: CallContext, tool: str, content: str) -> Released:
        """What was released before, for a spent id: nothing runs, nothing is masked twice."""
        return Released(ctx, tool, content, None)

    def answer(self, text: str, principal: str, conversation: str) -> tuple[str, int]:
        """The agent's final answer with secrets masked, and how many there were."""
        return self._secrets.mask_answer(text, principal, conversation)


def _bounded(text: str, most: int) -> str:
    """The JSON text, or the beginning of it in an envelope that is no larger than `most` bytes either."""
    if len(text) <= most and (text.isascii() or len(text.encode()) <= most):
        return text
    encoded = text.encode()
    room = most
    while True:
        cut = encoded[:room].decode("utf-8", "ignore")
        envelope = orjson.dumps({"truncated": True, "bytes": len(encoded), "text": cut})
        over = len(envelope) - most
        if over <= 0 or not cut:
            return envelope.decode()
        room -= -(-over // 2)  # a character costs at most two in the envelope, so this never cuts too much


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
