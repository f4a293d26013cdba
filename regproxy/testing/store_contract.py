"""What every ILocalStore promises, as tests for whoever provides one; used as ``contracts`` says.

Its spools and revocations have contracts of their own: ``spool_contract``, ``revocation_contract``.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

import attrs
from zope.interface.verify import verifyObject

from regproxy.errors import ContentMissing, ContentUntrusted, InvalidManifest
from regproxy.interfaces import IBlobSource, ILocalStore, IManifestSource, Kind, Meaning, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.media_type import BLOB_TYPE
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.testing.contracts import outcome, read_to_end
from regproxy.testing.images import Image, make_image

REPOSITORY = Repository.parse("registry.test", "team/app")
OTHER = Repository.parse("registry.test", "team/other")
CONTENT = b"some bytes of a layer" * 5000
DIGEST = Digest.of(CONTENT)
IMAGE = make_image()
LATEST = Tag.parse("latest")
BOTH = (REPOSITORY, OTHER)


class StoreRoom(Protocol):
    """A store, the wall clock it reads, and the hand that spoils its files."""

    store: ILocalStore

    def advance(self, seconds: float) -> None:
        """Move the clock. It stands still otherwise."""

    def now_s(self) -> float:
        """What the clock says."""

    def touch(self, digest: Digest, content: bytes | None = None) -> None:
        """Somebody writes into the blob's file: another mtime, perhaps other bytes."""

    def remove(self, digest: Digest) -> None:
        """Somebody removes the blob's file."""

    def quarantined(self, digest: Digest) -> bytes | None:
        """The bytes that were set aside under this digest."""

    def restart(self) -> Awaitable[None]:
        """Close the store and open it anew on what it has kept; ``store`` is another one then."""


def proofs(store: ILocalStore, *repositories: Repository) -> dict[Repository, float]:
    """As if the upstream of each of ``repositories`` were asked now, and had it."""
    return {repository: store.stamp(repository) for repository in repositories}


async def fill(store: ILocalStore, content: bytes, *repositories: Repository) -> Digest:
    """Bring ``content`` in through a spool; each of ``repositories`` holds it."""
    digest = Digest.of(content)
    spool = await store.spool(digest)
    await spool.append([content])
    await spool.commit(proofs(store, *repositories))
    return digest


async def serves(store: ILocalStore, repository: Repository, digest: Digest = DIGEST) -> bytes | Exception:
    """The bytes that ``repository`` is given, or what opening them fails with."""
    blob: Any = await outcome(store.blobs.open(repository, digest))
    return blob if isinstance(blob, Exception) else await read_to_end(blob.body())


async def refused(store: ILocalStore, repository: Repository, digest: Digest = DIGEST) -> bool:
    """Whether it is missing for ``repository``, however it is asked for."""
    asked = (store.blobs.stat, store.blobs.open, store.manifests.stat, store.manifests.get)
    return all([isinstance(await outcome(ask(repository, digest)), ContentMissing) for ask in asked])


def numbered(number: int) -> Image:
    """One of many images."""
    return make_image(labels={"number": str(number)})


