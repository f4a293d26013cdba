"""Where an IP address lies, as far as it decides who may be asked there (R80). Pure."""

from __future__ import annotations

import enum
import ipaddress
import socket
from typing import TypeAlias

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Place(enum.Enum):
    """The kinds of addresses, told apart by who can be reached there."""

    PUBLIC = "public"
    PRIVATE = "private"
    """RFC 1918, ULA, shared address space (RFC 6598), site-local."""
    LOOPBACK = "loopback"
    NEVER = "link-local, metadata or reserved"
    """No registry is there: link-local, metadata services of clouds, "this host", multicast, reserved."""


_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # EKS
            "fd20:ce::254",  # Google
            "fd00:c1::a9fe:a9fe",  # Oracle
            "fd00:42::42",  # Scaleway
        ),
    )
)
"""Those that are not link-local."""

_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
    )
)
_TRANSLATED = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96"))
)
"""NAT64, its local use, IPv4-translated, IPv4-compatible: the last 32 bits are an IPv4 address."""
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_LOCAL_NAME = "localhost"


def place_of(address: str) -> Place:
    """Where a resolved address lies; what is no address, is NEVER.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged as that.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return Place.NEVER
    return _place(parsed)


def written_place(host: str) -> Place | None:
    """Where a host of a URL lies by its very writing: an address in any spelling, or localhost.

    The spellings are those that ``getaddrinfo`` takes: ``127.1``, ``0x7f000001``, ``017700000001``
    too. None for a name, which has to be resolved.
    """
    name = host.rstrip(".").lower()
    if name == _LOCAL_NAME or name.endswith(f".{_LOCAL_NAME}"):
        return Place.LOOPBACK
    try:
        return _place(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        pass
    try:
        return _place(ipaddress.IPv4Address(socket.inet_aton(name)))
    except (OSError, ValueError):
        return None


def _place(address: _Address) -> Place:
    meant = _meant(address)
    if meant in _METADATA:
        return Place.NEVER
    if meant.is_loopback:
        return Place.LOOPBACK
    if any(meant in network for network in _PRIVATE):
        return Place.PRIVATE
    if meant in _THIS_NETWORK or meant.is_link_local or meant.is_unspecified:
        return Place.NEVER
    return Place.NEVER if meant.is_multicast or meant.is_reserved else Place.PUBLIC


def _meant(address: _Address) -> _Address:
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
