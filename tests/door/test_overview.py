"""What the status page looks at: a mount that does not answer holds nobody up; each upstream as it stands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from regproxy.admin.status import DiskState
from regproxy.errors import StorageFailed
from regproxy.eviction.limits import Limits
from regproxy.interfaces import Allowance, Circuit, DiskUse, Standing, Thrift
from regproxy.overview import ROOM_S, DiskLook, upstream_state
from regproxy.settings import UpstreamSettings
from regproxy.storage.occupancy import Occupied
from regproxy.testing.remotes import MemoryRemote


class Store:
    """A store whose disk answers when the test says so."""

    occupied = Occupied(3, 300, True)

    def __init__(self) -> None:
        self.asked: list[Deferred[tuple[int, int]]] = []

    def room(self) -> Deferred[tuple[int, int]]:
        self.asked.append(Deferred())
        return self.asked[-1]


def looking(look: DiskLook) -> list[DiskState]:
    found: list[DiskState] = []
    Deferred.fromCoroutine(look.state()).addCallback(found.append)
    return found


def test_all_who_ask_meanwhile_share_one_look() -> None:
    store: Any = Store()
    look = DiskLook(store, Clock())
    first, second = looking(look), looking(look)
    (asked,) = store.asked
    assert not first
    asked.callback((10, 20))
    assert first == second == [DiskState(3, 300, True, 10, 20)]
    looking(look)
    assert len(store.asked) == 2
    store.asked[1].callback((0, 0))


def test_a_mount_that_does_not_answer_is_waited_for_so_long_and_asked_once() -> None:
    store: Any = Store()
    clock = Clock()
    look = DiskLook(store, clock)
    for _ in range(3):
        found = looking(look)
        clock.advance(ROOM_S)
        assert found == [DiskState(3, 300, True, None, None)]
    assert len(store.asked) == 1
    store.asked[0].callback((10, 20))


def test_what_is_used_of_what_may_be() -> None:
    store: Any = Store()
    store.disk_use = lambda: DiskUse(10, 5, 0, 2)
    evictor = SimpleNamespace(limits=Limits(100), pinned=SimpleNamespace(disk_bytes=4))
    eviction: Any = SimpleNamespace(evictor=evictor)
    found = looking(DiskLook(store, Clock(), eviction))
    store.asked[0].callback((10, 20))
    assert found == [DiskState(3, 300, True, 10, 20, used_bytes=17, limit_bytes=100, pinned_bytes=4)]


def test_a_disk_that_cannot_be_asked_has_no_room_to_tell_of() -> None:
    store: Any = Store()
    store.room = lambda: fail(StorageFailed("it is gone"))
    assert looking(DiskLook(store, Clock())) == [DiskState(3, 300, True, None, None)]


def test_an_upstream_with_its_endpoints() -> None:
    remote = MemoryRemote("docker.io")
    remote.stands, remote.allows = Standing(Circuit.OPEN, reason="it hangs"), Allowance(Thrift.STALE, 100, 7)
    mirror: Any = SimpleNamespace(remotes={"docker.io": remote}, expiry=None)
    found = upstream_state(UpstreamSettings("docker.io", ("https://registry.test",), default=True), mirror)
    assert (found.name, found.default, found.answers) == ("docker.io", True, None)
    assert (found.standing, found.allowance) == (remote.stands, remote.allows)
    assert list(found.endpoints) == [("docker.io", remote.stands)]
