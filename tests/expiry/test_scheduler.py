"""Entries expire a while after their last use, and never by accident."""

from __future__ import annotations

from itertools import pairwise

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface.verify import verifyObject

from regproxy.expiry.entries import key_of
from regproxy.expiry.scheduler import KEPT_S
from regproxy.interfaces import Held, IRemovals, IUsage, Kind, Use
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.testing.images import make_index, sized_image
from tests.conftest import LoggedFailures
from tests.expiry.world import CORP, DAY_S, HUB, NGINX, TAG, TTL_S, WALL_S, Shelf, World, digest

ONE = digest(1)


def test_an_entry_expires_on_time(world: World) -> None:
    """Not a second before, within its slot of a minute after."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(TTL_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]
    assert (len(world.scheduler), world.removed) == (0, ["blob"])


def test_a_short_life_is_kept_to_the_second(world: World) -> None:
    """Slots of a second below an hour."""
    world.ttl_s = 10.0
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(9.9)
    assert world.shelf.expired == []
    world.pass_s(1.1)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_a_use_moves_it(world: World) -> None:
    """Its life begins again, without a delayed call of its own."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(TTL_S - DAY_S)
    calls = len(world.clock.getDelayedCalls())
    world.scheduler.used(NGINX, ONE)
    assert len(world.clock.getDelayedCalls()) <= calls + 1  # the journal's
    world.pass_s(TTL_S - 1)
    assert world.shelf.expired == []
    world.pass_s(61)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_entries_of_one_slot_share_a_call(world: World) -> None:
    """Ten thousand that come together are one delayed call (and the journal's)."""
    world.begin()
    for number in range(2000):
        world.shelf.put(NGINX, digest(number))
    assert len(world.clock.getDelayedCalls()) <= 3


def test_never_expires_nothing(world: World) -> None:
    """ttl: never."""
    world.ttl_s = None
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(400 * DAY_S)
    assert world.shelf.expired == []
    assert "slots=0" in repr(world.scheduler)


def test_each_upstream_has_its_own_life(world: World) -> None:
    """P6."""
    world.ttls[CORP.upstream] = DAY_S
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(CORP, ONE)
    world.pass_s(DAY_S + 60)
    assert world.shelf.expired == [(CORP, ONE)]


def test_what_is_written_again_keeps_its_entry(world: World) -> None:
    """A link that is renewed is no use: clients say what is used."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(DAY_S)
    world.scheduler.added(Held(NGINX, ONE, Kind.MANIFEST, 77))
    assert world.scheduler.entry(NGINX, ONE) == (WALL_S, 1)
    assert len(world.scheduler) == 1


def test_a_use_of_what_is_not_there_is_not_remembered(world: World) -> None:
    """No leak by requests for what does not exist."""
    world.begin()
    world.scheduler.used(NGINX, ONE)
    assert world.scheduler.entry(NGINX, ONE) is None
    assert len(world.scheduler) == 0


def test_what_went_otherwise_leaves_nothing(world: World) -> None:
    """A tag that its upstream does not know any more, a link that was taken away."""
    world.begin()
    world.shelf.put(NGINX, TAG, None)
    world.scheduler.gone(NGINX, TAG)
    assert len(world.scheduler) == 0
    world.pass_s(TTL_S + 60)
    assert world.shelf.expired == []


def test_what_comes_back_is_in_one_slot_only(world: World) -> None:
    """The slot that it was filed in first does not remove the new one."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.scheduler.gone(NGINX, ONE)
    world.pass_s(DAY_S)
    world.shelf.put(NGINX, ONE)
    world.pass_s(TTL_S - 60)
    assert world.shelf.expired == []
    assert sum(map(len, world.scheduler._slots._keys.values())) == 1
    world.pass_s(120)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_a_survey_gives_what_has_none_an_entry(world: World) -> None:
    """With a full life from now."""
    world.begin()
    world.pass_s(DAY_S)
    world.shelf.held[NGINX, ONE] = Held(NGINX, ONE, Kind.BLOB, 5)
    world.shelf.survey()
    assert world.scheduler.entry(NGINX, ONE) == (WALL_S + DAY_S, 0)


