"""An `openai` client, wrapped in place: the same class, the same methods, every request and every answer governed.

What the wrap enforces: requests (`shapes.outgoing`) and the kinds of calls in answers (`shapes.incoming`,
`shapes.gate`), at the one place they all pass, the HTTP client; what was changed, let through or refused is recorded
first. What it does not: whether a call may happen. A call is handed over unchanged, and `session.dispatch` judges it. A
host that executes calls by other means than the session is outside (docs/openai.md).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, final

import httpx2

from gateway.domain.decision import StopReason
from gateway.domain.errors import UsageError
from gateway.domain.event import RequestGoverned
from gateway.session import Session
from gateway.shapes.calls import Format
from gateway.shapes.gate import Gate, OpenGate
from gateway.shapes.incoming import ResponseRefused, check_response
from gateway.shapes.models import RequestRules
from gateway.shapes.outgoing import RequestRefused, govern_request

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

C = TypeVar("C", bound="OpenAI | AsyncOpenAI")

_CHAT = re.compile(r"/chat/completions/?\Z")
_RESPONSES = re.compile(r"/(?:responses(?:/input_tokens|/compact)?|conversations(?:/[^/]+(?:/items)?)?)/?\Z")
# What may be sent as it is: endpoints at which no model is given a tool.
_TOOLLESS = re.compile(
    r"/(?:embeddings|moderations|decisions|files|responses/[^/]+/cancel|chat/completions/[^/]+"
    r"|audio/(?:speech|transcriptions|translations|voices|voice_consents(?:/[^/]+)?)"
    r"|images/(?:generations|edits|variations)|videos(?:/(?:characters|edits|extensions|[^/]+/remix))?"
    r"|content_provenance_checks"
    r"|uploads(?:/[^/]+/(?:parts|complete|cancel))?|fine_tuning/jobs(?:/[^/]+/(?:cancel|pause|resume))?"
    r"|vector_stores(?:/[^/]+(?:/(?:files|file_batches|search)(?:/.*)?)?)?)/?\Z"
)
# The oldest endpoint, which knows no tool; below any other name `completions` may be something that does (agents).
_LEGACY = re.compile(r"(?:\A|/v\d[^/]*|/deployments/[^/]+)/completions/?\Z")
_ANSWERS = re.compile(r"/(?:chat/completions|responses)(?:/|\Z)")
_PARTS: dict[str, Format] = {"choices": "chat", "output": "responses"}  # of an answer: where its calls stand


def wrap(client: C, session: Session) -> C:
    """The same kind of client, governed by `session`. The one given stays as it is, and shares its connections.

    Raises UsageError for anything but an `openai.OpenAI` or `openai.AsyncOpenAI` (Azure's too) over httpx2.
    """
    import openai

    guard = _Guard(session)
    inner = getattr(client, "_client", None)
    if isinstance(client, openai.AsyncOpenAI) and isinstance(inner, httpx2.AsyncClient):
        made: Any = client.copy(http_client=httpx2.AsyncClient(transport=_Async(inner, guard), **_like(inner)))
    elif isinstance(client, openai.OpenAI) and isinstance(inner, httpx2.Client):
        made = client.copy(http_client=httpx2.Client(transport=_Sync(inner, guard), **_like(inner)))
    else:
        raise UsageError("gateway.openai() takes an openai.OpenAI or openai.AsyncOpenAI client over httpx2")
    kind: Any = type(made)
    made.__class__ = _governed(kind)
    result: C = made
    return result


def _like(inner: httpx2.Client | httpx2.AsyncClient) -> dict[str, Any]:
    """The settings that requests are built with; proxies, redirects and hooks stay the inner client's."""
    return {"headers": inner.headers, "cookies": inner.cookies, "timeout": inner.timeout, "trust_env": False}


@cache
def _governed(kind: type) -> Any:
    """A subclass whose websockets are shut: they would not pass the HTTP client. `with_options` keeps it, and that."""

    def no_connect(part: Any) -> Any:
        part.connect = _shut
        return part

    class Governed(kind):  # type: ignore[misc] # the class is only known at run time
        def copy(self, *, http_client: Any = None, **more: Any) -> Any:
            if http_client is not None and not isinstance(http_client._transport, _Sync | _Async):
                raise UsageError(
                    "another HTTP client would lead past the gateway: make the client with it, then wrap that"
                )
            return super().copy(http_client=http_client, **more)

        with_options = copy

        realtime = property(_shut)
        live = property(_shut)

        @cached_property
        def responses(self) -> Any:
            return no_connect(super().responses)

        @cached_property
        def beta(self) -> Any:
            made = super().beta
            made.__dict__["realtime"] = _Shut()
            if hasattr(type(made), "responses"):
                made.__dict__["responses"] = no_connect(made.responses)
            return made

    Governed.__name__ = Governed.__qualname__ = kind.__name__
    return Governed


def _shut(*_: object, **__: object) -> NoReturn:
    raise RequestRefused("this part of the API speaks over websockets, past the gateway; use `responses` or `chat`")


class _Shut:
    __getattr__ = _shut


@final
@dataclass(frozen=True, slots=True)
class _Guard:
    """What is decided about one request and its answer, without doing any of it."""

    session: Session

    @property
    def rules(self) -> RequestRules:
        return self.session.engine.policy().requests

    @property
    def visible(self) -> tuple[str, ...]:
        return self.session.visible(self.session.engine.policy())

    @property
    def observing(self) -> bool:
        """In observe mode requests and answers pass as they are; what would have been done to them is recorded."""
        return self.session.engine.policy().observing

    def request(
        self, method: str, path: str, content: Callable[[], bytes]
    ) -> tuple[bytes | None, RequestGoverned | None]:
        """The body to send instead (None: as it is), and what to record first. Raises RequestRefused."""
        if method in ("GET", "HEAD", "DELETE"):
            return None, None
        api = _api(path)
        if api is None:
            if method == "POST" and _toolless(path):
                return None, None
            raise RequestRefused(f"{method} {path!a} is not an endpoint the gateway governs")
        try:
            body = json.loads(content())
        except (ValueError, RecursionError) as error:
            raise RequestRefused("the request is not JSON") from error
        if not isinstance(body, dict):
            raise RequestRefused("the request is no JSON object")
        policy = self.session.engine.policy()
        made = govern_request(api, body, self.session.visible(policy), policy.tools, policy.requests)
        event = None
        if made.stripped or made.allowed:
            event = self.event(api, "sent", "", tuple(made.stripped), tuple(made.allowed))
        return None if self.observing else json.dumps(made.body).encode(), event

    def event(
        self, api: str, verdict: str, detail: str, stripped: tuple[str, ...] = (), allowed: tuple[str, ...] = ()
    ) -> RequestGoverned:
        who = self.session
        cut = (
            tuple(name[:MAX_NAME] for name in stripped[:MAX_NAMES]),
            tuple(name[:MAX_NAME] for name in allowed[:MAX_NAMES]),
        )
        return RequestGoverned(who.principal.id, who.conversation, api, verdict, detail[:MAX_DETAIL], *cut)

    def gate(self, path: str) -> Gate | OpenGate:
        gate = Gate("chat" if "/chat/completions" in path else "responses", self.rules, self.visible)
        return OpenGate(gate) if self.observing else gate

    def whole(self, content: bytes) -> None:
        """A whole answer. Raises ResponseRefused, also for what a client might still read as a stream."""
        if not content.strip():
            return
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ResponseRefused(StopReason.INVALID_TURN, "it is neither JSON nor a stream") from error
        if not isinstance(body, dict):
            return
        for part, api in _PARTS.items():  # what it says that it is decides nothing: a client reads what it asked for
            if part in body:
                check_response(api, body, self.rules, self.visible)
        listed = body.get("data")
        for each in listed if isinstance(listed, list) else ():  # stored completions
            if isinstance(each, dict) and "choices" in each:
                check_response("chat", each, self.rules, self.visible)


MAX_NAMES, MAX_NAME, MAX_DETAIL = 64, 128, 512  # of a record


def _path(request: httpx2.Request) -> str:
    """The path in one spelling: servers merge slashes, take dots away, and some do not tell letters' cases apart."""
    return posixpath.normpath(request.url.path).lower()


def _toolless(path: str) -> bool:
    return (_TOOLLESS.search(path) or _LEGACY.search(path)) is not None


def _api(path: str) -> Format | None:
    """The API at which a model is given tools, if `path` is one. Azure writes a deployment before it."""
    return "chat" if _CHAT.search(path) else "responses" if _RESPONSES.search(path) else None


def _sent(request: httpx2.Request, body: bytes | None) -> httpx2.Request:
    if body is None:
        return request
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _ABOUT_THE_BODY]
    return httpx2.Request(request.method, request.url, headers=headers, content=body, extensions=request.extensions)


