"""What upstreams do not have is asked for once, for a short while (R55)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from regproxy.errors import Denied, NotFound, Throttled, UpstreamFailed
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy import negatives
from regproxy.proxy.negatives import KEPT_S, Missing, Negatives, RememberingRemote
from regproxy.proxy.purging import Purging
from regproxy.testing.images import make_image
from regproxy.testing.remote_contract import RemoteRegistryContract
from regproxy.testing.remotes import MemoryRemote
from tests.contracts.upstreams import MemoryUpstream
from tests.proxy.world import NAME, TAG, Seen, World

IMAGE = make_image()
DIGEST = IMAGE.digest
LAYER = next(iter(IMAGE.blobs))

Ask = Callable[[World, Repository], Deferred[Any]]

CASES: dict[str, tuple[str, Missing, Ask]] = {
    "tag": ("tags.get", Missing.TAG, lambda world, where: world.proxy.tags.get(where, TAG)),
    "tag by HEAD": ("tags.stat", Missing.TAG, lambda world, where: world.proxy.tags.stat(where, TAG)),
    "list": ("tags.list", Missing.TAGS, lambda world, where: world.proxy.tags.list(where)),
    "manifest": (
        "manifests.get",
        Missing.MANIFEST,
        lambda world, where: world.proxy.manifests.get(where, DIGEST),
    ),
    "manifest by HEAD": (
        "manifests.stat",
        Missing.MANIFEST,
        lambda world, where: world.proxy.manifests.stat(where, DIGEST),
    ),
    "blob": ("blobs.open", Missing.BLOB, lambda world, where: world.proxy.blobs.open(where, LAYER)),
    "blob by HEAD": ("blobs.stat", Missing.BLOB, lambda world, where: world.proxy.blobs.stat(where, LAYER)),
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: Any) -> tuple[str, Missing, Ask]:
    return CASES[request.param]


@pytest.fixture
def world() -> World:
    return World()


def test_times_are_short() -> None:
    """R55: a tag 10 to 30 s, a digest 60 s; what a manifest names, that was just served, less."""
    assert 10 <= KEPT_S[Missing.TAG] <= 30
    assert KEPT_S[Missing.MANIFEST] == 60
    assert KEPT_S[Missing.BLOB] <= 10
    assert set(KEPT_S) == set(Missing)


def test_it_is_asked_for_once_until_its_time_is_over(world: World, case: tuple[str, Missing, Ask]) -> None:
    operation, what, ask = case
    where = world.repository()
    for _ in range(100):
        assert Seen(ask(world, where)).failed_with(NotFound)
    assert world.asked(operation) == world.upstream_calls() == 1
    world.clock.advance(KEPT_S[what] - 0.01)
    assert Seen(ask(world, where)).failed_with(NotFound)
    assert world.upstream_calls() == 1
    world.clock.advance(0.01)
    assert Seen(ask(world, where)).failed_with(NotFound)
    assert world.upstream_calls() == 2


def test_who_asks_at_the_same_time_shares_one_question(world: World, case: tuple[str, Missing, Ask]) -> None:
    operation, _, ask = case
    where = world.repository()
    gate = world.remote.script.hold(operation)
    seen = [Seen(ask(world, where)) for _ in range(100)]
    assert all(each.waiting for each in seen)
    gate.open()
    assert all(each.failed_with(NotFound) for each in seen)
    assert world.upstream_calls() == 1


@pytest.mark.parametrize(
    "error",
    [Denied(NAME, "401"), Denied(NAME, "403"), Throttled(NAME, "429", 9), UpstreamFailed(NAME, "500")],
)
def test_no_other_answer_is_remembered(
    world: World, case: tuple[str, Missing, Ask], error: Exception
) -> None:
    operation, _, ask = case
    world.remote.script.fail(operation, error)
    for count in (1, 2, 3):
        assert Seen(ask(world, world.repository())).failed_with(type(error))
        assert world.asked(operation) == count
    assert len(world.proxy.negatives) == 0


def test_another_repository_and_another_upstream_are_asked(case: tuple[str, Missing, Ask]) -> None:
    world = World("b.test")
    places = [world.repository(), world.repository("other"), world.repository(upstream="b.test")]
    operation, _, ask = case
    for where in places:
        assert Seen(ask(world, where)).failed_with(NotFound)
    assert (world.asked(operation), world.asked(operation, "b.test")) == (2, 1)


def test_another_reference_is_asked(world: World) -> None:
    where = world.repository()
    assert Seen(world.proxy.tags.get(where, TAG)).failed_with(NotFound)
    assert Seen(world.proxy.tags.get(where, Tag("other"))).failed_with(NotFound)
    assert world.asked("tags.get") == 2


def test_a_blob_that_is_missing_is_no_missing_manifest(world: World) -> None:
    where = world.repository()
    assert Seen(world.proxy.blobs.open(where, DIGEST)).failed_with(NotFound)
    world.remote.put_image(where, None, IMAGE)
    assert Seen(world.proxy.manifests.get(where, DIGEST)).result.digest == DIGEST


def test_what_was_found_meanwhile_is_there(world: World) -> None:
    """A revalidation that finds the tag again, however it was asked."""
    where, memory = world.repository(), Negatives(world.clock)
    remote = RememberingRemote(world.remote, memory)
    key = (where, Missing.TAG, TAG)
    gate = world.remote.script.hold("tags.get", times=1)
    late = Seen(remote.tags.get(where, TAG))
    assert Seen(remote.tags.stat(where, TAG, None)).failed_with(NotFound)
    assert memory.find(key) is not None
    world.remote.put_image(where, "latest", IMAGE)
    gate.open()
    assert late.result.descriptor.digest == DIGEST
    assert memory.find(key) is None


def test_a_purge_forgets(world: World) -> None:
    """Who purges wants to see what is there now; another repository keeps what it has."""
    where, other = world.repository(), world.repository("other")
    for each in (where, other):
        assert Seen(world.proxy.tags.get(each, TAG)).failed_with(NotFound)

    class Nothing:
        def decide(self, *args: Any) -> Deferred[list[Any]]:
            done: Deferred[list[Any]] = Deferred()
            done.callback([])
            return done

        purge = foresee = decide

    purging = Purging(Nothing(), world.proxy.negatives.forget)  # type: ignore[arg-type]
    Seen(Deferred.fromCoroutine(purging.purge(where, TAG, dry_run=True)))
    assert len(world.proxy.negatives) == 2
    Seen(Deferred.fromCoroutine(purging.purge(where, TAG, dry_run=False)))
    assert len(world.proxy.negatives) == 1
    world.remote.put_image(where, "latest", IMAGE)
    assert Seen(world.proxy.tags.get(where, TAG)).result.descriptor.digest == DIGEST


@pytest.mark.parametrize("by_head", [False, True])
def test_a_client_that_must_know_asks_again(world: World, by_head: bool) -> None:
    """``Cache-Control: no-cache``, as often as it may (R54)."""
    where, tags = world.repository(), world.proxy.tags
    ask = tags.stat if by_head else tags.get
    operation = "tags.stat" if by_head else "tags.get"
    assert Seen(ask(where, TAG)).failed_with(NotFound)
    assert Seen(ask(where, TAG, True)).failed_with(NotFound)
    assert world.asked(operation) == 2
    for _ in range(100):
        assert Seen(ask(where, TAG, True)).failed_with(NotFound)
    assert world.asked(operation) == 2
    world.remote.put_image(where, "latest", IMAGE)
    world.clock.advance(11)
    assert Seen(ask(where, TAG)).failed_with(NotFound)
    assert Seen(ask(where, TAG, True)).result.descriptor.digest == DIGEST


def test_one_reference_may_be_forgotten(world: World) -> None:
    where = world.repository()
    for tag in (TAG, Tag("other")):
        assert Seen(world.proxy.tags.get(where, tag)).failed_with(NotFound)
    world.proxy.negatives.forget(where, TAG)
    assert len(world.proxy.negatives) == 1


def test_another_login_asks_again(world: World) -> None:
    """What one account is not shown another one may have."""
    login = 1
    remote = RememberingRemote(world.remote, Negatives(world.clock), lambda: login)
    where = world.repository()
    assert Seen(remote.tags.get(where, TAG)).failed_with(NotFound)
    world.remote.put_image(where, "latest", IMAGE)
    assert Seen(remote.tags.get(where, TAG)).failed_with(NotFound)
    login = 2
    assert Seen(remote.tags.get(where, TAG)).result.descriptor.digest == DIGEST


def test_a_clock_that_is_set_back_keeps_nothing(world: World) -> None:
    where = world.repository()
    assert Seen(world.proxy.tags.get(where, TAG)).failed_with(NotFound)
    world.clock.rightNow -= 5000
    assert Seen(world.proxy.tags.get(where, TAG)).failed_with(NotFound)
    assert world.asked("tags.get") == 2


def test_each_who_asks_has_an_error_of_its_own() -> None:
    """All that is known of it, and no traceback that grows."""
    memory = Negatives(Clock())
    key = (Repository.parse(NAME, "app"), Missing.TAG, TAG)
    error = NotFound(NAME, "registry.test has no such tag (404)")
    error.noted = "of the upstream"  # type: ignore[attr-defined]
    memory.note(key, error)
    first, second = memory.find(key), memory.find(key)
    assert first is not None
    assert first is not second is not error
    assert (str(first), first.reason, vars(first)) == (str(error), error.reason, vars(error))
    assert first.__traceback__ is None


@given(asked=st.lists(st.integers(0, 40), max_size=200))
def test_it_is_bounded(asked: list[int]) -> None:
    """What nobody asked for goes first."""
    memory, where = Negatives(Clock()), Repository.parse(NAME, "app")
    before, negatives.MAX_REMEMBERED = negatives.MAX_REMEMBERED, 10
    try:
        for number in asked:
            key = (where, Missing.TAG, Tag(f"v{number}"))
            if memory.find(key) is None:
                memory.note(key, NotFound(NAME, "404"))
        assert len(memory) <= 10
        recent = list(dict.fromkeys(reversed(asked)))[:10]
        assert all(memory.find((where, Missing.TAG, Tag(f"v{number}"))) for number in recent)
    finally:
        negatives.MAX_REMEMBERED = before


class Remembered(MemoryUpstream):
    """The upstream in memory behind the memory; its time goes on with each thing that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = Clock()
        self._memory = self.remote
        self.remote = RememberingRemote(self._memory, Negatives(self._clock))  # type: ignore[assignment]

    @property
    def holding(self) -> Any:
        self._clock.advance(3600)
        return self._memory.holding(self.repository)

    def answer(self, code: int | None, retry_after_s: int | None = None) -> None:
        self._clock.advance(3600)
        self._memory.answer(code, retry_after_s)

    def hold(self) -> Any:
        return self._memory.script.hold("tags.get", "tags.stat", "blobs.open", "manifests.get")

    def stall(self, content: bytes, here_bytes: int) -> Digest:
        self.remote, front = self._memory, self.remote
        try:
            return super().stall(content, here_bytes)
        finally:
            self.remote = front


class TestRememberingRemote(RemoteRegistryContract):
    @pytest.fixture
    def room(self) -> Remembered:
        return Remembered()


def test_all_else_is_the_upstreams_own() -> None:
    """What an IRemoteRegistry has, or will have, passes through."""
    inner = MemoryRemote()
    remote = RememberingRemote(inner, Negatives(Clock()))
    assert remote.name == inner.name
    assert remote.allowance() is inner.allows
    assert remote.standing() is inner.stands
