"""Who is let in: pure verdicts, and the books that they are made from."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent

from regproxy.http1.connections import (
    MAX_TURNED_AWAY,
    Connections,
    Verdict,
    neighbourhood,
    verdict,
)

COUNTS = st.integers(0, 50)


@given(COUNTS, COUNTS, st.integers(1, 40), st.none() | st.integers(1, 40))
def test_verdicts(in_all: int, from_there: int, connections: int, per_address: int | None) -> None:
    """Never more than either limit; let in wherever neither is reached."""
    found = verdict(in_all, from_there, connections, per_address)
    there_is_room = in_all < connections and (per_address is None or from_there < per_address)
    assert (found is Verdict.ADMITTED) == there_is_room


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_what_is_one_address(one: str, other: str, same: bool) -> None:
    assert (neighbourhood(one) == neighbourhood(other)) == same


HOSTS = st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2", "192.0.2.9", None])


@given(st.lists(st.tuples(st.booleans(), HOSTS), max_size=60))
def test_the_books_are_right_after_any_coming_and_going(steps: list[tuple[bool, str | None]]) -> None:
    """``192.0.2.9`` is a proxy of ours: exempt by address, counted in all."""
    turned_away: list[str] = []
    books = Connections(
        8, 3, lambda: 0.0, lambda address: address == IPv4Address("192.0.2.9"), turned_away.append
    )
    there: list[tuple[str | None, Verdict]] = []
    for comes, host in steps:
        if comes:
            there.append((host, books.enter(host)))
        elif there:
            books.leave(*there.pop(0))
        served = Counter(host for host, found in there if found is Verdict.ADMITTED)
        assert books.open == sum(served.values()) <= 8
        assert books.leaving == len(there) - books.open
        assert served["10.0.0.1"] <= 3
        assert served["2001:db8::1"] + served["2001:db8::2"] <= 3
    for one in there:
        books.leave(*one)
    assert (books.open, books.leaving, dict(books._by_address)) == (0, 0, {})
    assert set(turned_away) <= {"connections", "per_address"}


def test_a_proxy_and_a_unix_socket_may_have_all() -> None:
    books = Connections(10, 1, lambda: 0.0, lambda address: str(address) == "192.0.2.9")
    assert {books.enter(host) for host in ["192.0.2.9"] * 4 + [None] * 4} == {Verdict.ADMITTED}
    assert books.enter("10.0.0.1") is Verdict.ADMITTED
    assert books.enter("10.0.0.1") is Verdict.CROWDED
    assert books.enter("10.0.0.2") is Verdict.ADMITTED
    assert books.enter("192.0.2.9") is Verdict.FULL


def test_a_stranger_takes_no_place_of_others() -> None:
    told: list[str] = []
    books = Connections(1, 1, lambda: 0.0, turned_away=told.append, is_stranger=lambda address: not address)
    found = [books.enter("somewhere") for _ in range(3)]
    assert found == [Verdict.STRANGER] * 3
    assert (books.open, books.leaving, told) == (0, 3, [])
    assert "access.networks" in books.no_room(found[0]).message
    assert books.enter("10.0.0.1") is Verdict.ADMITTED
    assert books.enter(None) is Verdict.FULL, "a unix socket is nowhere strange"
    for each in found:
        books.leave("somewhere", each)
    assert (books.open, books.leaving) == (1, 1)


def test_a_flood_is_dropped_without_a_word() -> None:
    books = Connections(1, None, lambda: 0.0)
    books.enter("10.0.0.1")
    for _ in range(MAX_TURNED_AWAY):
        books.enter("10.0.0.2")
        assert books.may_tell
    books.enter("10.0.0.2")
    assert not books.may_tell


def test_the_log_says_it_once_a_minute() -> None:
    now_s = 0.0
    books = Connections(1, None, lambda: now_s)
    with capturedLogs() as events:
        for _ in range(100):
            books.enter("10.0.0.1")
        books.enter("10.0.0.1")
        now_s = 61.0
        books.enter("10.0.0.1")
    assert [formatEvent(event) for event in events] == [
        "1 connections beyond limits.connections were turned away; 1 are open",
        "100 connections beyond limits.connections were turned away; 1 are open",
    ]


@pytest.mark.parametrize("found", [Verdict.FULL, Verdict.CROWDED])
def test_who_is_turned_away_is_told_the_setting(found: Verdict) -> None:
    assert f"limits.{found.value}" in Connections(1, 1, lambda: 0.0).no_room(found).message