_ABOUT_THE_BODY = (b"content-length", b"transfer-encoding", b"content-encoding")


def _is_stream(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")


def _is_of_a_model(response: httpx2.Response, path: str) -> bool:
    """True for what may hold calls: an answer of either API, also one that is retrieved later."""
    return response.status_code < 400 and _ANSWERS.search(path) is not None


def _handed(response: httpx2.Response, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> httpx2.Response:
    """The answer with a body that was decoded and looked at."""
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _ABOUT_THE_BODY]
    return httpx2.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)


@final
class _Sync(httpx2.BaseTransport):
    def __init__(self, inner: httpx2.Client, guard: _Guard) -> None:
        self._inner = inner
        self._guard = guard

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        guard, path = self._guard, _path(request)
        try:
            body, event = guard.request(request.method, path, request.read)
        except RequestRefused as refused:
            guard.session.note_sync(guard.event(path, "request_refused", str(refused)))
            if not guard.observing:
                raise
            body, event = None, None
        if event is not None:
            guard.session.note_sync(event)
        response = self._inner.send(_sent(request, body), stream=True)
        if not _is_of_a_model(response, path):
            return response
        if _is_stream(response):
            return _handed(response, _SyncGated(response, guard, path))
        try:
            guard.whole(response.read())
        except ResponseRefused as refused:
            guard.session.note_sync(guard.event(path, "response_refused", refused.why))
            if not guard.observing:
                raise
        return _handed(response, httpx2.ByteStream(response.content))

    def close(self) -> None:
        self._inner.close()


