"""A blob whose size nobody tells, and a connection that breaks: it is asked on all the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regproxy.errors import ContentMismatch, StorageFailed, TransferStopped, UpstreamUnreachable
from regproxy.fill import retries
from regproxy.oci.digest import Digest
from regproxy.testing.bodies import Feed
from tests.fill.ranged import CONTENT, SIZE, Small
from tests.proxy.world import NAME, World, drain

RESET = UpstreamUnreachable(NAME, "reset")


class Broken:
    """Its first connection brings ``breaks[0]`` bytes, the next one up to ``breaks[1]``, the last all."""

    def __init__(self, *breaks: int, content: bytes = CONTENT) -> None:
        self.world = World()
        self.repository = self.world.repository()
        self.digest = Digest.of(CONTENT)
        self.content = content
        self.breaks = list(breaks)
        self.starts: list[int] = []
        self.first = Feed()
        self.world.remote.feed(self.repository, self.digest, self.first)
        self.world.remote.resumed_from = self.rest
        self.blob = self.world.open(self.repository, self.digest).result
        self.body = self.blob.body()
        self.bring(self.first)

    def rest(self, _: Feed, start: int) -> Feed:
        self.starts.append(start)
        feed = Feed()
        feed.give(bytes(start))
        self.bring(feed)
        return feed

    def bring(self, feed: Feed) -> None:
        stop = self.breaks.pop(0) if self.breaks else None
        feed.give(self.content[len(feed.content) : stop])
        if stop is None:
            feed.end()
        else:
            feed.fail(RESET)

    def finish(self) -> bytes:
        got = b""
        for _ in range(400):
            self.world.clock.advance(0.3)
            got += drain(self.body)
        return got

    def is_over(self) -> None:
        self.body.close()
        assert len(self.world.proxy.fills) == 0
        assert self.world.clock.getDelayedCalls() == []
        assert self.world.proxy.fills.lines._of(NAME).open == 0


@pytest.fixture(autouse=True)
def small():
    with Small():
        yield


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, SIZE), min_size=1, max_size=6, unique=True).map(sorted))
def test_wherever_it_breaks(breaks):
    broken = Broken(*breaks)
    assert broken.blob.size is None
    assert broken.finish() == CONTENT
    assert broken.starts == breaks, "no byte comes twice"
    assert broken.world.store.contents[broken.digest] == CONTENT
    broken.is_over()


def test_one_that_brings_nothing_any_more():
    broken = Broken(5000, *[5000] * 50)
    with pytest.raises(UpstreamUnreachable):
        broken.finish()
    assert len(broken.starts) == retries.MAX_FAILURES
    broken.is_over()


def test_a_rest_that_is_wrong():
    """It is fetched once more before anybody is blamed, and then its reader is cut."""
    broken = Broken(5000, content=CONTENT[:-1] + b"?")
    broken.world.remote.feed(broken.repository, broken.digest, Feed())
    broken.world.clock.advance(0.02)
    assert len(drain(broken.body)) > 4000
    with pytest.raises(ContentMismatch):
        broken.finish()
    assert broken.digest not in broken.world.store.contents
    broken.world.proxy.stop()


def test_a_disk_that_fills_in_the_rest():
    broken = Broken(5000, 9000)
    broken.world.store.script.fail("spool.append", StorageFailed("full"))
    assert broken.finish() == CONTENT
    assert broken.digest not in broken.world.store.contents
    broken.is_over()


def test_the_end_of_the_daemon_while_it_waits():
    broken = Broken(5000, *[5000] * 50)
    broken.world.clock.advance(0.01)
    broken.world.proxy.stop()
    with pytest.raises(TransferStopped):
        broken.finish()
    broken.is_over()
