"""The evictor over a store in memory: who waits, who passes, what goes and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from regproxy.errors import StorageFailed
from regproxy.eviction.evictor import LOOK_S, SHORT_S
from regproxy.eviction.limits import Limits
from regproxy.eviction.waiting import WAIT_S
from regproxy.interfaces import IdleSpool, IEvictable, IHoldings, IRoom, IStock, IUsage
from regproxy.oci.images import ImagePattern
from tests.eviction.world import HOUR_S, MIB, NGINX, REDIS, World, digest, key_of


def world(tmp_path: Path, limit_mib: float | None = 10, free: int | None = 0, *pins: str) -> World:
    made = World(tmp_path, Limits(None if limit_mib is None else int(limit_mib * MIB), free, 0.8), *pins)
    for number in range(8):
        made.shelf.image(NGINX, 100 + number, number, age_s=(20 - number) * HOUR_S)
    return made


def images(*numbers: int) -> list[str]:
    """The keys of some of them, as they go."""
    return [key_of(NGINX, digest(one)) for number in numbers for one in (100 + number, number)]


def refused(found: list[object]) -> bool:
    [failure] = found
    return isinstance(failure, Failure) and failure.check(StorageFailed) is not None and failure.value.told  # type: ignore[union-attr]


def test_the_seams(tmp_path: Path) -> None:
    made = world(tmp_path)
    assert verifyObject(IRoom, made.evictor)
    assert verifyObject(IHoldings, made.evictor)
    for interface in (IEvictable, IStock, IUsage):
        assert verifyObject(interface, made.shelf)


def test_room_that_is_there_is_given_at_once_and_nothing_goes(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    assert made.ask(MIB) == ["room"]
    assert made.removed == []


def test_at_high_water_the_oldest_go_behind_the_transfer(tmp_path: Path) -> None:
    """Down to low water: 8 MiB of 10, of which the transfer has two."""
    made = world(tmp_path)
    made.begin()
    assert made.ask(2 * MIB) == ["room"]
    assert made.removed == images(0, 1)
    assert made.told == [("image", "max_size", MIB)] * 2
    assert made.shelf.disk_use().all == 8 * MIB


def test_who_finds_no_room_waits_for_what_goes(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    found = made.ask(3 * MIB)
    assert found == ["room"]
    assert made.removed == images(0, 1, 2)
    assert made.shelf.disk_use().all <= 10 * MIB


def test_what_is_read_gives_no_room_until_it_is_closed(tmp_path: Path) -> None:
    """Removed while it is read: it takes the disk still, and nothing more goes for its sake."""
    made = world(tmp_path)
    made.begin()
    made.shelf.open = {digest(number) for number in range(8)}
    found = made.ask(5 * MIB)
    assert found == []
    assert made.removed == images(0, 1, 2, 3, 4)
    made.shelf.close(0)
    made.later(0.2)
    assert found == ["room"], "as soon as they have closed it"


def test_nobody_waits_longer_than_that(tmp_path: Path, said: list[str]) -> None:
    made = world(tmp_path)
    made.begin()
    made.shelf.open = {digest(number) for number in range(8)}
    found, second = made.ask(5 * MIB), made.ask(2 * MIB)
    made.later(WAIT_S - 0.1)
    assert found == second == []
    made.later(0.1)
    assert refused(found)
    assert refused(second)
    assert made.refused == ["max_size", "max_size"]
    assert any("not kept" in line for line in said)


def test_for_more_than_half_nothing_goes(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    assert refused(made.ask(5 * MIB + 1))
    assert made.removed == []
    assert made.evictor.capacity_bytes() == 10 * MIB


def test_before_the_survey_has_ended_nothing_goes_and_nobody_waits(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.shelf.is_settled = False
    made.evictor.start()
    assert made.ask(MIB) == ["room"]
    assert refused(made.ask(MIB))
    assert made.removed == []


def test_before_all_was_counted_who_comes_waits_for_that(tmp_path: Path) -> None:
    """A daemon that was killed may have left all that may be: with more it would be above the limit."""
    made = world(tmp_path)
    made.shelf.counted = made.shelf.is_settled = False
    made.evictor.start()
    found, too_large = made.ask(MIB), made.ask(6 * MIB)
    assert (found, refused(too_large)) == ([], True)
    made.later(0.2)
    assert found == []
    made.shelf.counted = True
    made.later(0.2)
    assert found == ["room"]
    assert made.removed == []


def test_what_was_used_since_it_was_chosen_stays(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    made.shelf.before = lambda key: made.shelf.use(images(1)[0])
    assert made.ask(2 * MIB) == ["room"]
    assert made.removed == images(0, 2)


def test_what_is_used_in_the_last_moment_stays_too(tmp_path: Path) -> None:
    """Asked again under the digest's serialisation."""
    made = world(tmp_path)
    made.begin()
    made.shelf.before = lambda key: made.shelf.use(key) if key == images(0)[1] else None
    assert made.ask(2 * MIB) == ["room"]
    assert images(0)[1] not in made.removed


