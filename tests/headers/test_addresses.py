"""Where an address lies, in whatever form it is written or embedded."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.addresses import Place, place_of, written_place

KNOWN = {
    Place.PUBLIC: ["8.8.8.8", "192.0.2.1", "172.15.255.255", "172.32.0.0", "2606:4700::1111", "2001:db8::1"],
    Place.PRIVATE: [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "fd12::1",
        "fec0::1",
    ],
    Place.LOOPBACK: ["127.0.0.1", "127.255.255.254", "::1"],
    Place.NEVER: [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fe80::1%eth0",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "",
        "no-address",
        "/run/registry.sock",
    ],
}
EMBEDDED = {
    "mapped": lambda v4: IPv6Address((0xFFFF << 32) | v4),
    "IPv4-translated": lambda v4: IPv6Address((0xFFFF << 48) | v4),
    "NAT64": lambda v4: IPv6Address((0x64FF9B << 96) | v4),
    "local NAT64": lambda v4: IPv6Address((0x64FF9B0001 << 80) | v4),
    "6to4": lambda v4: IPv6Address((0x2002 << 112) | (v4 << 80) | 1),
    "Teredo": lambda v4: IPv6Address((0x20010000 << 96) | (0x01010101 << 64) | (v4 ^ 0xFFFFFFFF)),
}
SPELLINGS = [
    lambda v4: str(IPv4Address(v4)),
    str,
    hex,
    lambda v4: f"0{v4:o}",
    lambda v4: ".".join(hex(byte) for byte in v4.to_bytes(4, "big")),
    lambda v4: f"{v4 >> 24}.{v4 & 0xFFFFFF}",
    lambda v4: f"::ffff:{IPv4Address(v4)}",
]
v4s = st.one_of(
    st.integers(0, 2**32 - 1),
    *(
        st.integers(int(network[0]), int(network[-1]))
        for network in map(
            IPv4Network, ["127.0.0.0/8", "10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "0.0.0.0/8"]
        )
    ),
)


@pytest.mark.parametrize(("place", "address"), [(p, a) for p, each in KNOWN.items() for a in each])
def test_known_ones(place: Place, address: str) -> None:
    assert place_of(address) is place


@given(v4s, st.sampled_from(sorted(EMBEDDED)))
def test_an_ipv4_address_inside_of_another_is_judged_as_itself(v4: int, form: str) -> None:
    assert place_of(str(EMBEDDED[form](v4))) is place_of(str(IPv4Address(v4)))


@given(v4s, st.sampled_from(SPELLINGS))
def test_an_address_is_known_in_every_spelling(v4: int, spelt) -> None:
    """As the resolver reads it: decimal, octal, hexadecimal, short."""
    assert written_place(spelt(v4)) is place_of(str(IPv4Address(v4)))


@given(st.one_of(v4s.map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)))
def test_nothing_inside_is_public(address: IPv4Address | IPv6Address) -> None:
    """Held against the library's own tables, which say it in another way."""
    if place_of(str(address)) is Place.PUBLIC:
        assert not address.is_loopback
        assert not address.is_link_local
        assert not address.is_multicast
        assert not address.is_unspecified
        assert not any(
            address in net for net in map(ip_network, ("10.0.0.0/8", "192.168.0.0/16", "fc00::/7"))
        )


@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "registry.localhost"])
def test_localhost_is_loopback(host: str) -> None:
    assert written_place(host) is Place.LOOPBACK


@pytest.mark.parametrize(
    "host", ["registry.example", "localhost.example", "127.0.0.1.example", "1.2.3.4.5", "a"]
)
def test_a_name_says_nothing(host: str) -> None:
    assert written_place(host) is None