class LocalStoreContract:
    """The laws of ILocalStore: content and its links, tags."""

    async def test_it_provides_its_interfaces(self, room: StoreRoom) -> None:
        """Every method with its signature."""
        verifyObject(ILocalStore, room.store)
        verifyObject(IBlobSource, room.store.blobs)
        verifyObject(IManifestSource, room.store.manifests)

    async def test_an_empty_store_knows_nothing(self, room: StoreRoom) -> None:
        """No error but ContentMissing."""
        store = room.store
        assert (store.link(REPOSITORY, DIGEST), store.holds(DIGEST)) == (None, None)
        assert (store.tag(REPOSITORY, LATEST), await store.tags(REPOSITORY)) == (None, ())
        assert store.revoked_s(REPOSITORY) == 0.0
        assert await refused(store, REPOSITORY)
        for work in (
            store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head", store.stamp(REPOSITORY)),
            store.adopt(DIGEST),
        ):
            assert isinstance(await outcome(work), ContentMissing)
        assert store.link(REPOSITORY, DIGEST) is None

    async def test_put_is_a_manifest_and_a_blob(self, room: StoreRoom) -> None:
        """Its link says size, type as received, time and source (R21)."""
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
        assert room.store.holds(IMAGE.digest) == len(IMAGE.content)
        assert await room.store.manifests.get(REPOSITORY, IMAGE.digest) == IMAGE.manifest
        assert await serves(room.store, REPOSITORY, IMAGE.digest) == IMAGE.content
        found = room.store.link(REPOSITORY, IMAGE.digest)
        assert found is not None
        kind, link = found
        assert (kind, link.size_bytes, link.media_type) == (
            Kind.MANIFEST,
            len(IMAGE.content),
            IMAGE.media_type,
        )
        assert (link.since_s, link.source) == (room.now_s(), "fetch")
        assert await refused(room.store, OTHER, IMAGE.digest)

    async def test_put_of_wrong_bytes_keeps_nothing(self, room: StoreRoom) -> None:
        """InvalidManifest; nothing unverified is under ``blobs/`` (invariant 1)."""
        wrong = attrs.evolve(IMAGE.manifest, content=IMAGE.content + b" ")
        assert isinstance(
            await outcome(room.store.put(REPOSITORY, wrong, room.store.stamp(REPOSITORY))), InvalidManifest
        )
        assert room.store.holds(IMAGE.digest) is None
        assert await refused(room.store, REPOSITORY, IMAGE.digest)

    async def test_grant_gives_one_repository_its_right(self, room: StoreRoom) -> None:
        """By HEAD, with a type or with the one that says nothing; as a blob it is no manifest."""
        await fill(room.store, CONTENT, REPOSITORY)
        assert await refused(room.store, OTHER)
        await room.store.grant(OTHER, DIGEST, Kind.BLOB, "", "head", room.store.stamp(OTHER))
        assert await serves(room.store, OTHER) == CONTENT
        found = room.store.link(OTHER, DIGEST)
        assert found is not None
        assert (found[0], found[1].media_type, found[1].source) == (Kind.BLOB, BLOB_TYPE, "head")
        assert isinstance(await outcome(room.store.manifests.get(OTHER, DIGEST)), ContentMissing)

    async def test_held_as_both(self, room: StoreRoom) -> None:
        """The blob's link is told; the manifest's still serves the manifest."""
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
        await room.store.grant(REPOSITORY, IMAGE.digest, Kind.BLOB, "", "head", room.store.stamp(REPOSITORY))
        found = room.store.link(REPOSITORY, IMAGE.digest)
        assert found is not None
        assert found[0] is Kind.BLOB
        assert await room.store.manifests.stat(REPOSITORY, IMAGE.digest) == IMAGE.descriptor

    async def test_grant_renews(self, room: StoreRoom) -> None:
        """The later proof counts, and is dated by the clock."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.advance(100)
        await room.store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head", room.store.stamp(REPOSITORY))
        found = room.store.link(REPOSITORY, DIGEST)
        assert found is not None
        assert (found[1].since_s, found[1].source) == (room.now_s(), "head")

    async def test_unlink_takes_one_right(self, room: StoreRoom) -> None:
        """Of one repository, as one kind; the bytes go with the last, at once or later. Idempotent."""
        store = room.store
        await fill(store, CONTENT, *BOTH)
        await store.grant(OTHER, DIGEST, Kind.MANIFEST, IMAGE.media_type, "head", store.stamp(OTHER))
        for _ in range(2):
            assert await store.unlink(REPOSITORY, DIGEST, Kind.BLOB) is False
            assert await refused(store, REPOSITORY)
            assert store.link(REPOSITORY, DIGEST) is None
        assert await store.unlink(OTHER, DIGEST, Kind.BLOB) is False
        assert await serves(store, OTHER) == CONTENT
        went = await store.unlink(OTHER, DIGEST, Kind.MANIFEST)
        assert went is (store.holds(DIGEST) is None)
        assert await refused(store, OTHER)
        assert await store.unlink(OTHER, DIGEST, Kind.MANIFEST) is False

    async def test_a_removed_file_is_missing(self, room: StoreRoom) -> None:
        """A miss, and no grant; the link stays, and serves what is fetched again (P3)."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.remove(DIGEST)
        assert room.store.holds(DIGEST) is None
        assert await refused(room.store, REPOSITORY)
        granting = room.store.grant(OTHER, DIGEST, Kind.BLOB, "", "head", room.store.stamp(OTHER))
        assert isinstance(await outcome(granting), ContentMissing)
        assert room.store.link(REPOSITORY, DIGEST) is not None
        await fill(room.store, CONTENT, OTHER)
        assert await serves(room.store, REPOSITORY) == CONTENT

    async def test_a_file_of_another_size_is_missing(self, room: StoreRoom) -> None:
        """As a removed one; holds() tells what lies there."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST, CONTENT[:-1])
        assert await refused(room.store, REPOSITORY)
        assert room.store.holds(DIGEST) == len(CONTENT) - 1

    async def test_a_touched_file_is_not_trusted(self, room: StoreRoom) -> None:
        """ContentUntrusted to open, a size to stat; a new right to it trusts nothing (P31)."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST, bytes(len(CONTENT)))
        await room.store.grant(OTHER, DIGEST, Kind.BLOB, "", "head", room.store.stamp(OTHER))
        await room.store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head", room.store.stamp(REPOSITORY))
        for repository in BOTH:
            assert isinstance(await serves(room.store, repository), ContentUntrusted)
            assert await room.store.blobs.stat(repository, DIGEST) == len(CONTENT)

    async def test_a_fill_over_a_spoilt_file_heals_it(self, room: StoreRoom) -> None:
        """The bytes of the spool, never those that were there, and for every link."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST, bytes(len(CONTENT)))
        await fill(room.store, CONTENT, OTHER)
        for repository in BOTH:
            assert await serves(room.store, repository) == CONTENT

    async def test_a_put_over_a_spoilt_file_heals_it(self, room: StoreRoom) -> None:
        """As a fill."""
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
        room.touch(IMAGE.digest, bytes(len(IMAGE.content)))
        await room.store.put(OTHER, IMAGE.manifest, room.store.stamp(OTHER))
        for repository in BOTH:
            assert await room.store.manifests.get(repository, IMAGE.digest) == IMAGE.manifest
            assert await serves(room.store, repository, IMAGE.digest) == IMAGE.content

    async def test_a_touched_manifest_is_hashed_again(self, room: StoreRoom) -> None:
        """Manifests are small: the store does it by itself, and trusts a right one again."""
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
        room.touch(IMAGE.digest)
        assert await room.store.manifests.stat(REPOSITORY, IMAGE.digest) == IMAGE.descriptor
        assert await room.store.manifests.get(REPOSITORY, IMAGE.digest) == IMAGE.manifest
        await room.store.drop_tag(REPOSITORY, LATEST)  # what writes has its turn after the trust
        assert await serves(room.store, REPOSITORY, IMAGE.digest) == IMAGE.content

    async def test_a_spoilt_manifest_is_set_aside(self, room: StoreRoom) -> None:
        """ContentMissing, and the file is no blob any more."""
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
        room.touch(IMAGE.digest, wrong := bytes(len(IMAGE.content)))
        reading = room.store.manifests.get(REPOSITORY, IMAGE.digest)
        assert isinstance(await outcome(reading), ContentMissing)
        assert room.store.holds(IMAGE.digest) is None
        assert room.quarantined(IMAGE.digest) == wrong

    async def test_a_manifest_at_hand_is_the_one_on_disk(self, room: StoreRoom) -> None:
        """By the repository's own right, and gone with it."""
        store = room.store
        manifest = IMAGE.manifest
        assert store.manifest_at_hand(REPOSITORY, manifest.digest) is None
        await store.put(REPOSITORY, manifest, store.stamp(REPOSITORY))
        assert [store.manifest_at_hand(REPOSITORY, manifest.digest) for _ in range(2)] == [manifest] * 2
        assert store.manifest_at_hand(OTHER, manifest.digest) is None
        await store.revoke(REPOSITORY)
        assert store.manifest_at_hand(REPOSITORY, manifest.digest) is None
        await store.put(REPOSITORY, manifest, store.stamp(REPOSITORY))
        assert store.manifest_at_hand(REPOSITORY, manifest.digest) == manifest
        await store.unlink(REPOSITORY, manifest.digest, Kind.MANIFEST)
        assert store.manifest_at_hand(REPOSITORY, manifest.digest) is None

    async def test_a_touched_or_lost_manifest_is_not_at_hand(self, room: StoreRoom) -> None:
        """Nor is a blob that is no manifest's."""
        store, manifest = room.store, IMAGE.manifest
        await store.put(REPOSITORY, manifest, store.stamp(REPOSITORY))
        await store.grant(OTHER, manifest.digest, Kind.BLOB, BLOB_TYPE, "head", store.stamp(OTHER))
        assert store.manifest_at_hand(OTHER, manifest.digest) is None
        assert store.manifest_at_hand(REPOSITORY, manifest.digest) == manifest
        room.touch(manifest.digest, b"x" * len(manifest.content))
        assert store.manifest_at_hand(REPOSITORY, manifest.digest) is None
        room.remove(manifest.digest)
        assert store.manifest_at_hand(REPOSITORY, manifest.digest) is None

    async def test_a_tag_is_kept_as_it_is(self, room: StoreRoom) -> None:
        """Record and names, for one repository; dropped twice, not there twice."""
        record = TagRecord(IMAGE.descriptor, f'"{IMAGE.digest}"', room.now_s())
        for name in ("latest", "1.0", "_x"):
            await room.store.set_tag(REPOSITORY, Tag.parse(name), record)
        found = room.store.tag(REPOSITORY, LATEST)
        assert found == attrs.evolve(
            record, history=(Meaning(IMAGE.digest, record.checked_s, record.checked_s),)
        )
        assert room.store.peek_tag(REPOSITORY, LATEST) == found
        assert await room.store.tags(REPOSITORY) == ("1.0", "_x", "latest")
        assert (room.store.tag(OTHER, LATEST), await room.store.tags(OTHER)) == (None, ())
        await room.store.drop_tag(REPOSITORY, LATEST)
        await room.store.drop_tag(REPOSITORY, LATEST)
        assert room.store.tag(REPOSITORY, LATEST) is None
        assert room.store.peek_tag(REPOSITORY, LATEST) is None
        assert await room.store.tags(REPOSITORY) == ("1.0", "_x")

    async def test_repositories_are_those_with_links_in_order(self, room: StoreRoom) -> None:
        """Sorted as text, ``a-b`` before ``a/b``; behind any name; only those that may be seen."""
        paths = ["a", "a-b", "a/b", "a/b/c", "a.b", "b", "team/app"]
        for path in paths:
            repository = Repository.parse("registry.test", path)
            await room.store.put(repository, IMAGE.manifest, room.store.stamp(repository))
        other = Repository.parse("other.test", "a")
        await room.store.put(other, IMAGE.manifest, room.store.stamp(other))

        async def named(after: str | None = None, count: int = 100, without: str = "") -> list[str]:
            def visible(repository: Repository) -> bool:
                return repository.path != without

            return list(await room.store.repositories("registry.test", visible, after, count))

        assert await named() == sorted(paths)
        for after in (*paths, "", "a/", "a/b/", "a/a", "zz", "A", "a-", "../x"):
            assert await named(after) == sorted(path for path in paths if path > after)
        assert await named(None, 2) == ["a", "a-b"]
        assert await named("a-b", 2, without="a.b") == ["a/b", "a/b/c"]
        assert await room.store.repositories("none.test", lambda each: True, None, 9) == ()

    async def test_a_tag_carries_its_history(self, room: StoreRoom) -> None:
        """Each digest once, when it was first and last seen, the present one last; what the caller says of
        the past is not believed."""
        first, second = numbered(1), numbered(2)
        for image, checked_s in ((first, 1.0), (first, 2.0), (second, 3.0), (first, 4.0)):
            record = TagRecord(image.descriptor, None, checked_s, (Meaning(IMAGE.digest, 0.5, 0.5),))
            await room.store.set_tag(REPOSITORY, LATEST, record)
        found = room.store.tag(REPOSITORY, LATEST)
        assert found is not None
        assert found.history == (Meaning(second.digest, 3.0, 3.0), Meaning(first.digest, 1.0, 4.0))
        assert (found.descriptor, found.checked_s) == (first.descriptor, 4.0)

    async def test_the_history_has_twenty(self, room: StoreRoom) -> None:
        """The oldest goes."""
        images = [numbered(number) for number in range(23)]
        for number, image in enumerate(images):
            await room.store.set_tag(REPOSITORY, LATEST, TagRecord(image.descriptor, None, float(number)))
        found = room.store.tag(REPOSITORY, LATEST)
        assert found is not None
        assert found.history == tuple(
            Meaning(images[number].digest, float(number), float(number)) for number in range(3, 23)
        )

    async def test_kept_over_a_restart(self, room: StoreRoom) -> None:
        """Content, links, tags and revocations."""
        await fill(room.store, CONTENT, REPOSITORY)
        await room.store.put(OTHER, IMAGE.manifest, room.store.stamp(OTHER))
        await room.store.set_tag(OTHER, LATEST, TagRecord(IMAGE.descriptor, None, 7.0))
        await room.store.revoke(REPOSITORY)
        before = room.store
        known = [before.link(REPOSITORY, DIGEST), before.tag(OTHER, LATEST), before.revoked_s(REPOSITORY)]
        await room.restart()
        after = room.store
        assert known == [
            after.link(REPOSITORY, DIGEST),
            after.tag(OTHER, LATEST),
            after.revoked_s(REPOSITORY),
        ]
        assert await refused(after, REPOSITORY)
        assert await after.manifests.get(OTHER, IMAGE.digest) == IMAGE.manifest
        await after.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head", after.stamp(REPOSITORY))
        assert await serves(after, REPOSITORY) == CONTENT