def test_used_during_the_removal(world: World) -> None:
    """It is read again under the digest's serialisation: what was used stays."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.before = lambda: world.scheduler.used(NGINX, ONE)
    world.pass_s(TTL_S + 60)
    assert world.shelf.expired == []
    world.shelf.before = lambda: None
    world.pass_s(TTL_S + 60)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_committed_again_right_after_the_removal(world: World) -> None:
    """The new link has an entry of its own."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    gone = world.scheduler.gone

    def and_back(repository: object, reference: object) -> None:
        gone(NGINX, ONE)
        world.shelf.put(NGINX, ONE)

    world.scheduler.gone = and_back  # type: ignore[method-assign,assignment]
    world.pass_s(TTL_S + 60)
    del world.scheduler.gone  # type: ignore[method-assign]
    assert world.shelf.expired == [(NGINX, ONE)]
    assert world.scheduler.entry(NGINX, ONE) is not None
    world.pass_s(TTL_S + 60)
    assert len(world.scheduler) == 0


def test_a_removal_that_fails_is_tried_again(world: World) -> None:
    """After a minute, then later each time, up to an hour; the rest goes on (P2)."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.refusing = True
    tries = []
    world.shelf.before = lambda: tries.append(world.clock.seconds())
    world.pass_s(TTL_S + 6 * 3600)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[0] <= 120
    assert pauses == sorted(pauses)
    assert 3600 <= pauses[-1] <= 3660
    assert len(world.scheduler) == 1
    world.shelf.refusing = False
    world.pass_s(3700)
    assert world.shelf.expired == [(NGINX, ONE)]


@pytest.mark.parametrize("jump_s", [365 * DAY_S, -365 * DAY_S, 3700.0, -3700.0])
def test_a_jump_of_the_clock_removes_nothing(world: World, jump_s: float) -> None:
    """Every entry keeps the time it has left, also over a restart."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(NGINX, TAG, None)
    world.ttls[CORP.upstream] = 3600.0  # something that fires
    world.shelf.put(CORP, ONE)
    world.pass_s(DAY_S)
    world.wall.ahead_s += jump_s
    world.shelf.put(CORP, digest(2))
    world.pass_s(3600.0)
    world.end()
    world.begin()
    world.pass_s(TTL_S - DAY_S - 3600 - 61)
    assert not {(NGINX, ONE), (NGINX, TAG)} & set(world.shelf.expired)
    world.pass_s(122)
    assert {(NGINX, ONE), (NGINX, TAG)} <= set(world.shelf.expired)


def test_a_jump_and_a_kill(world: World) -> None:
    """The state is written in the new time as soon as the jump is seen."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(60)
    world.wall.ahead_s += 20 * DAY_S
    world.scheduler.used(NGINX, digest(9))
    world.shelf.put(NGINX, digest(2))
    world.pass_s(6)
    world.kill()
    world.begin()
    world.pass_s(TTL_S - 200)
    assert world.shelf.expired == []


def test_small_steps_of_the_clock_are_followed(world: World) -> None:
    """ntpd at work is no jump."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.wall.ahead_s += 30
    world.pass_s(6)
    assert world.scheduler.entry(NGINX, ONE) == (WALL_S, 1)


def test_a_dead_upstreams_content_stays(world: World) -> None:
    """One probe decides for ten minutes; when it answers again what is due goes."""
    world.begin()
    for number in range(5):
        world.shelf.put(NGINX, digest(number))
    world.shelf.put(CORP, ONE)
    world.answers[HUB] = False
    world.pass_s(TTL_S + 1000)
    assert world.shelf.expired == [(CORP, ONE)]
    assert len([name for name in world.probes if name == HUB]) == 2
    world.answers[HUB] = True
    world.pass_s(1000)
    assert len(world.shelf.expired) == 6
    assert len(world.scheduler) == 0


