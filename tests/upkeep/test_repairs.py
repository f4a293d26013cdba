"""What was lost and is pinned comes back by itself, nothing else does."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from regproxy.errors import UpstreamError
from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.upkeep.repairs import BREATH, FAILED_S, FIRST_S, MAX_TRIES, MAX_WAITING, Repairs
from tests.upkeep.world import NGINX, digest


class Upstream:
    def __init__(self) -> None:
        self.clock = Clock()
        self.pinned = True
        self.away = False
        self.asked: list[Digest] = []
        self.counted = 0
        self.running: Deferred[None] | None = None
        self.repairs = Repairs(lambda key: self.pinned, self.fetch, self.clock, self.count)

    def count(self) -> None:
        self.counted += 1

    def fetch(self, repository: Repository, kind: Kind, digest: Digest) -> Deferred[None]:
        self.asked.append(digest)
        if self.running is not None:
            return self.running
        return fail(UpstreamError("docker.io", "it is away")) if self.away else succeed(None)


def lost(*numbers: int) -> list[tuple[Repository, Kind, Digest]]:
    return [(NGINX, Kind.BLOB, digest(number)) for number in numbers]


def test_what_is_pinned_is_fetched_at_once() -> None:
    upstream = Upstream()
    upstream.repairs.take(lost(1, 2))
    assert upstream.asked == [digest(1), digest(2)]
    assert (upstream.counted, len(upstream.repairs)) == (2, 0)


def test_what_is_not_waits_for_somebody_to_ask() -> None:
    upstream = Upstream()
    upstream.pinned = False
    upstream.repairs.take(lost(1))
    assert upstream.asked == []


def test_what_cannot_be_had_now_is_tried_again() -> None:
    upstream = Upstream()
    upstream.away = True
    upstream.repairs.take(lost(1))
    upstream.clock.advance(FIRST_S)
    assert len(upstream.asked) == 2
    upstream.away = False
    upstream.clock.advance(3600)
    assert (len(upstream.asked), upstream.counted, len(upstream.repairs)) == (3, 1, 0)


def test_what_is_new_does_not_wait_for_what_failed() -> None:
    upstream = Upstream()
    upstream.away = True
    upstream.repairs.take(lost(1))
    upstream.away = False
    upstream.repairs.take(lost(2))
    assert upstream.asked == [digest(1), digest(2)]
    upstream.running = Deferred()
    upstream.repairs.take(lost(3))
    upstream.repairs.take(lost(4))
    running, upstream.running = upstream.running, None
    running.callback(None)
    assert upstream.asked[2:] == [digest(3), digest(4)]
    upstream.clock.advance(FIRST_S)
    assert (upstream.asked[4:], len(upstream.repairs)) == ([digest(1)], 0)


def test_what_is_unpinned_meanwhile_is_not() -> None:
    upstream = Upstream()
    upstream.away = True
    upstream.repairs.take(lost(1))
    upstream.pinned = False
    upstream.clock.advance(3600)
    assert (len(upstream.asked), len(upstream.repairs)) == (1, 0)


def test_it_gives_up_at_last() -> None:
    """The next survey finds it lacking."""
    upstream = Upstream()
    upstream.away = True
    upstream.repairs.take(lost(1))
    for _ in range(100):
        upstream.clock.advance(3600)
    assert (len(upstream.asked), len(upstream.repairs)) == (MAX_TRIES, 0)


def test_one_at_a_time_and_the_end() -> None:
    upstream = Upstream()
    upstream.running = Deferred()
    upstream.repairs.take(lost(*range(1, 200)))
    assert upstream.asked == [digest(1)]
    upstream.repairs.stop()
    assert upstream.running.called
    upstream.repairs.take(lost(7))
    assert upstream.asked == [digest(1)]


def test_no_more_than_memory_takes() -> None:
    upstream = Upstream()
    upstream.running = Deferred()
    upstream.repairs.take((NGINX, Kind.BLOB, Digest("sha256", f"{number:064x}")) for number in range(20_000))
    assert len(upstream.repairs) <= MAX_WAITING
    upstream.repairs.stop()


def test_an_upstream_that_is_down_floods_neither_the_reactor_nor_the_log(said: list[str]) -> None:
    """It refuses at once, each of thousands."""
    upstream = Upstream()
    upstream.away = True
    upstream.repairs.take(lost(*range(1000)))
    assert len(upstream.asked) == 1
    for _ in range(500):
        upstream.clock.advance(FAILED_S)
    assert 400 <= len(upstream.asked) <= 501
    assert len([line for line in said if "cannot be fetched now" in line]) == 1


def test_what_is_here_already_takes_no_long_turn() -> None:
    upstream = Upstream()
    upstream.repairs.take(lost(*range(1000)))
    assert len(upstream.asked) == BREATH
    for _ in range(1000):
        upstream.clock.advance(0)
    assert upstream.counted == 1000


def test_stopped_between_two_of_them() -> None:
    upstream = Upstream()
    upstream.away = True
    upstream.repairs.take(lost(1, 2))
    upstream.repairs.stop()
    upstream.clock.advance(3600)
    assert len(upstream.asked) == 1
