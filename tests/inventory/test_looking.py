"""Looks at all that is cached: pages with what is known of tags, sums, one digest; none is a use."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from regproxy.errors import Busy
from regproxy.eviction.gathering import BLOCK_BYTES, Gathering
from regproxy.eviction.pins import PinFile, Pins
from regproxy.interfaces import TagRecord
from regproxy.inventory.images import EVERYTHING, Wanted
from regproxy.inventory.looking import MAX_WAITING, Looking
from regproxy.inventory.pinning import Pinning
from regproxy.oci.images import ImagePattern
from regproxy.oci.tag import Tag
from regproxy.proxy.tag_rules import TagRules
from regproxy.settings import TagRule
from regproxy.testing.images import make_index, sized_image
from regproxy.testing.stores import MemoryStore
from tests.eviction.world import NGINX, REDIS, Entry, Shelf, at_once, key_of

CHILD = sized_image(3000)
IMAGE = make_index(CHILD)
TAG = Tag.parse("1.29")
WALL_S = 1_900_000_000.0


class House:
    """An image in a store in memory, and who knows its uses."""

    def __init__(self, folder: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        self.store = MemoryStore(self.clock)
        self.shelf = Shelf(self.clock)
        self.pins = Pins((), PinFile(folder), at_once)
        gathering = Gathering(self.shelf, self.shelf, at_once)
        rules = {"docker.io": TagRules((TagRule("*", fresh_s=60),))}
        self.looking = Looking(
            gathering, self.pins, self.store, rules, self.clock, lambda: WALL_S, self.clock.seconds
        )
        self.pinning = Pinning(self.pins, self.looking)
        for repository in (NGINX, REDIS):
            for manifest in IMAGE.all_manifests():
                self.store.put(repository, manifest, 1.0)
                self._enter(repository, manifest.digest, "manifest", len(manifest.content))
                self.shelf.named[manifest.digest] = tuple(each.digest for each in manifest.names())
            for digest, content in IMAGE.all_blobs().items():
                self.store.put_blob(repository, content)
                self._enter(repository, digest, "blob", len(content))
        self.tag(NGINX, TAG, checked_s=WALL_S - 30)

    def _enter(self, repository: Any, digest: Any, kind: str, size: int) -> None:
        self.shelf.entries[key_of(repository, digest)] = Entry(kind, self.clock.seconds() - 100, size, 2, 7)

    def tag(self, repository: Any, tag: Tag, checked_s: float) -> None:
        self.shelf.meant[key_of(repository, tag)] = IMAGE.digest
        self.shelf.entries[key_of(repository, tag)] = Entry("tag", self.clock.seconds() - 50, 0, 41, 1000)
        self.store.set_tag(repository, tag, TagRecord(IMAGE.descriptor, None, checked_s))

    def come(self, doing: Any) -> Any:
        found: list[Any] = []
        Deferred.fromCoroutine(doing).addBoth(found.append)
        for _ in range(1000):
            if found:
                break
            self.clock.advance(0)
        [value] = found
        if hasattr(value, "raiseException"):
            value.raiseException()
        return value


@pytest.fixture
def house(tmp_path: Any) -> House:
    return House(tmp_path)


def test_a_page_has_what_is_known_of_tags(house: House) -> None:
    house.tag(NGINX, Tag.parse("old"), checked_s=WALL_S - 61)
    images, more = house.come(house.looking.images(EVERYTHING, "name", None, 2))
    assert [(image.row.key, image.used_s, image.fresh, image.checked_s) for image in images] == [
        (f"{NGINX}:1.29", WALL_S - 50, True, WALL_S - 30),
        (f"{NGINX}:old", WALL_S - 50, False, WALL_S - 61),
    ]
    assert images[0].row.sent_bytes == 1000 + 4 * 7
    images, more = house.come(house.looking.images(EVERYTHING, "name", more, 2))
    assert [(image.row.key, image.fresh) for image in images] == [(f"{REDIS}@{IMAGE.digest}", None)]
    assert more is None


def test_a_long_list_is_looked_for_once(house: House) -> None:
    """Its next pages are at hand; a list that is begun anew is new."""
    looks: list[Any] = []
    uses = house.shelf.uses
    house.shelf.uses = lambda: looks.append(1) or uses()  # type: ignore[method-assign, func-returns-value]
    _, more = house.come(house.looking.images(EVERYTHING, "name", None, 1))
    images, more = house.come(house.looking.images(EVERYTHING, "name", more, 1))
    assert [image.row.repository for image in images] == [str(REDIS)]
    assert more is None
    assert len(looks) == 1
    house.come(house.looking.images(EVERYTHING, "name", None, 1))
    assert len(looks) == 2


def test_an_image_that_the_disk_lost_something_of_is_not_listed_as_whole(house: House) -> None:
    """A scrub that sets a blob aside leaves its entry, for the next one who asks."""
    [before] = house.come(house.looking.images(Wanted(ImagePattern.parse(f"{NGINX}:1.29")), "name", None, 2))[
        0
    ]
    lost = CHILD.manifest.layers()[0]
    house.store.remove(lost.digest)
    [found] = house.come(house.looking.images(Wanted(ImagePattern.parse(f"{NGINX}:1.29")), "name", None, 2))[
        0
    ]
    assert (before.row.missing, found.row.missing) == (0, 1)
    size = -(-lost.size_bytes // BLOCK_BYTES) * BLOCK_BYTES
    assert found.row.parts == (), "a long list lets go of them"
    assert found.row.disk_bytes == before.row.disk_bytes - size < before.row.disk_bytes


def test_one_digest_with_its_tree_and_who_names_it(house: House) -> None:
    house.come(house.pinning.add(ImagePattern.parse(f"{NGINX}:1.*")))
    found = house.come(house.looking.inspect(NGINX, TAG))
    assert (found.digest, found.repository, found.fresh, found.count) == (IMAGE.digest, NGINX, True, 2)
    assert [(str(node.digest), node.depth, node.here, node.right) for node in found.nodes] == [
        (str(IMAGE.digest), 0, True, True),
        (str(CHILD.digest), 1, True, True),
        *((str(named.digest), 2, True, True) for named in CHILD.manifest.names()),
    ]
    assert found.nodes[1].platform == "linux/amd64"
    assert found.pins == (f"{NGINX}:1.*",)
    [(one, used_s), (other, _)] = found.holders
    assert (one.repository, one.tags, one.pinned, used_s) == (str(NGINX), ("1.29",), True, WALL_S - 100)
    assert (other.repository, other.tags, other.pinned) == (str(REDIS), (), False)


def test_a_layer_is_named_by_its_manifest_whoever_holds_it(house: House) -> None:
    layer = CHILD.manifest.layers()[0].digest
    found = house.come(house.looking.inspect(None, layer))
    assert [holder.manifests for holder, _ in found.holders] == [(str(CHILD.digest),)] * 2
    assert [node.digest for node in found.nodes] == [layer]


def test_what_is_not_here_is_told_so(house: House) -> None:
    house.store.remove(CHILD.manifest.layers()[0].digest)
    states = [node.here for node in house.come(house.looking.inspect(NGINX, TAG)).nodes]
    assert states.count(False) == 1
    assert house.come(house.looking.inspect(NGINX, Tag.parse("nope"))).digest is None


def test_looking_is_no_use(house: House) -> None:
    before = {key: (entry.used_s, entry.pulls) for key, entry in house.shelf.entries.items()}
    house.come(house.looking.images(EVERYTHING, "name", None, 10))
    house.come(house.looking.sums(EVERYTHING))
    house.come(house.looking.inspect(NGINX, TAG))
    assert {key: (entry.used_s, entry.pulls) for key, entry in house.shelf.entries.items()} == before


def test_a_listing_leaves_memory_to_what_clients_ask_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    peeks: list[Tag] = []
    peek = house.store.peek_tag
    monkeypatch.setattr(house.store, "tag", None)
    monkeypatch.setattr(house.store, "peek_tag", lambda where, tag: peeks.append(tag) or peek(where, tag))
    images, _ = house.come(house.looking.images(EVERYTHING, "name", None, 10))
    assert peeks == [TAG]
    assert [image.fresh for image in images if image.row.tag] == [True]


def test_cached_tags_by_pattern(house: House) -> None:
    house.tag(REDIS, Tag.parse("7"), WALL_S)
    wanted = Wanted(ImagePattern.parse("docker.io/**:1*"))
    assert house.come(house.looking.tags(wanted)) == [(NGINX, TAG)]
    assert len(house.come(house.looking.tags(EVERYTHING))) == 2


def test_what_a_pin_would_keep(house: House) -> None:
    images, size_bytes = house.come(house.pinning.kept_by(ImagePattern.parse(f"{NGINX}:1.*")))
    assert (images, size_bytes) == (1, 4 * 4096)
    assert house.come(house.pinning.kept_by(ImagePattern.parse("ghcr.io/**"))) == (0, 0)


def test_few_looks_wait(house: House) -> None:
    """One runs."""
    seen: list[Any] = []
    for _ in range(MAX_WAITING + 3):
        Deferred.fromCoroutine(house.looking.sums(EVERYTHING)).addBoth(seen.append)
    [busy] = [each for each in seen if hasattr(each, "check")][:1]
    assert busy.check(Busy)
    for _ in range(100):
        house.clock.advance(0)
    assert len([each for each in seen if not hasattr(each, "check")]) == MAX_WAITING + 1


def test_what_a_pattern_or_a_digest_means_of_which_repository(house: House) -> None:
    house.tag(NGINX, Tag.parse("2.0"), checked_s=WALL_S)
    house.tag(REDIS, Tag.parse("1.0"), checked_s=WALL_S)

    def meant(pattern: str | None = None, digest: str | None = None) -> Any:
        wanted = Wanted(None if pattern is None else ImagePattern.parse(pattern), digest)
        return house.come(house.looking.meant(wanted))

    assert meant("docker.io/library/nginx:1.*") == {NGINX: frozenset([TAG])}
    assert meant("docker.io/**") == {NGINX: None, REDIS: None}
    assert meant("docker.io/library/n*") == {NGINX: None}
    assert meant(digest=str(CHILD.digest)) == {NGINX: CHILD.digest, REDIS: CHILD.digest}
    assert meant(f"docker.io/library/redis@{CHILD.digest}") == {REDIS: CHILD.digest}
    assert meant("ghcr.io/**") == {}