def test_an_upstream_that_answered_lately_is_not_probed(world: World) -> None:
    """What requests show is enough, if nothing failed since."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(TTL_S - 60)
    world.pulse.answered(HUB)
    world.pass_s(121)
    assert (world.shelf.expired, world.probes) == ([(NGINX, ONE)], [])


def test_an_answer_and_then_a_failure_is_probed(world: World) -> None:
    """The failure is the later word."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(TTL_S - 60)
    world.pulse.answered(HUB)
    world.pulse.failed(HUB)
    world.answers[HUB] = False
    world.pass_s(121)
    assert (world.shelf.expired, world.probes) == ([], [HUB])


def test_an_upstream_that_is_not_in_the_settings_is_not_waited_for(world: World) -> None:
    """Nobody can ask for its content any more."""
    world.answers = {CORP.upstream: True}
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pass_s(TTL_S + 60)
    assert world.shelf.expired == [(NGINX, ONE)]


def asked(world: World, upstream: str) -> Deferred[bool]:
    """The answer of an upstream's next probe is in the test's hand."""
    answer: Deferred[bool] = Deferred()
    world.pulse.watch(upstream, lambda: (world.probes.append(upstream), answer)[1])
    return answer


def test_an_upstream_that_is_being_asked_delays_nobody_else(world: World) -> None:
    """Twelve seconds of silence from one are nothing to the others."""
    world.begin()
    answer = asked(world, HUB)
    for number in range(3):
        world.shelf.put(NGINX, digest(number))
    world.shelf.put(CORP, digest(7))
    world.pass_s(TTL_S + 60)
    assert world.shelf.expired == [(CORP, digest(7))]
    assert world.probes == [HUB, CORP.upstream]
    world.pass_s(11)
    answer.callback(True)
    world.settle()
    assert len(world.shelf.expired) == 4
    assert len(world.scheduler) == 0


def test_no_answer_after_a_while_is_none(world: World) -> None:
    world.begin()
    answer = asked(world, HUB)
    world.shelf.put(NGINX, ONE)
    world.pass_s(TTL_S + 60)
    answer.callback(False)
    world.settle()
    assert (world.shelf.expired, world.probes) == ([], [HUB])
    world.pass_s(540)
    assert world.probes == [HUB]


def test_what_is_used_or_gone_while_its_upstream_is_asked(world: World) -> None:
    """It is judged again after the answer."""
    world.begin()
    answer = asked(world, HUB)
    for number in range(4):
        world.shelf.put(NGINX, digest(number))
    world.pass_s(TTL_S + 60)
    world.scheduler.used(NGINX, digest(0))
    world.scheduler.gone(NGINX, digest(1))
    world.scheduler.gone(NGINX, digest(2))
    world.shelf.put(NGINX, digest(2))
    answer.callback(True)
    world.settle()
    assert world.shelf.expired == [(NGINX, digest(3))]
    world.pulse.watch(HUB, lambda: succeed(True))
    world.pass_s(TTL_S + 60)
    assert sorted(world.shelf.expired) == [(NGINX, digest(number)) for number in (0, 2, 3)]


def test_a_stop_while_an_upstream_is_asked(world: World) -> None:
    """It waits for no answer, and nothing goes."""
    world.begin()
    answer = asked(world, HUB)
    world.shelf.put(NGINX, ONE)
    world.pass_s(TTL_S + 60)
    world.end()
    assert answer.called
    assert (world.shelf.expired, len(world.scheduler)) == ([], 1)


def image(world: World) -> tuple[Manifest, list[Digest]]:
    made = make_index(sized_image(2100, 2200), sized_image(2300, seed=1))
    manifests = list(made.all_manifests())
    for manifest in manifests:
        world.shelf.put_manifest(NGINX, manifest, TAG if manifest.digest == made.digest else None)
    blobs = list(made.all_blobs())
    for blob in blobs:
        world.shelf.put(NGINX, blob)
    return next(one for one in manifests if one.digest == made.digest), blobs


def test_a_tags_use_reaches_all_that_it_names(world: World) -> None:
    """Manifest, config and layers live as long as their tag is used (P7, P24)."""
    world.begin()
    manifest, blobs = image(world)
    for _ in range(20):
        world.pass_s(DAY_S)
        world.scheduler.used(NGINX, TAG)
    world.settle()
    assert world.shelf.expired == []
    now_s = WALL_S + 20 * DAY_S
    assert world.scheduler.entry(NGINX, manifest.digest) == (now_s, 0)
    assert {world.scheduler.entry(NGINX, blob) for blob in blobs} == {(now_s, 1)}
    world.pass_s(TTL_S + 120)
    assert len(world.scheduler) == 0


