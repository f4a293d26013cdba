"""A rate for all blobs of one upstream: kept by all connections together, and nobody is refused."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import Clock

from regproxy.errors import UpstreamSlow
from regproxy.interfaces import IRangedBlob
from regproxy.oci.digest import Digest
from regproxy.settings import UpstreamSettings
from regproxy.testing.contracts import read_to_end
from regproxy.upstream.bandwidth import BURST_S, SMALLEST_READ_BYTES, Bandwidth, read_size
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.streams import HIGH_BYTES
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Server
from tests.upstream.test_streams import Watched

takes = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5000), st.floats(0, 2)), max_size=40)


@given(takes, st.integers(100, 100_000))
def test_no_more_than_the_rate_by_however_many(taken, bytes_s):
    """Each takes as soon as it may; from any moment on all together keep within the rate."""
    clock = Clock()
    bandwidth = Bandwidth(bytes_s, clock)
    free_s = [0.0] * 4
    seen: list[tuple[float, int]] = []
    for who, size, later_s in taken:
        clock.advance(max(0.0, free_s[who] - clock.seconds()) + later_s)
        hold_s = bandwidth.spent(size)
        assert hold_s >= 0
        free_s[who] = clock.seconds() + hold_s
        seen.append((clock.seconds(), size))
    one_read_each = 4 * 5000
    for first, (since_s, _) in enumerate(seen):
        took = sum(size for _, size in seen[first:])
        assert took <= bytes_s * (seen[-1][0] - since_s + BURST_S) + one_read_each + 1


def test_without_one_nobody_waits():
    assert Bandwidth(None, Clock()).spent(1 << 40) == 0.0


@pytest.mark.parametrize(
    ("bytes_s", "size"), [(None, 262_144), (1 << 30, 262_144), (1 << 20, 104_857), (10, SMALLEST_READ_BYTES)]
)
def test_reads_are_small_where_the_rate_is(bytes_s, size):
    assert read_size(262_144, bytes_s) == size


def test_a_stream_takes_no_more_until_it_is_paid_for():
    watched = Watched(spent=lambda size_bytes: size_bytes / 10)
    watched.stream.dataReceived(b"x" * 20)
    assert watched.transport.producerState == "paused"
    assert watched.stream.take(100) == b"x" * 20, "what came is given out at once"
    assert watched.transport.producerState == "paused"
    watched.clock.advance(2)
    assert watched.transport.producerState == "producing"
    assert len(watched.clock.getDelayedCalls()) == 1, "the idle watch alone"


def test_a_limit_of_ours_and_a_full_buffer_are_told_apart_from_a_slow_line():
    watched = Watched(spent=lambda size_bytes: size_bytes / 10)
    assert not watched.stream.held()
    watched.stream.dataReceived(b"x" * 20)
    assert watched.stream.held()
    watched.clock.advance(1)
    assert watched.stream.held(), "still"
    watched.clock.advance(1)
    assert watched.stream.held(), "until now"
    watched.clock.advance(1)
    assert not watched.stream.held()
    free = Watched()
    free.stream.dataReceived(bytes(HIGH_BYTES + 1))
    assert free.stream.held()
    while free.stream.take(1 << 20):
        pass
    assert free.stream.held()
    free.stream.dataReceived(b"x")
    assert not free.stream.held()
    assert free.stream.came == HIGH_BYTES + 2


@pytest.mark.parametrize("slow", [True, False])
def test_one_that_is_given_up_hands_out_what_has_come(slow):
    watched = Watched()
    watched.stream.dataReceived(b"x" * 20)
    error = UpstreamSlow("up", "slow")
    watched.stream.give_up(error, slow)
    watched.stream.give_up(error, slow)
    assert (watched.aborted, watched.found_slow, watched.broken, watched.gone) == (1, int(slow), 0, 1)
    watched.stream.dataReceived(b"y")
    assert watched.stream.take(100) == b"x" * 20
    with pytest.raises(UpstreamSlow):
        watched.stream.take(1)
    assert watched.clock.getDelayedCalls() == []


def test_who_waits_is_woken_when_it_is_given_up():
    watched = Watched()
    woken: list[None] = []
    watched.stream.wait().addCallback(woken.append)
    watched.stream.give_up(UpstreamSlow("up", "slow"), slow=False)
    assert woken == [None]


def test_a_wait_is_no_stall_and_ends_with_the_stream():
    watched = Watched(spent=lambda size_bytes: 100.0)
    watched.stream.dataReceived(b"x")
    watched.clock.advance(99)
    assert watched.aborted == 0
    watched.stream.stop(RuntimeError("enough"))
    assert watched.aborted == 1
    assert watched.clock.getDelayedCalls() == []


async def test_two_blobs_share_it(server: Server) -> None:
    """Over real sockets: 2 x 100 kB at 400 kB/s take half a second, and none is cut."""
    bytes_s = 400_000
    settings = UpstreamSettings("registry.test", (server.url,), insecure=True, bandwidth_bytes_s=bytes_s)
    registry = RemoteRegistry(settings, reactor)
    contents = [os.urandom(100_000) for _ in range(2)]
    for content in contents:
        server.on(
            f"/v2/library/nginx/blobs/{Digest.of(content)}", lambda asked, c=content: asked.reply(200, c)
        )
    began_s = time.monotonic()
    blobs = [await registry.blobs.open(REPOSITORY, Digest.of(content)) for content in contents]
    assert all(IRangedBlob.providedBy(blob) for blob in blobs)
    bodies = [blob.body() for blob in blobs]
    try:
        for body, content in zip(bodies, contents, strict=True):
            assert await read_to_end(body) == content
        assert time.monotonic() - began_s >= 200_000 / bytes_s - 2 * BURST_S
    finally:
        await registry.close()