@final
class _SyncGated(httpx2.SyncByteStream):
    def __init__(self, response: httpx2.Response, guard: _Guard, path: str) -> None:
        self._response = response
        self._guard = guard
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        gate = self._guard.gate(self._path)
        try:
            for data in self._response.iter_bytes():
                if out := gate.feed(data):
                    yield out
            if out := gate.end():
                yield out
        except ResponseRefused as refused:
            self._guard.session.note_sync(self._guard.event(self._path, "response_refused", refused.why))
            if not self._guard.observing:
                raise

    def close(self) -> None:
        self._response.close()


@final
class _Async(httpx2.AsyncBaseTransport):
    def __init__(self, inner: httpx2.AsyncClient, guard: _Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        guard, path = self._guard, _path(request)
        content = await request.aread() if _api(path) is not None else b""
        try:
            body, event = guard.request(request.method, path, lambda: content)
        except RequestRefused as refused:
            await guard.session.note(guard.event(path, "request_refused", str(refused)))
            if not guard.observing:
                raise
            body, event = None, None
        if event is not None:
            await guard.session.note(event)
        response = await self._inner.send(_sent(request, body), stream=True)
        if not _is_of_a_model(response, path):
            return response
        if _is_stream(response):
            return _handed(response, _AsyncGated(response, guard, path))
        try:
            guard.whole(await response.aread())
        except ResponseRefused as refused:
            await guard.session.note(guard.event(path, "response_refused", refused.why))
            if not guard.observing:
                raise
        return _handed(response, httpx2.ByteStream(response.content))

    async def aclose(self) -> None:
        await self._inner.aclose()


@final
class _AsyncGated(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response, guard: _Guard, path: str) -> None:
        self._response = response
        self._guard = guard
        self._path = path

    async def __aiter__(self) -> AsyncIterator[bytes]:
        gate = self._guard.gate(self._path)
        try:
            async for data in self._response.aiter_bytes():
                if out := gate.feed(data):
                    yield out
            if out := gate.end():
                yield out
        except ResponseRefused as refused:
            await self._guard.session.note(self._guard.event(self._path, "response_refused", refused.why))
            if not self._guard.observing:
                raise

    async def aclose(self) -> None:
        await self._response.aclose()
