"""What was pulled last, by what is in memory."""

from __future__ import annotations

from twisted.internet.task import Clock

from regproxy.expiry.recent import MAX_RECENT, Recent
from regproxy.interfaces import TagRecord
from regproxy.inventory.recently import Recently, recently
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.testing.images import make_index, sized_image
from regproxy.testing.stores import MemoryStore
from tests.eviction.world import NGINX

IMAGE = make_index(sized_image(3000))
TAG = Tag.parse("1.29")


class Counts:
    """Everything was used once, and sent ten bytes of."""

    def recent(self) -> list[str]:
        return [f"{NGINX}:1.29", "rubbish", f"{NGINX}@{IMAGE.digest}", f"{NGINX}:other"]

    def counts(self, repository: Repository, reference: Reference) -> tuple[float, int, int] | None:
        return None if reference == Tag("other") else (5.0, 1, 10)


def test_an_image_has_the_bytes_of_all_that_belongs_to_it() -> None:
    store = MemoryStore(Clock())
    store.put_image(NGINX, IMAGE)
    store.set_tag(NGINX, TAG, TagRecord(IMAGE.descriptor, None, 1.0))
    assert recently(Counts(), store, 10) == [Recently(f"{NGINX}:1.29", 5.0, 1, 50)]
    store.at_hand = False
    assert recently(Counts(), store, 10) == [Recently(f"{NGINX}:1.29", 5.0, 1, None)]
    assert recently(Counts(), store, 0) == []


def test_the_last_ones_each_once() -> None:
    recent = Recent()
    for number in range(100):
        recent.note(f"{number}")
    recent.note("90")
    assert recent.newest() == ["90", "99", *map(str, range(98, 90, -1)), *map(str, range(89, 79, -1))]
    assert len(recent.newest()) == MAX_RECENT
