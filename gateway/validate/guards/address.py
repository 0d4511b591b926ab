"""Is this address on the public internet? (IANA special-purpose registries, RFC 6890; SSRF, CWE-918)

Deny by default for IPv6: only 2000::/3 without its special blocks, and NAT64 (RFC 6052) by the IPv4 address inside.
`ipaddress.is_global` is not used: it calls 64:ff9b::a9fe:a9fe global, which is 169.254.169.254 behind a translator, and
its tables differ between Python versions.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address

_NOT_PUBLIC_4: Final = tuple(
    (int(net.network_address), int(net.broadcast_address))
    for net in map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host, from within any of its machines
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_GLOBAL_6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC_6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
            "2001:db8::/32",
            "2002::/16",  # 6to4 carries an IPv4 address
            "3fff::/20",
            "5f00::/16",
        ),
    )
)


def is_public(address: Address) -> bool:
    """True if packets to `address` go to the public internet."""
    if isinstance(address, IPv4Address):
        number = int(address)
        return not any(first <= number <= last for first, last in _NOT_PUBLIC_4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if address.scope_id is not None or address not in _GLOBAL_6:
        return False
    if int(address) & 0xFFFFFFFF_00000000 in (0x00005EFE_00000000, 0x02005EFE_00000000):  # ISATAP, RFC 5214
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return not any(address in network for network in _NOT_PUBLIC_6)
