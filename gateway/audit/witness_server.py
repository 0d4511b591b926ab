"""A reference witness: C2SP tlog-witness `add-checkpoint` over the standard library's HTTP server.

Guarantee: it cosigns a checkpoint only if an enrolled key signed it and it continues the last one it cosigned, and only
once it is durable here. Whoever runs it holds the logs' public keys (a copy of the trust folder) and a key of its own.
It speaks plain HTTP: put a TLS terminator before it. Also `GET /checkpoint/<origin>` and `GET /checkpoints`, by which
`toolgate audit verify --witness` asks what it has seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from gateway.alarm import alarm
from gateway.audit.cosignature import Cosigner
from gateway.audit.errors import NoteInvalid, WitnessConflict, WitnessRefused, WitnessUnavailable
from gateway.audit.keyring import Keyring
from gateway.audit.origin import valid_origin
from gateway.audit.witness import MAX_REQUEST, Book, read_request

IDLE_S = 10.0  # a client that says nothing for so long is let go


def serve(
    address: tuple[str, int],
    folder: Path,
    keyrings: Callable[[], dict[str, Keyring]],
    cosigner: Cosigner,
    now: Callable[[], float] = time.time,
) -> ThreadingHTTPServer:
    """A server that is bound and not running yet: call `serve_forever`. Port 0 takes a free one. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    book = Book(folder, keyrings)

    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S
        server_version, sys_version = "toolgate-witness", ""

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint":
                self._answer(404, b"no such place\n")
            elif not length.isdecimal() or int(length) > MAX_REQUEST:
                self._answer(413, b"too long\n")
            else:
                self._add(self.rfile.read(int(length)))

        def _add(self, body: bytes) -> None:
            try:
                old_size, proof, note = read_request(body)
                lines = book.take(old_size, proof, note, lambda text: cosigner.line(text, int(now())))
            except NoteInvalid as error:
                self._answer(400, f"{error.why}\n".encode())
            except WitnessConflict as conflict:
                self._answer(409, b"%d\n" % conflict.size, "text/x.tlog.size")
            except WitnessRefused as refused:
                self._answer(refused.status, f"{refused.why}\n".encode())
            except OSError as error:
                alarm().error("witness_cannot_write", fault=str(error))
                self._answer(500, b"cannot be kept now\n")
            else:
                self._answer(200, lines)

        def do_GET(self) -> None:
            try:
                origin = unquote(self.path.removeprefix("/checkpoint/"))
                if self.path == "/checkpoints":
                    self._answer(200, "".join(f"{name}\n" for name in book.origins()).encode())
                elif valid_origin(origin) and (note := book.latest(origin)) is not None:
                    self._answer(200, note)
                else:
                    self._answer(404, b"nothing is kept under this name\n")
            except WitnessUnavailable as error:
                self._answer(500, f"{error.why}\n".encode())

        def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not logged: what was cosigned is in the book."""

    return ThreadingHTTPServer(address, Handler)
