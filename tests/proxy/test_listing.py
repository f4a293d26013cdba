"""The names of what is on disk: a bounded number of walks at a time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from regproxy.errors import Busy, StorageFailed
from regproxy.proxy import registry
from regproxy.proxy.registry import ProxyRegistry
from regproxy.testing.stores import MemoryStore
from tests.proxy.world import Seen


class SlowStore(MemoryStore):
    """Each walk waits for the test."""

    walks: list[Deferred[tuple[str, ...]]]

    def repositories(self, upstream, visible, after, count):  # type: ignore[no-untyped-def]
        self.walks.append(Deferred())
        return self.walks[-1]


def test_too_many_walks_are_refused_until_one_has_ended() -> None:
    """Each looks at every folder at worst; they wait for one thread."""
    clock = Clock()
    store = SlowStore(clock)
    store.walks = []
    proxy = ProxyRegistry(store, {}, {}, clock, clock.seconds)

    def ask() -> Seen:
        return Seen(proxy.repositories("registry.test", lambda each: True, None, 10))

    first, *_ = asked = [ask() for _ in range(registry.MAX_LISTING)]
    assert all(each.waiting for each in asked)
    assert ask().failed_with(Busy)
    store.walks[0].callback(("a",))
    assert first.result == ("a",)
    second = ask()
    assert second.waiting
    store.walks[1].errback(StorageFailed("the disk refuses"))
    assert asked[1].failed_with(StorageFailed)
    assert ask().waiting
