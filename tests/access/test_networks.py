"""Who may ask."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.access.networks import admit, normalise
from regproxy.errors import AccessDenied
from regproxy.settings import LOCAL_NETWORKS


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "::1", "fe80::1%eth0", "fd00::1"]
)
def test_local_peers_pass(host: str) -> None:
    admit(host, LOCAL_NETWORKS)


@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1"])
def test_mapped_addresses_count_as_ipv4(host: str) -> None:
    """A socket for both families shows IPv4 peers like this."""
    admit(host, [ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")])


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "::ffff:8.8.8.8", "2001:db8::1", "172.32.0.1", "", "nonsense", "10.0.0.1.evil"]
)
def test_others_are_denied(host: str) -> None:
    with pytest.raises(AccessDenied, match=r"access\.networks"):
        admit(host, LOCAL_NETWORKS)


def test_mapped_addresses_do_not_pass_as_ipv6() -> None:
    """A rule for IPv6 says nothing about IPv4 peers that look like it."""
    with pytest.raises(AccessDenied):
        admit("::ffff:8.8.8.8", [ip_network("::/0")])


def test_unix_peers_pass() -> None:
    admit(None, [])


def test_no_networks_lets_nobody_in() -> None:
    with pytest.raises(AccessDenied):
        admit("127.0.0.1", [])


@given(st.ip_addresses(v=4))
def test_both_spellings_of_an_address_are_one(address: object) -> None:
    assert normalise(f"::ffff:{address}") == normalise(str(address)) == address


@given(st.text())
def test_any_text_is_an_address_or_denied(text: str) -> None:
    if normalise(text) is None:
        with pytest.raises(AccessDenied):
            admit(text, LOCAL_NETWORKS)