def test_spools_that_nobody_continues_go_first(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.shelf.spools = [IdleSpool("broken", 2 * MIB, 60.0)]
    made.begin()
    assert made.removed == ["broken"]
    assert made.told == [("spool", "max_size", 2 * MIB)]


def test_others_who_fill_the_disk(tmp_path: Path) -> None:
    """``min_free``: noticed within seconds, without any request."""
    made = world(tmp_path, None, 5 * MIB)
    made.shelf.free = 6 * MIB
    made.begin()
    made.later(LOOK_S)
    assert made.removed == []
    made.shelf.free = 4 * MIB
    made.later(LOOK_S)
    assert made.removed == images(0, 1)
    assert made.told[0][:2] == ("image", "min_free")


def test_a_disk_that_is_full_says_so_itself(tmp_path: Path) -> None:
    """Room is given that is not there: then the trouble is the disk's, and is told as that."""
    made = world(tmp_path, None, 5 * MIB)
    made.shelf.entries.clear()
    made.shelf.free = 0
    made.begin()
    assert made.ask(MIB) == ["room"]
    made.shelf.free = 5 * MIB
    made.later(LOOK_S)
    assert refused(made.ask(MIB))


def test_a_disk_that_does_not_say_what_is_free(tmp_path: Path) -> None:
    made = world(tmp_path, 10, 5 * MIB)
    made.shelf.free = None
    made.begin()
    assert made.ask(MIB) == ["room"]
    assert made.ask(3 * MIB) == ["room"], "max_size holds all the same"
    assert made.removed


def test_a_disk_that_lets_nothing_be_removed(tmp_path: Path, said: list[str]) -> None:
    made = world(tmp_path)
    made.begin()
    made.shelf.refusing = True
    found = made.ask(3 * MIB)
    for _ in range(5):
        made.later(LOOK_S)
    assert refused(found)
    assert len([line for line in said if "cannot be removed" in line]) == 1
    made.shelf.refusing = False
    made.later(LOOK_S)
    assert made.ask(3 * MIB) == ["room"]


def test_what_is_pinned_stays_and_the_log_says_why_nothing_goes(tmp_path: Path, said: list[str]) -> None:
    made = world(tmp_path, 10, 0, str(NGINX))
    made.begin()
    found = made.ask(3 * MIB)
    for _ in range(5):
        made.later(LOOK_S)
    assert refused(found)
    assert made.removed == []
    assert len([line for line in said if "nothing that may go" in line]) == 1
    made.shelf.image(REDIS, 500, 50, age_s=HOUR_S)
    assert made.ask(MIB) == ["room"]
    assert made.removed == [key_of(REDIS, digest(500)), key_of(REDIS, digest(50))]


def test_a_pin_of_an_operator_counts_at_once(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.shelf.image(NGINX, 200, 20, tag="keep", age_s=90 * HOUR_S)
    made.begin()
    adding = made.pins.add(ImagePattern.parse(f"{NGINX}:keep"))
    with pytest.raises(StopIteration):
        adding.send(None)
    made.settle()
    made.ask(MIB)
    assert made.removed[:2] == images(0)
    assert key_of(NGINX, digest(200)) not in made.removed


def test_what_comes_without_asking_is_noticed(tmp_path: Path) -> None:
    """Manifests, and bodies whose length nobody tells."""
    made = world(tmp_path)
    made.begin()
    for number in range(50, 52):
        made.shelf.put(REDIS, number)
    made.settle()
    assert made.removed[:2] == images(0)


def test_a_waiter_that_leaves_takes_no_room(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    made.shelf.open = {digest(number) for number in range(8)}
    leaving = made.evictor.reserve(5 * MIB)
    leaving.addErrback(lambda failure: None)
    leaving.cancel()
    assert "waiting=0" in repr(made.evictor)
    made.shelf.close(0)
    assert made.ask(MIB) == ["room"]


def test_the_end(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    made.shelf.open = {digest(number) for number in range(8)}
    found = made.ask(5 * MIB)
    ended = made.evictor.stop()
    assert ended.called
    assert refused(found)
    assert refused(made.ask(1))
    assert made.clock.getDelayedCalls() == []


def test_pinned_while_a_round_runs(tmp_path: Path) -> None:
    """Chosen, and pinned before its turn came."""
    made = world(tmp_path)
    made.begin()
    pattern = ImagePattern.parse(f"{NGINX}@{digest(101)}")
    made.shelf.before = lambda key: void(Deferred.fromCoroutine(made.pins.add(pattern)))
    made.ask(2 * MIB)
    assert not set(images(1)) & set(made.removed)


def void(_: object) -> None:
    """Nobody waits for it."""


def test_a_disk_that_was_full_when_last_looked_at_is_looked_at_again(tmp_path: Path) -> None:
    """What is gone cannot be brought back."""
    made = world(tmp_path, None, 5 * MIB)
    made.shelf.free = 4 * MIB
    made.shelf.is_settled = False
    made.evictor.start()
    made.settle()
    made.shelf.is_settled, made.shelf.free = True, 50 * MIB
    made.evictor.surveyed()
    made.settle()
    assert made.removed == []


def test_who_waits_has_room_as_soon_as_there_is_some(tmp_path: Path) -> None:
    """Not only when the round is over."""
    made = world(tmp_path)
    made.begin()
    seen: list[int] = []
    made.shelf.before = lambda key: seen.append(made.shelf.promised)
    assert made.ask(int(2.5 * MIB)) == ["room"]
    assert seen[-1] > 0, "it had room before the last of them went"


def test_who_comes_back_is_known(tmp_path: Path) -> None:
    """How often it was pulled before it went counts: it does not begin as one of a build farm's."""
    made = world(tmp_path)
    for key in images(0):
        made.shelf.entries[key].pulls = 9
        made.shelf.entries[key].used_s -= 10_000 * HOUR_S
    made.begin()
    made.ask(2 * MIB)
    assert images(0)[0] in made.removed
    made.shelf.promised = 0
    made.shelf.image(NGINX, 100, 0, age_s=19 * HOUR_S)
    made.shelf.removed = []
    made.ask(int(2.5 * MIB))
    assert made.removed
    assert not set(images(0)) & set(made.removed), "though it is the oldest"


def test_where_all_that_may_go_is_too_little_it_is_not_worked_out_again_and_again(tmp_path: Path) -> None:
    """Pins hold more than low water: what comes without asking begins no round each time."""
    made = world(tmp_path, 10, 0, str(NGINX))
    made.begin()
    for number in range(300, 303):
        made.shelf.put(NGINX, number)  # pinned, and above the limit now
    made.settle()
    looks = made.shelf.looks
    for number in range(20):
        made.shelf.image(REDIS, 400 + number)
        made.settle()
    assert made.shelf.looks <= looks + 1
    made.later(SHORT_S + LOOK_S)
    assert made.shelf.looks > looks + 1, "but at times"


def test_who_cannot_have_room_is_told_so_at_once(tmp_path: Path) -> None:
    """Not three seconds later, for each layer."""
    made = world(tmp_path, 10, 0, str(NGINX))
    made.begin()
    made.ask(3 * MIB)
    made.later(WAIT_S)
    assert refused(made.ask(3 * MIB))
    assert made.ask(MIB) == ["room"], "what fits has it all the same"


def test_what_is_unpinned_may_go_at_once(tmp_path: Path) -> None:
    made = world(tmp_path)
    pattern = ImagePattern.parse(str(NGINX))
    void(Deferred.fromCoroutine(made.pins.add(pattern)))
    made.begin()
    made.ask(3 * MIB)
    made.later(WAIT_S)
    void(Deferred.fromCoroutine(made.pins.remove(pattern)))
    made.settle()
    assert made.ask(3 * MIB) == ["room"]
    assert made.removed


def test_an_image_that_is_used_while_it_goes_keeps_what_it_needs(tmp_path: Path) -> None:
    """Its tag went already; then somebody asks for its manifest."""
    made = world(tmp_path)
    made.shelf.image(NGINX, 200, 20, tag="old", age_s=90 * HOUR_S)
    made.begin()
    manifest = key_of(NGINX, digest(200))
    made.shelf.before = lambda key: made.shelf.use(manifest) if key == manifest else None
    made.ask(MIB)
    assert manifest in made.shelf.entries
    assert key_of(NGINX, digest(20)) in made.shelf.entries
    assert all(what != "image" or size == MIB for what, _, size in made.told)


def test_room_that_somebody_else_makes_meanwhile_ends_a_round(tmp_path: Path) -> None:
    """As a transfer that broke does: what may stay stays."""
    made = world(tmp_path)
    made.shelf.promised = int(1.5 * MIB)
    made.shelf.before = lambda key: setattr(made.shelf, "promised", 0)
    made.begin()
    assert made.removed == images(0)


def test_an_image_of_which_a_layer_was_used_since_stays_whole(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.begin()
    made.shelf.before = lambda key: made.shelf.use(images(1)[1])
    assert made.ask(2 * MIB) == ["room"]
    assert made.removed == images(0, 2)


def test_a_disk_that_had_no_room_a_moment_ago_is_asked_again_at_once(tmp_path: Path) -> None:
    """Nothing goes, and nobody passes by, for what others have given back."""
    made = world(tmp_path, None, 5 * MIB)
    made.shelf.free = 6 * MIB
    made.begin()
    made.clock.advance(0.5)
    made.shelf.free = 50 * MIB
    assert made.ask(5 * MIB) == ["room"], "more than half of what there could be then"
    assert made.removed == []


def test_where_nothing_more_may_go_readers_that_close_make_room_still(tmp_path: Path) -> None:
    made = world(tmp_path, 10, 0, str(NGINX))
    made.begin()
    made.ask(3 * MIB)
    made.later(WAIT_S)
    made.shelf.unlinked = int(1.5 * MIB)
    found = made.ask(MIB)
    assert found == [], "it waits for them"
    made.shelf.unlinked = 0
    made.later(0.2)
    assert found == ["room"]
