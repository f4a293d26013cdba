"""Whose address it was, behind proxies."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.access.forwarded import MAX_HOPS, UNKNOWN, TrustedProxies
from regproxy.access.networks import normalise

PROXIES = TrustedProxies([ip_network("10.0.0.0/24"), ip_network("fd00::/64")])


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.1.1", None, "", "nonsense", "fd00:1::1"])
def test_others_are_not_believed(peer: str | None) -> None:
    assert PROXIES.client(peer, ["203.0.113.9"]) == peer
    assert not PROXIES.secure(peer, False, ["https"])


@given(st.text(), st.lists(st.text(), max_size=3))
def test_without_proxies_a_peer_is_who_it_is(peer: str, written: list[str]) -> None:
    assert TrustedProxies().client(peer, written) == peer


@pytest.mark.parametrize(
    ("written", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
        (["127.0.0.1, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),
        (["10.0.0.8, 10.0.0.7"], "10.0.0.8"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["::ffff:10.0.0.9, 10.0.0.7"], "10.0.0.9"),
        (["203.0.113.9", "fd00::5"], "203.0.113.9"),
        ([], "10.0.0.1"),
    ],
)
def test_the_last_hop_that_is_no_proxy_is_the_client(written: list[str], client: str) -> None:
    """What stands further left the client wrote itself."""
    assert PROXIES.client("10.0.0.1", written) == client


@pytest.mark.parametrize(
    "written", ["unknown", "_hidden", "", "127.0.0.1, ", "1.2.3", "127.0.0.1,x", "1.2.3.4.5"]
)
def test_what_is_no_address_is_nobodys(written: str) -> None:
    """Not the proxy's own, which may be let in."""
    assert PROXIES.client("10.0.0.1", [written]) == UNKNOWN


def test_a_client_that_writes_many_hops_is_still_known() -> None:
    assert PROXIES.client("10.0.0.1", [", ".join(["127.0.0.1"] * 500), "203.0.113.9"]) == "203.0.113.9"


def test_proxies_without_end_name_nobody() -> None:
    assert PROXIES.client("10.0.0.1", ["127.0.0.1" + ", 10.0.0.2" * MAX_HOPS]) == UNKNOWN


@given(st.lists(st.sampled_from(["10.0.0.2", "127.0.0.1", "203.0.113.9", "junk"]), max_size=6))
def test_only_what_the_last_stranger_wrote_counts(left: list[str]) -> None:
    """Whatever a client sends ahead, the proxy's own entry decides."""
    assert PROXIES.client("10.0.0.1", [*left, "198.51.100.7, 10.0.0.3"]) == "198.51.100.7"


@pytest.mark.parametrize(
    ("own", "written", "secure"),
    [
        (False, ["https"], True),
        (False, ["http, https"], True),
        (False, ["https, http"], False),
        (False, ["https", "http"], False),
        (False, [], False),
        (False, ["HTTPS"], True),
        (True, ["http"], True),
    ],
)
def test_how_the_client_came(own: bool, written: list[str], secure: bool) -> None:
    assert PROXIES.secure("10.0.0.1", own, written) == secure


def test_what_is_too_long_for_an_address_is_not_remembered() -> None:
    normalise.cache_clear()
    assert TrustedProxies([ip_network("10.0.0.0/8")]).client("10.0.0.1", ["x" * 10_000]) == UNKNOWN
    assert normalise.cache_info().currsize <= 2, "the peer, and what names nobody"
