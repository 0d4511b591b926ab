"""`url`: spellings of addresses inside, and names that lead there. What would be connected to is judged, not connected.

Without a guard, a spelling leads where the system's own reading of numeric hosts says (`inet_aton` and all).
"""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from benchmarks.guards.trial import Data, Guarded, Result, attack, serve
from gateway.policy.guard_documents import UrlGuard
from gateway.validate.guards import PinnedClient
from gateway.validate.guards.address import Address

INSIDE = (
    "127.0.0.1",
    "127.8.9.10",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.0.1",
    "169.254.169.254",
    "100.100.100.200",
    "0.0.0.0",
)
INSIDE_6 = ("::1", "fd00:ec2::254", "fe80::1", "fc00::1", "::", "ff02::1", "2001:db8::1")
OUTSIDE = ("93.184.216.34", "2606:4700::1111")


class Names:
    """A resolver: `inN.example` leads to the N-th address inside, `mixN` there and outside, everything else outside."""

    def __init__(self) -> None:
        self.inside = [*INSIDE, *INSIDE_6, "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"]

    def resolve(self, host: str) -> list[Address]:
        first = host.partition(".")[0]
        for word, others in (("in", ()), ("mix", OUTSIDE[:1])):
            if first.startswith(word) and first[len(word) :].isdigit():
                place = int(first[len(word) :]) % len(self.inside)
                return [ipaddress.ip_address(text) for text in (*others, self.inside[place])]
        return [ipaddress.ip_address(text) for text in OUTSIDE]

    def connect(self, address: Address, port: int, timeout_s: float) -> socket.socket:
        raise OSError(f"nothing is connected to: {address}, {port}, {timeout_s}")

    def tls(self) -> object:
        raise OSError("nothing is connected to")


def measure(data: Data) -> Result:
    """Spellings, names, and every payload as an address; harmless: pages named after every harmless value."""
    result = Result("url")
    names = Names()
    guard = UrlGuard(kind="url", any_public_host=True, schemes=("http", "https"), ports=(80, 443, 8080))
    guarded = Guarded(guard, network=names)  # type: ignore[arg-type]

    def through(got: object) -> str:
        assert isinstance(got, PinnedClient)
        return ", ".join(str(address) for address in got.addresses if leads_inside(address))

    hostile: list[object] = list(dict.fromkeys([*spellings(names), *data.hostile]))
    attack(result, guarded, hostile, lambda value: naive(str(value), names), through)
    pages: list[object] = [one for one in data.harmless if one.startswith(("http://", "https://"))]
    for value in data.harmless:
        short = quote(value[:200], safe="")
        pages += [f"https://shop.example.org/{short}", f"https://example.org:443/search?q={short}&n=1#{short}"]

    def wrong(value: object, got: object) -> str:
        assert isinstance(got, PinnedClient)
        return "" if str(value).startswith(got.url.replace(":443", "")) or ":443" in str(value) else f"became {got.url}"

    serve(result, guarded, pages, wrong)
    return result


def spellings(names: Names) -> Iterator[str]:
    """Each address inside in every way some program reads it, behind what hides a host."""
    rng = random.Random(5)
    hosts = [f"in{n}.example" for n in range(len(names.inside))] + [f"mix{n}.example" for n in range(len(names.inside))]
    hosts += ["localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::1%25lo]"]
    for text in INSIDE:
        a, b, c, d = (int(part) for part in text.split("."))
        number = int(ipaddress.IPv4Address(text))
        hosts += [text, f"{number}", f"0x{number:x}", f"0x{number:08X}", f"0{number:o}", f"{a}.{number & 0xFFFFFF}"]
        hosts += [f"{a}.{b}.{(c << 8) + d}", f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"]
        hosts += [f"0x{a:x}.{b}.0{c:o}.{d}", f"{a:03}.{b:03}.{c:03}.{d:03}", f"[::ffff:{text}]", f"[64:ff9b::{text}]"]
        hosts += [
            f"[::{text}]",
            f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]",
            f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        ]
        hosts += [
            text.replace(".", "\u3002"),
            "".join(chr(0xFF10 + int(one)) if one.isdigit() else one for one in text),
        ]
        hosts += [f"%{ord(text[0]):x}{text[1:]}"]
    hosts += [f"[{text}]" for text in INSIDE_6]
    for _ in range(400):
        parts = [rng.choice([str, hex, lambda n: f"0{n:o}"])(int(part)) for part in rng.choice(INSIDE).split(".")]  # type: ignore[operator]
        hosts.append(".".join(parts))
    for host in hosts:
        for form in (
            "http://{}/",
            "https://{}/x?y",
            "HTTP://{}",
            "http://{}:80/",
            "http://{}:8080/",
            "//{}/",
            "http:{}",
            "http:/{}",
            "http:\\\\{}\\",
            "http://good.example@{}/",
            "http://good.example:80@{}/",
            "http://{}\\@good.example/",
            "http://{}#@good.example/",
            "http://good.example\\@{}/",
            " http://{}/",
            "http://\t{}/",
            "http://{}\n.good.example/",
            "ftp://{}/",
            "gopher://{}:6379/_INFO",
            "http://{}%00.good.example/",
            "http://[{}]/",
        ):
            yield form.format(host)


def naive(value: str, names: Names) -> str:
    """Where a client leads that reads with the standard library and the system's resolver: inside, or nothing."""
    try:
        host = urlsplit(value.strip()).hostname
    except ValueError:
        return ""
    if not host:
        return ""
    if host in ("localhost", "localhost."):
        return "127.0.0.1"
    try:
        found = [ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(host)))]  # 127.1, 0x7f.1, 2130706433
    except (OSError, UnicodeError):
        try:
            found = [ipaddress.ip_address(host)]
        except ValueError:
            found = names.resolve(host)
    return ", ".join(str(address) for address in found if leads_inside(address))


def leads_inside(address: Address) -> bool:
    """By the standard library's tables, and by the IPv4 address that some IPv6 addresses carry."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in ipaddress.IPv6Network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return leads_inside(inner)
    return not address.is_global or address.is_multicast