def test_a_use_is_passed_on_once_in_an_hour(world: World) -> None:
    """A busy tag costs nothing more."""
    world.begin()
    manifest, _ = image(world)
    reads = []
    get = world.shelf.get
    world.shelf.get = lambda *names: (reads.append(names), get(*names))[1]  # type: ignore[method-assign]
    for _ in range(59):
        world.scheduler.used(NGINX, TAG)
        world.scheduler.used(NGINX, manifest.digest)
        world.pass_s(60)
    assert len(reads) == 3
    world.pass_s(120)
    world.scheduler.used(NGINX, TAG)
    world.settle()
    assert len(reads) == 6


def test_a_failing_worker_is_logged_and_begun_again(world: World, logged_failures: LoggedFailures) -> None:
    """A fault of ours stops no expiry for ever."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(CORP, digest(2))

    def fault() -> None:
        world.shelf.before = lambda: None
        raise ZeroDivisionError

    world.shelf.before = fault
    world.pass_s(TTL_S + 60)
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    world.pass_s(3600)
    assert sorted(world.shelf.expired) == sorted([(NGINX, ONE), (CORP, digest(2))])


def test_a_probe_that_breaks_leaves_no_entry_behind(world: World, logged_failures: LoggedFailures) -> None:
    """What waited for it is looked at again later, as after any probe without an answer."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    results = [fail(ZeroDivisionError()), succeed(True)]
    world.pulse.watch(HUB, lambda: results.pop(0))
    world.pass_s(TTL_S + 70)
    assert world.shelf.expired == []
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    world.pass_s(700)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_the_shelf_is_a_store() -> None:
    """The double is one."""
    assert verifyObject(IRemovals, Shelf())


def test_what_is_pinned_does_not_expire(world: World) -> None:
    """Whatever its age; unpinned, it goes within the hour."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.put(NGINX, TAG, None)
    world.pinned = {key_of(NGINX, ONE)}
    world.pass_s(10 * TTL_S)
    assert world.shelf.expired == [(NGINX, TAG)]
    world.pinned = set()
    world.pass_s(KEPT_S + 60)
    assert world.shelf.expired == [(NGINX, TAG), (NGINX, ONE)]


def test_pinned_in_the_last_moment(world: World) -> None:
    """Asked again under the digest's serialisation."""
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.shelf.before = lambda: world.pinned.add(key_of(NGINX, ONE))
    world.pass_s(TTL_S + 60)
    assert world.shelf.expired == []
    assert world.scheduler.entry(NGINX, ONE) is not None


def test_a_short_life_is_looked_at_as_often(world: World) -> None:
    world.ttl_s = 10.0
    world.begin()
    world.shelf.put(NGINX, ONE)
    world.pinned = {key_of(NGINX, ONE)}
    world.pass_s(60)
    world.pinned = set()
    world.pass_s(12)
    assert world.shelf.expired == [(NGINX, ONE)]


def test_what_was_used_when_is_told_to_who_asks(world: World) -> None:
    """For eviction: on the scheduler's own time line, whatever the wall clock does."""
    scheduler = world.begin()
    assert verifyObject(IUsage, scheduler)
    world.shelf.put(NGINX, ONE)
    world.shelf.put(NGINX, TAG, None)
    world.pass_s(100)
    scheduler.used(NGINX, TAG)
    found: list[Use] = []
    scheduler.uses().addCallback(found.extend)
    world.settle()
    blob, tag, now_s = key_of(NGINX, ONE), key_of(NGINX, TAG), scheduler.now_s()
    assert sorted(found) == [(tag, "tag", now_s, 1, 0), (blob, "blob", now_s - 100, 1, 10)]
    assert scheduler.unused_since(blob, now_s - 100)
    assert not scheduler.unused_since(blob, now_s - 101)
    assert not scheduler.unused_since("docker.io/no/such:thing", 1e18)
