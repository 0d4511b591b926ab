"""The URL guard: only listed hosts, only public addresses, and the connection goes where the check looked (CWE-918).

The answers come from real servers on this machine; the fakes are the resolver and the way an address is reached.
"""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.policy.documents import Guard
from gateway.policy.guard_documents import UrlGuard
from gateway.validate.guards import FetchFailed, GuardRefused, Guards, PinnedClient
from gateway.validate.guards.address import Address
from gateway.validate.guards.network import StandIn
from tests.unit.validate.test_guard_address import INSIDE, PUBLIC

OTHER = "93.184.216.35"


class Net:
    """`names` resolves; every address is reached on this machine at `port`, and noted in `reached`."""

    def __init__(self, port: int = 0, context: ssl.SSLContext | None = None, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        self.port = port
        self.context = context
        self.asked: list[str] = []
        self.reached: list[str] = []

    def resolve(self, host: str) -> list[Address]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(-2, "Name or service not known")
        return [ip_address(text) for text in self.names[host]]

    def connect(self, address: Address, port: int, timeout_s: float) -> socket.socket:
        self.reached.append(f"{address}:{port}")
        return socket.create_connection(("127.0.0.1", self.port), timeout_s)

    def tls(self) -> ssl.SSLContext:
        assert self.context is not None
        return self.context


class Site(BaseHTTPRequestHandler):
    """Answers by `routes`: path -> (status, headers, body)."""

    protocol_version = "HTTP/1.1"
    routes: dict[str, tuple[int, dict[str, str], bytes]]
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        status, headers, body = self.routes[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Transfer-Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    handler = type("Here", (Site,), {"routes": {"/": (200, {"X-Is": "here"}, b"hello")}, "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def net_of(server: ThreadingHTTPServer, **names: list[str]) -> Net:
    return Net(server.server_address[1], **(names or {"a_example": [PUBLIC], "b_example": [OTHER]}))


def client(net: Net, url: str, **options: object) -> PinnedClient:
    given: dict[str, object] = {"any_public_host": True, "schemes": ["http", "https"]}
    guard: Guard = UrlGuard.model_validate_json(json.dumps({"kind": "url"} | given | options))
    handed = Guards({"u": guard}, {}, network=net).apply({"u": url})["u"]
    assert isinstance(handed, PinnedClient)
    return handed


@pytest.mark.parametrize("text", INSIDE)
def test_a_name_that_leads_inside_is_refused_whatever_else_it_has(text: str) -> None:
    for addresses in ([text], [PUBLIC, text], [text, PUBLIC]):
        net = Net(a_example=addresses)
        with pytest.raises(GuardRefused) as caught:
            client(net, "http://a.example/")
        assert text not in caught.value.message
        assert net.reached == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://0/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://1.2.3.4.5/",
        "http://a.1/",
        "http://a.0x1/",
        "http://[::1%25lo]/",
        "http://[::1%lo]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[127.0.0.1]/",
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://\u2460\u2461\u2466.0.0.1/",
        "http://127\u30020\u30020\u30021/",
        "http://a@b.example/",
        "http://a.example@127.0.0.1/",
        "http://a.example:80@127.0.0.1/",
        "http://a.example\\@127.0.0.1/",
        "http://a.example\\.b/",
        "http:\\\\127.0.0.1/",
        "http:/127.0.0.1/",
        "http:127.0.0.1",
        "//a.example/",
        "///a",
        "a.example",
        "/x",
        "",
        "http://",
        "http:///x",
        "http://a.example:0x50/",
        "http://a.example:99999999/",
        "http://a.example:22/",
        "http://a.example:/",
        "http://a..example/",
        "http://-a.example/",
        "http://a_b.example/",
        "http://a%2eexample/",
        "http://a.example /",
        " http://a.example/",
        "http://a.example/\n",
        "http://a.example/ HTTP/1.1\r\nX: y",
        "http://a.example/\t",
        "http://a.example/%",
        "http://a.example/%zz",
        "http://a.example/\u00e9",
        "http://a.example/\u202e",
        "file:///etc/passwd",
        "gopher://a.example/",
        "ftp://a.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "jar:http://a.example!/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 130 + "example/",
        "http://a.example/" + "x" * 2050,
    ],
)
def test_a_spelling_that_programs_read_apart(url: str) -> None:
    net = Net(a_example=[PUBLIC], b_example=[PUBLIC])
    with pytest.raises(GuardRefused):
        client(net, url)
    assert net.asked == []


def test_what_is_no_text_is_no_address() -> None:
    for value in (7, True, ["http://a.example/"], {"u": "http://a.example/"}):
        with pytest.raises(GuardRefused):
            client(Net(a_example=[PUBLIC]), value)  # type: ignore[arg-type]


def test_only_listed_hosts_are_looked_up() -> None:
    net = Net(a_example=[PUBLIC], x_b_example=[PUBLIC], b_example=[PUBLIC])
    listed = {"any_public_host": False, "hosts": ["a.example", "*.b.example"]}
    for url in ("http://A.example/", "http://x.b.example/"):
        client(net, url, **listed)
    asked = list(net.asked)
    for url in ("http://b.example/", "http://xb.example/", "http://a.example.evil.test/", f"http://{PUBLIC}/"):
        with pytest.raises(GuardRefused):
            client(net, url, **listed)
    assert net.asked == asked


def test_scheme_and_port_as_the_policy_has_them() -> None:
    net = Net(a_example=[PUBLIC])
    for url, more in (
        ("http://a.example/", {"schemes": ["https"]}),
        ("https://a.example:80/", {}),
        ("https://a.example/", {"ports": [8443]}),
    ):
        with pytest.raises(GuardRefused):
            client(net, url, **more)
    assert client(net, "https://a.example:8443/x?y#z", ports=[8443]).url == "https://a.example:8443/x?y"
    assert client(net, "HTTPS://A.Example").url == "https://a.example/"


def test_the_connection_goes_to_the_address_that_was_checked(site: ThreadingHTTPServer) -> None:
    """DNS rebinding: the name leads inside by the time the tool asks."""
    net = net_of(site)
    page = client(net, "http://a.example/")
    net.names["a.example"] = ["127.0.0.1"]
    answer = page.get({"X-Mine": "1"})
    assert (answer.status, answer.body, answer.headers["x-is"], answer.url) == (
        200,
        b"hello",
        "here",
        "http://a.example/",
    )
    assert net.reached == [f"{PUBLIC}:80"]
    assert net.asked == ["a.example"]
    seen = site.RequestHandlerClass.seen[0]  # type: ignore[attr-defined]
    assert (seen["host"], seen["x-mine"], seen["accept-encoding"]) == ("a.example", "1", "identity")


def test_a_redirect_is_checked_like_a_first_address(site: ThreadingHTTPServer) -> None:
    routes = site.RequestHandlerClass.routes  # type: ignore[attr-defined]
    for where in (
        "http://127.0.0.1/",
        "http://2130706433/",
        "//in.example/",
        "file:///etc/passwd",
        "http://[::1]/",
        "\\\\in.example/",
    ):
        routes["/go"] = (302, {"Location": where}, b"")
        net = net_of(site, a_example=[PUBLIC], in_example=["10.0.0.1"])
        with pytest.raises(FetchFailed):
            client(net, "http://a.example/go").get()
        assert net.reached == [f"{PUBLIC}:80"]


def test_redirects_to_a_public_address_are_followed_without_the_callers_headers(site: ThreadingHTTPServer) -> None:
    here = site.RequestHandlerClass
    here.routes["/go"] = (302, {"Location": "step?x=1"}, b"")  # type: ignore[attr-defined]
    here.routes["/step?x=1"] = (308, {"Location": "http://b.example/"}, b"")  # type: ignore[attr-defined]
    net = net_of(site)
    answer = client(net, "http://a.example/go").get({"Authorization": "mine"})
    assert (answer.url, answer.body) == ("http://b.example/", b"hello")
    assert net.reached == [f"{PUBLIC}:80", f"{PUBLIC}:80", f"{OTHER}:80"]
    assert ["authorization" in seen for seen in here.seen] == [True, True, False]  # type: ignore[attr-defined]
    with pytest.raises(FetchFailed):
        client(net, "http://a.example/go", any_public_host=False, hosts=["a.example"]).get()
    with pytest.raises(FetchFailed, match="more than 1"):
        client(net, "http://a.example/go", redirects=1).get()


def test_a_body_past_the_limit(site: ThreadingHTTPServer) -> None:
    routes = site.RequestHandlerClass.routes  # type: ignore[attr-defined]
    routes["/fits"] = (200, {}, b"x" * 100)
    routes["/long"] = (200, {}, b"x" * 101)
    routes["/chunks"] = (200, {"Transfer-Encoding": "chunked"}, b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n")
    net = net_of(site)
    assert len(client(net, "http://a.example/fits", max_bytes=100).get().body) == 100
    for path in ("long", "chunks"):
        with pytest.raises(FetchFailed, match="100 bytes"):
            client(net, f"http://a.example/{path}", max_bytes=100).get()


def test_a_slow_drip_does_not_extend_the_deadline() -> None:
    """One byte at a time, each well within the timeout of one read."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            link, _ = listener.accept()
            with link:
                link.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while not stop.wait(0.02):
                    try:
                        link.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(FetchFailed, match="TimeoutError"):
                client(Net(listener.getsockname()[1], a_example=[PUBLIC]), "http://a.example/", timeout_s=0.3).get()
        finally:
            stop.set()
            thread.join()


def test_the_next_checked_address_is_tried() -> None:
    class Half(Net):
        def connect(self, address: Address, port: int, timeout_s: float) -> socket.socket:
            self.reached.append(str(address))
            raise ConnectionRefusedError

    net = Half(a_example=[PUBLIC, OTHER])
    with pytest.raises(FetchFailed, match="ConnectionRefusedError"):
        client(net, "http://a.example/").get()
    assert net.reached == [PUBLIC, OTHER]


@pytest.mark.parametrize(
    "headers", [{"Host": "in.example"}, {"X": "a\r\nHost: b"}, {"a b": "c"}, {"content-length": "5"}]
)
def test_headers_that_would_change_the_request(site: ThreadingHTTPServer, headers: dict[str, str]) -> None:
    with pytest.raises(FetchFailed):
        client(net_of(site), "http://a.example/").get(headers)
    assert site.RequestHandlerClass.seen == []  # type: ignore[attr-defined]


def test_tls_is_for_the_name_and_not_for_the_address(tmp_path: Path, site: ThreadingHTTPServer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.example")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(1))
        .not_valid_after(today + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(private + made)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "both.pem")
    site.socket = serving.wrap_socket(site.socket, server_side=True)
    trusting = ssl.create_default_context(cadata=made.decode())
    net = Net(site.server_address[1], trusting, a_example=[PUBLIC], b_example=[PUBLIC])
    assert client(net, "https://a.example/").get().body == b"hello"
    with pytest.raises(FetchFailed, match="SSLCertVerificationError"):
        client(net, "https://b.example/").get()
    site.RequestHandlerClass.routes["/down"] = (302, {"Location": "http://a.example/"}, b"")  # type: ignore[attr-defined]
    with pytest.raises(FetchFailed, match="from https to http"):
        client(net, "https://a.example/down").get()


def test_a_dry_run_asks_nobody() -> None:
    page = client(StandIn(), "https://anything.example/")  # type: ignore[arg-type]
    with pytest.raises(FetchFailed):
        page.get()
