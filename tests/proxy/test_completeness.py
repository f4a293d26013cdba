"""The newest image of a tag that the disk has whole: any graph of manifests, and real ones in a store."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.interfaces import Kind, Meaning, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.proxy import completeness
from regproxy.proxy.completeness import MAX_LOOKS, REMEMBER_S, SLICE, Chosen, Completeness, candidates
from regproxy.proxy.parts import MAX_DEPTH, MAX_READ_BYTES, Parts, missing, parts_of
from regproxy.testing.images import (
    Image,
    foreign_layer_image,
    index_of_indexes,
    large_manifest,
    make_image,
    make_index,
)
from regproxy.testing.layers import sized_layer
from tests.proxy.world import NAME, Seen, World

NAMES = [Digest.of(bytes([number])) for number in range(12)]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[Digest, Parts], set[Digest]]:
    """Manifests that name later ones, since a digest cannot name itself, and the blobs that are held."""
    cached = {}
    for number, name in enumerate(NAMES[:8]):
        if draw(st.booleans()):
            later = st.sampled_from(NAMES[number + 1 :])
            names = tuple(dict.fromkeys(draw(st.lists(later, max_size=4))))
            is_index = draw(st.booleans())
            cached[name] = Parts(children=names) if is_index else Parts(blobs=names)
    return cached, set(draw(st.lists(st.sampled_from(NAMES), max_size=12)))


def whole(top: Digest, cached: dict[Digest, Parts], held: set[Digest], depth: int = MAX_DEPTH) -> bool:
    """As it is written down: its blobs, and each cached child, of which there is one."""
    if top not in cached or depth == 0:
        return False
    found = cached[top]
    here = [child for child in found.children if child in cached]
    if found.children and not here:
        return False
    return all(blob in held for blob in found.blobs) and all(
        whole(child, cached, held, depth - 1) for child in here
    )


@given(graphs(), st.sampled_from(NAMES[:8]))
def test_nothing_is_missing_where_it_is_whole_and_only_there(
    graph: tuple[dict[Digest, Parts], set[Digest]], top: Digest
) -> None:
    cached, held = graph
    deep = _depth(top, cached) > MAX_DEPTH  # the shortest way down counts, the model takes each
    if not deep:
        assert (missing(top, cached.get, held.__contains__) == 0) == whole(top, cached, held)


def _depth(top: Digest, cached: dict[Digest, Parts]) -> int:
    return (
        1 + max((_depth(each, cached) for each in cached[top].children if each in cached), default=0)
        if (top in cached)
        else 1
    )


@given(graphs(), st.sampled_from(NAMES[:8]), st.sampled_from(NAMES))
def test_what_comes_to_the_disk_makes_nothing_less_whole(
    graph: tuple[dict[Digest, Parts], set[Digest]], top: Digest, comes: Digest
) -> None:
    cached, held = graph
    before = missing(top, cached.get, held.__contains__)
    assert missing(top, cached.get, (held | {comes}).__contains__) in (before, before - 1)


def test_what_lies_deeper_than_is_looked_is_missing() -> None:
    a, b, c, d = NAMES[:4]
    cached = {a: Parts((b,)), b: Parts((c,)), c: Parts((d,)), d: Parts()}
    assert missing(b, cached.get, lambda _: True) == 0
    assert missing(a, cached.get, lambda _: True) == 1


# real manifests

LAYER, OTHER = sized_layer(3000), sized_layer(4000, 2)
LAYER_DIGEST, OTHER_DIGEST = Digest.of(LAYER.content), Digest.of(OTHER.content)
OLD, NEW = make_image(LAYER, labels={"v": "1"}), make_image(LAYER, OTHER, labels={"v": "2"})
ARM = make_image(sized_layer(5000, 3), architecture="arm64")
INDEX = make_index(NEW, ARM)


class Shelf:
    """A store, and a tag that has meant several things."""

    def __init__(self) -> None:
        self.world = World()
        self.repository = self.world.repository()
        self.looks = Completeness(self.world.store, self.world.clock)

    def record(self, *images: Image) -> TagRecord:
        """The newest last, as on disk."""
        history = tuple(
            Meaning(each.digest, float(number), float(number)) for number, each in enumerate(images)
        )
        return TagRecord(images[-1].descriptor, None, 1.0, history)

    def put(self, image: Image) -> None:
        self.world.store.put_image(self.repository, image)

    async def lose(self, *digests: Digest) -> None:
        for digest in digests:
            await self.world.store.unlink(self.repository, digest, Kind.BLOB)
            await self.world.store.unlink(self.repository, digest, Kind.MANIFEST)

    async def choose(self, *images: Image) -> Chosen | None:
        self.world.clock.advance(REMEMBER_S)
        return await self.looks.choose(self.repository, self.record(*images))


async def test_the_newest_where_it_is_whole() -> None:
    shelf = Shelf()
    shelf.put(OLD)
    shelf.put(NEW)
    assert await shelf.choose(OLD, NEW) == Chosen(NEW.descriptor, 0, True)


async def test_an_older_one_where_the_newest_lacks_a_layer() -> None:
    shelf = Shelf()
    shelf.put(OLD)
    shelf.put(NEW)
    await shelf.lose(OTHER_DIGEST)
    chosen = await shelf.choose(OLD, NEW)
    assert chosen == Chosen(OLD.descriptor, 0, False)
    assert chosen.added_to("stale: x") == (
        f"stale: x; this is an older one, {OLD.digest}, since the newest is not whole here"
    )


async def test_the_newest_and_what_it_lacks_where_none_is_whole() -> None:
    shelf = Shelf()
    shelf.put(OLD)
    shelf.put(NEW)
    await shelf.lose(OTHER_DIGEST, LAYER_DIGEST)
    chosen = await shelf.choose(OLD, NEW)
    assert chosen == Chosen(NEW.descriptor, 2, True)
    assert chosen.added_to("stale: x") == "stale: x; 2 of its blobs are missing here"


async def test_the_newest_that_is_here_where_its_last_manifest_is_not() -> None:
    shelf = Shelf()
    shelf.put(OLD)
    await shelf.lose(LAYER_DIGEST)
    assert await shelf.choose(OLD, NEW) == Chosen(OLD.descriptor, 1, False)
    assert await Shelf().choose(OLD, NEW) is None


async def test_of_an_index_the_children_that_are_cached_count() -> None:
    """One platform is pulled as a rule; another one that is here in part makes it incomplete."""
    shelf = Shelf()
    shelf.put(INDEX)
    assert await shelf.choose(INDEX) == Chosen(INDEX.descriptor, 0, True)
    await shelf.lose(ARM.digest, *ARM.all_blobs())
    assert await shelf.choose(INDEX) == Chosen(INDEX.descriptor, 0, True)
    await shelf.lose(LAYER_DIGEST)
    assert await shelf.choose(INDEX) == Chosen(INDEX.descriptor, 1, True)


async def test_an_index_of_which_no_child_is_cached_is_not_whole() -> None:
    shelf = Shelf()
    shelf.put(OLD)
    shelf.put(INDEX)
    await shelf.lose(NEW.digest, ARM.digest)
    assert await shelf.choose(INDEX) == Chosen(INDEX.descriptor, 2, True)
    assert await shelf.choose(OLD, INDEX) == Chosen(OLD.descriptor, 0, False)


async def test_an_index_of_indexes() -> None:
    shelf, image = Shelf(), index_of_indexes()
    shelf.put(image)
    assert await shelf.choose(image) == Chosen(image.descriptor, 0, True)
    await shelf.lose(next(iter(image.all_blobs())))
    chosen = await shelf.choose(image)
    assert chosen is not None
    assert chosen.missing == 1


async def test_a_layer_that_clients_get_elsewhere_is_not_missed() -> None:
    shelf, image = Shelf(), foreign_layer_image("https://elsewhere.example/layer")
    shelf.put(image)
    assert await shelf.choose(image) == Chosen(image.descriptor, 0, True)


async def test_what_another_repository_holds_is_not_here() -> None:
    """Nor what was here before a revocation (invariant 5)."""
    shelf = Shelf()
    shelf.put(NEW)
    other = shelf.world.repository("team/other")
    assert await shelf.looks.choose(other, shelf.record(NEW)) is None
    assert await shelf.looks.choose(shelf.repository, shelf.record(NEW)) is not None
    await shelf.world.store.revoke(shelf.repository)
    assert await shelf.looks.choose(shelf.repository, shelf.record(NEW)) is None, "not remembered either"


async def test_a_blob_that_was_not_proven_since_a_revocation_is_missing() -> None:
    shelf = Shelf()
    shelf.put(NEW)
    store = shelf.world.store
    await store.revoke(shelf.repository)
    await store.put(shelf.repository, NEW.manifest, store.stamp(shelf.repository))
    assert await shelf.choose(NEW) == Chosen(NEW.descriptor, 3, True)


async def test_a_manifest_too_large_to_be_read_for_this_is_not_whole() -> None:
    shelf, image = Shelf(), large_manifest(MAX_READ_BYTES + 1)
    shelf.put(image)
    assert await shelf.choose(image) == Chosen(image.descriptor, 1, True)
    assert parts_of(Manifest(image.content, image.media_type, image.digest)) == Parts(whole=False)


async def test_it_is_remembered_for_a_moment_and_asked_once_by_all() -> None:
    shelf = Shelf()
    shelf.put(NEW)
    assert (await shelf.choose(NEW)) == Chosen(NEW.descriptor, 0, True)
    await shelf.lose(LAYER_DIGEST)
    record = shelf.record(NEW)
    assert await shelf.looks.choose(shelf.repository, record) == Chosen(NEW.descriptor, 0, True)
    shelf.world.clock.advance(REMEMBER_S)
    assert await shelf.looks.choose(shelf.repository, record) == Chosen(NEW.descriptor, 1, True)


def wide(number: int) -> Image:
    """An image of so many layers."""
    return make_image(*(sized_layer(2048, seed) for seed in range(number)))


def test_looking_goes_in_slices_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, image = Shelf(), wide(30)
    shelf.put(OLD)
    shelf.put(image)
    monkeypatch.setattr(completeness, "SLICE", 10)
    asking = Seen(shelf.looks.choose(shelf.repository, shelf.record(OLD, image)))
    assert asking.waiting, "others have their turn"
    began = len(shelf.world.clock.getDelayedCalls())
    shelf.world.clock.advance(0)
    assert (began, asking.result) == (1, Chosen(image.descriptor, 0, True))
    shelf.world.clock.advance(REMEMBER_S)
    monkeypatch.setattr(completeness, "SLICE", 1000)
    monkeypatch.setattr(completeness, "MAX_LOOKS", 20)
    chosen = Seen(shelf.looks.choose(shelf.repository, shelf.record(OLD, image))).result
    assert (chosen.descriptor, chosen.newest) == (image.descriptor, True)
    assert chosen.missing > 0


def test_the_bounds_hold_the_time() -> None:
    """10 us a look: a slice is 1 ms, all of it 20."""
    assert SLICE * 10e-6 <= 0.001
    assert MAX_LOOKS * 10e-6 <= 0.020


@given(st.lists(st.sampled_from(NAMES), max_size=20), st.sampled_from(NAMES))
def test_the_newest_first_each_once(history: list[Digest], last: Digest) -> None:
    record = TagRecord(Descriptor(last, 1, ""), None, 1.0, tuple(Meaning(each, 0.0, 0.0) for each in history))
    found = candidates(record)
    assert found[0] == last
    assert set(found) == {last, *history}
    assert len(found) == len(set(found))
    again = attrs.evolve(record, history=record.history[1:])
    assert set(candidates(again)) <= set(found)


def test_the_upstream_is_not_asked() -> None:
    assert Shelf().world.remotes[NAME].script.calls == []
