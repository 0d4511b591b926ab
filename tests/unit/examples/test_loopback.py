"""The loopback server ends whole."""

from __future__ import annotations

import http.client
import socket
import threading

import pytest

from examples.loopback import LoopbackHandler, LoopbackServer


class Echo(LoopbackHandler):
    def do_POST(self) -> None:  # noqa: N802  the name is the base class's
        self.answer(200, self.read_body())


def test_stop_returns_while_a_client_keeps_its_connection_open() -> None:
    before = set(threading.enumerate())
    server = LoopbackServer(Echo).start()
    connections = []
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connections.append(connection)
        for text in (b"one", b"two"):
            connection.request("POST", "/", text)
            assert connection.getresponse().read() == text
    server.stop()
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.server_port))
    for connection in connections:
        connection.close()
