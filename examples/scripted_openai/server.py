"""An OpenAI-compatible server on loopback whose model is a script.

Guarantee: a request that the real API refuses for its tools, its call ids or its missing results is refused
here too, with status 400 and OpenAI's error object: an agent that works here keeps its conversation valid.
It answers `POST /v1/chat/completions` and `POST /v1/responses`, whole or streamed.

The script sees only what was received. The server itself keeps three things: the requests, for inspection;
stored responses, for `previous_response_id`; and the faults a test has queued.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from examples.loopback import LoopbackHandler, LoopbackServer
from examples.scripted_openai.chat import chat_answer, read_chat
from examples.scripted_openai.errors import ApiError
from examples.scripted_openai.fields import as_object
from examples.scripted_openai.responses import ResponseStore, read_responses, responses_answer, store_answer
from examples.scripted_openai.script import Raw, Reply, Script
from examples.scripted_openai.stream import chat_events, responses_events

# The official client reads both headers: the first spares a test the wait, the second forbids a retry.
RETRY_AT_ONCE = {"retry-after-ms": "1"}
NO_RETRY = {"x-should-retry": "false"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as received, and how it was answered. `body` is None where it was no JSON object.

    A streamed answer is kept as the bytes of its events. The authorization header is left out of `headers`; names are
    in lower case.
    """

    path: str
    headers: dict[str, str]
    body: dict[str, object] | None
    status: int
    answer: bytes


class ScriptedOpenAI:
    """The server: `with ScriptedOpenAI(script) as server: openai.OpenAI(base_url=server.base_url, ...)`."""

    def __init__(self, script: Script, *, api_key: str = "sk-scripted") -> None:
        self.script = script
        self.api_key = api_key
        self._store = ResponseStore()
        self._requests: list[Recorded] = []
        self._faults: deque[int] = deque()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = LoopbackServer(handler)

    @property
    def base_url(self) -> str:
        """What the client wants as `base_url`: the origin with `/v1`."""
        return f"{self._server.origin}/v1"

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """Everything received so far, refused requests and queued faults included."""
        with self._lock:
            return tuple(self._requests)

    def fail_next(self, status: int, times: int = 1) -> None:
        """Answer the next `times` requests with `status` (429 or 5xx), before the script is asked."""
        with self._lock:
            self._faults.extend([status] * times)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._server.stop()

    def respond(self, path: str, headers: dict[str, str], payload: bytes) -> _Reply:
        """The answer, and what kind it is; the request is recorded."""
        body: dict[str, object] | None = None
        extra: dict[str, str] = {}
        events: tuple[bytes, ...] | None = None
        try:
            body = _parse(payload)
            self._authenticate(headers)
            self._queued_fault()
            reply, answered = self._route(path, body)
            status = reply.status if isinstance(reply, Raw) else 200
            answer = answered if isinstance(answered, bytes) else json.dumps(answered).encode()
            if body.get("stream") and status == 200:
                events = _events(path, body, answered)
                answer = b"".join(events)[: reply.cut if isinstance(reply, Raw) else None]
        except ApiError as error:
            status, answer = error.status, error.body()
            extra = RETRY_AT_ONCE if error.code == "queued_fault" else {}
        except Exception as error:  # a rule is any Python: its mistake goes to the client
            text = f"The script failed: {type(error).__name__}: {error}"
            failed = ApiError(text, status=500, code="script_failed", kind="server_error")
            status, answer, extra = failed.status, failed.body(), NO_RETRY
        kept = {name: value for name, value in headers.items() if name != "authorization"}
        with self._lock:
            self._requests.append(Recorded(path, kept, body, status, answer))
        whole = events is None or len(answer) == sum(map(len, events))
        return _Reply(status, answer, extra, events, whole)

    def _authenticate(self, headers: dict[str, str]) -> None:
        given = headers.get("authorization")
        if given is None:
            raise ApiError("You didn't provide an API key.", status=401)
        if given != f"Bearer {self.api_key}":
            raise ApiError("Incorrect API key provided.", status=401, code="invalid_api_key")

    def _queued_fault(self) -> None:
        with self._lock:
            status = self._faults.popleft() if self._faults else None
        if status is not None:
            kind = "rate_limit_error" if status == 429 else "server_error"
            raise ApiError("A fault was queued.", status=status, code="queued_fault", kind=kind)

    def _route(self, path: str, body: dict[str, object]) -> tuple[Reply, Mapping[str, object] | bytes]:
        """The script's reply, and the body that says it."""
        path = path.partition("?")[0]
        if path.endswith("/chat/completions"):  # with a deployment before it, as Azure writes it
            conversation = read_chat(body)
            reply = self.script.next(conversation)
            return reply, reply.body if isinstance(reply, Raw) else chat_answer(reply, conversation, body.get("n"))
        if path.endswith("/responses"):
            conversation, items = read_responses(body, self._store)
            reply = self.script.next(conversation)
            if not isinstance(reply, Raw):
                return reply, responses_answer(reply, conversation, body, self._store, items)
            if not isinstance(reply.body, bytes):
                store_answer(dict(reply.body), body, self._store, items)
            return reply, reply.body
        raise ApiError(f"Invalid URL (POST {path})", status=404)


@dataclass(frozen=True, slots=True)
class _Reply:
    """`events` are sent one by one; where the answer is not `whole`, the connection is cut after it."""

    status: int
    answer: bytes
    headers: dict[str, str]
    events: tuple[bytes, ...] | None
    whole: bool


def _events(path: str, body: dict[str, object], answer: Mapping[str, object] | bytes) -> tuple[bytes, ...]:
    if isinstance(answer, bytes):
        return (answer,)
    if not path.partition("?")[0].endswith("/chat/completions"):
        return tuple(responses_events(answer))
    options = body.get("stream_options")
    return tuple(chat_events(answer, usage=isinstance(options, dict) and bool(options.get("include_usage"))))


def _parse(payload: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(payload)
    except ValueError as error:
        raise ApiError("We could not parse the JSON body of your request.") from error
    return as_object(parsed, "body")


class _Handler(LoopbackHandler):
    owner: ScriptedOpenAI

    def do_POST(self) -> None:  # noqa: N802  (the name is the base class's)
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.owner.respond(self.path, headers, self.read_body())
        if reply.events is None:
            self.answer(reply.status, reply.answer, reply.headers)
        else:
            self._stream(reply)

    def _stream(self, reply: _Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in (reply.events or ()) if reply.whole else (reply.answer,):
            if event:
                self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
                self.wfile.flush()
        if reply.whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = not reply.whole
