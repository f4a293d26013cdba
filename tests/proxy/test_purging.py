"""A purge: what goes with what, in which order, and what an operator is told when the disk refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from regproxy.errors import StorageFailed
from regproxy.interfaces import Fate, Inventory, IPurges, Kind, Taken
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.proxy.purging import MAX_FIRST, Purged, Purging, doomed

NGINX, REDIS, OTHER = (Repository.parse("docker.io", f"library/{name}") for name in ("nginx", "redis", "x"))
INDEX, OTHER_INDEX, CHILD, SHARED_CHILD, LAYER, SHARED, CONFIG, LOOSE = (
    Digest.of(name.encode())
    for name in ("index", "other", "child", "both", "layer", "shared", "config", "loose")
)
ONE, TWO, SAME = Tag("1"), Tag("2"), Tag("same")


def inventory(
    tags: Mapping[Tag, Digest | None], manifests: Mapping[Digest, Iterable[Digest]], blobs: Iterable[Digest]
) -> Inventory:
    return Inventory(tags, {key: frozenset(named) for key, named in manifests.items()}, frozenset(blobs))


HELD = inventory(
    {ONE: INDEX, TWO: OTHER_INDEX},
    {
        INDEX: [CHILD, SHARED_CHILD],
        OTHER_INDEX: [SHARED_CHILD],
        CHILD: [CONFIG, LAYER, SHARED],
        SHARED_CHILD: [SHARED],
    },
    [CONFIG, LAYER, SHARED, LOOSE],
)


def test_a_tag_takes_what_nothing_else_names() -> None:
    gone = doomed(HELD, ONE)
    assert gone[:3] == [ONE, INDEX, CHILD]
    assert set(gone[3:]) == {CONFIG, LAYER}


def test_a_digest_takes_its_tags_and_what_nothing_else_names() -> None:
    assert set(doomed(HELD, INDEX)) == {ONE, INDEX, CHILD, CONFIG, LAYER}


def test_a_digest_goes_though_an_index_names_it() -> None:
    """It was asked for by name; the index stays, and its child is fetched when it is wanted."""
    assert set(doomed(HELD, SHARED_CHILD)) == {SHARED_CHILD}
    assert set(doomed(HELD, CHILD)) == {CHILD, CONFIG, LAYER}


def test_a_blob_goes_alone() -> None:
    assert doomed(HELD, LOOSE) == [LOOSE]
    assert doomed(HELD, SHARED) == [SHARED]


def test_a_tag_that_shares_its_manifest_goes_alone() -> None:
    held = inventory({ONE: INDEX, SAME: INDEX}, {INDEX: [LAYER]}, [LAYER])
    assert doomed(held, ONE) == [ONE]
    assert set(doomed(held, INDEX)) == {ONE, SAME, INDEX, LAYER}


def test_a_tag_of_a_child_of_a_tagged_index_goes_alone() -> None:
    held = inventory({ONE: INDEX, TWO: CHILD}, {INDEX: [CHILD], CHILD: [LAYER]}, [LAYER])
    assert doomed(held, TWO) == [TWO]
    assert set(doomed(held, ONE)) == {ONE, INDEX}


def test_all_of_a_repository() -> None:
    gone = doomed(HELD, None)
    assert gone[:2] == [ONE, TWO]
    assert set(gone) == {*HELD.tags, *HELD.manifests, *HELD.blobs}


def test_what_is_not_there_takes_nothing() -> None:
    assert doomed(HELD, SAME) == doomed(HELD, Digest.of(b"none")) == []
    assert doomed(inventory({}, {}, []), None) == []


def test_a_tag_whose_record_is_broken_and_one_whose_manifest_is_gone() -> None:
    held = inventory({ONE: None, TWO: Digest.of(b"gone")}, {}, [LOOSE])
    assert doomed(held, ONE) == [ONE]
    assert doomed(held, TWO) == [TWO]


DIGESTS = [Digest.of(bytes([number])) for number in range(8)]
TAGS = [Tag(f"t{number}") for number in range(4)]
INVENTORIES = st.builds(
    inventory,
    st.dictionaries(st.sampled_from(TAGS), st.none() | st.sampled_from(DIGESTS)),
    st.dictionaries(st.sampled_from(DIGESTS), st.lists(st.sampled_from(DIGESTS), max_size=4)),
    st.lists(st.sampled_from(DIGESTS)),
)
REFERENCES = st.none() | st.sampled_from(TAGS) | st.sampled_from(DIGESTS)


def reached(held: Inventory, roots: Iterable[Digest]) -> set[Digest]:
    found: set[Digest] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            waiting.extend(held.manifests.get(digest, ()))
    return found


@given(INVENTORIES, REFERENCES)
def test_what_stays_loses_nothing_but_what_was_asked_for(
    held: Inventory, reference: Reference | None
) -> None:
    gone = doomed(held, reference)
    there = set(held.tags) | set(held.manifests) | held.blobs
    assert len(gone) == len(set(gone))
    assert set(gone) <= there
    assert reference is None or reference not in there or reference in gone
    tags = [each for each in gone if isinstance(each, Tag)]
    assert gone[: len(tags)] == sorted(tags), "names go before what they name"
    if reference is None:
        assert set(gone) == there
        return
    stay = {digest for tag, digest in held.tags.items() if tag not in gone and digest is not None}
    stay |= {digest for digest in held.manifests if digest not in gone}
    allowed = {reference} if isinstance(reference, Digest) else set()
    kept = Inventory(
        held.tags, {key: named for key, named in held.manifests.items() if key not in allowed}, held.blobs
    )
    assert not (reached(kept, stay) - allowed) & set(gone)


@given(INVENTORIES, st.sampled_from(TAGS))
def test_a_tag_alone_is_taken(held: Inventory, tag: Tag) -> None:
    """Others' names are nobody's business."""
    assert [each for each in doomed(held, tag) if isinstance(each, Tag)] == (
        [tag] if tag in held.tags else []
    )


@implementer(IPurges)
class Store:
    """Purges from an inventory; refuses from the ``room``-th thing on."""

    def __init__(self, held: Inventory, room: int = 99) -> None:
        self.held = held
        self.broken: Repository | None = None
        self.room = room
        self.calls: list[str] = []
        self.gates: list[Deferred[None]] = []

    def decide(
        self, repository: Repository, depth: bool, decide: Callable[[Inventory], list[Reference]]
    ) -> Deferred[list[Reference]]:
        self.calls.append(f"decide {depth}")
        if repository == self.broken:
            return fail(StorageFailed("it cannot be read"))
        waiting: Deferred[None] = self.gates.pop() if self.gates else succeed(None)
        return waiting.addCallback(lambda _: decide(self.held))

    def foresee(
        self, repository: Repository, reference: Reference, before: Set[Repository] = frozenset()
    ) -> Deferred[Taken | None]:
        self.calls.append("foresee")
        return succeed(self._taken(reference))

    def purge(self, repository: Repository, reference: Reference) -> Deferred[Taken | None]:
        self.calls.append("purge")
        if self.calls.count("purge") > self.room:
            return fail(StorageFailed("the disk is read-only"))
        return succeed(self._taken(reference))

    def _taken(self, reference: Reference) -> Taken | None:
        if isinstance(reference, Tag):
            return Taken(reference, None)
        return Taken(reference, Kind.BLOB, 7, Fate.FREED)


async def test_a_dry_run_changes_nothing() -> None:
    store = Store(HELD)
    purged = await Purging(store).purge(NGINX, ONE, dry_run=True)
    assert len(purged.first) == 5
    assert store.calls == ["decide True", *["foresee"] * 5]


async def test_all_of_a_repository_needs_no_reading() -> None:
    store = Store(HELD)
    await Purging(store).purge(NGINX, None, dry_run=False)
    assert store.calls[0] == "decide False"


async def test_a_disk_that_refuses_ends_it_and_what_went_is_told() -> None:
    purged = await Purging(Store(HELD, room=2)).purge(NGINX, ONE, dry_run=False)
    assert purged.first == [Taken(ONE, None), Taken(INDEX, Kind.BLOB, 7, Fate.FREED)]
    assert purged.failed == "the disk is read-only"


def test_all_is_counted_and_the_first_are_named() -> None:
    purged = Purged()
    for number in range(3 * MAX_FIRST):
        fate = [Fate.FREED, Fate.SHARED, Fate.ABSENT][number % 3]
        purged.add(Taken(Digest.of(b"%d" % number), Kind.BLOB, 2, fate))
    purged.add(Taken(ONE, None))
    assert len(purged.first) == MAX_FIRST
    assert purged.kinds == {Kind.BLOB: 3 * MAX_FIRST, None: 1}
    assert purged.files == {Fate.FREED: MAX_FIRST, Fate.SHARED: MAX_FIRST}
    assert purged.size_bytes == {Fate.FREED: 2 * MAX_FIRST, Fate.SHARED: 2 * MAX_FIRST}


def test_a_digest_counts_once_and_by_what_came_of_it_in_the_end() -> None:
    """However many repositories it went from, and whether it is among those that are named."""
    purged = Purged()
    last = Digest.of(b"last")
    for digest in [*(Digest.of(b"%d" % number) for number in range(MAX_FIRST)), last]:
        purged.add(Taken(digest, Kind.BLOB, 2, Fate.SHARED))
    assert purged.size_bytes[Fate.SHARED] == 2 * (MAX_FIRST + 1)
    named = purged.first[7].reference
    for fate in (Fate.SHARED, Fate.FREED):
        for digest in (named, last):
            purged.add(Taken(digest, Kind.BLOB, 2, fate))  # type: ignore[arg-type]
    assert purged.kinds == {Kind.BLOB: MAX_FIRST + 1}
    assert purged.size_bytes == {Fate.SHARED: 2 * (MAX_FIRST - 1), Fate.FREED: 4}
    assert purged.files == {Fate.SHARED: MAX_FIRST - 1, Fate.FREED: 2}
    assert purged.first[7] == Taken(named, Kind.BLOB, 2, Fate.FREED)
    assert [each.reference for each in purged.first].count(named) == 1
    assert last not in [each.reference for each in purged.first]
    purged.add(Taken(purged.first[0].reference, Kind.BLOB))
    assert purged.size_bytes[Fate.SHARED] == 2 * (MAX_FIRST - 2), "its file is gone, it does not stay"


async def test_a_repository_that_cannot_be_read_ends_it_and_what_went_is_told() -> None:
    store = Store(HELD)
    store.broken = REDIS
    purged = await Purging(store).purge_all({NGINX: ONE, REDIS: ONE, OTHER: ONE}, dry_run=False)
    assert (purged.kinds[None], purged.failed) == (1, "it cannot be read")
    assert [call for call in store.calls if call.startswith("decide")] == ["decide True"] * 2


async def test_one_after_the_other_and_a_failure_lets_the_next_one_in() -> None:
    store = Store(HELD)
    gate: Deferred[None] = Deferred()
    store.gates.append(gate)
    purging = Purging(store)
    first = Deferred.fromCoroutine(purging.purge(NGINX, ONE, dry_run=True))
    second = Deferred.fromCoroutine(purging.purge(NGINX, TWO, dry_run=True))
    assert store.calls == ["decide True"]
    gate.errback(StorageFailed("it cannot be read"))
    with pytest.raises(StorageFailed):
        await first
    assert (await second).first


def test_tags_that_go_together_take_what_only_they_share() -> None:
    """One by one each would leave what the other names."""
    held = inventory(
        {ONE: INDEX, SAME: INDEX, TWO: CHILD}, {INDEX: [LAYER], CHILD: [SHARED]}, [LAYER, SHARED]
    )
    assert set(doomed(held, frozenset([ONE, SAME, Tag("none")]))) == {ONE, SAME, INDEX, LAYER}
