"""What every ILocalStore promises about revocation, as tests for whoever provides one."""

from __future__ import annotations

from regproxy.errors import ContentMissing
from regproxy.interfaces import Kind
from regproxy.testing.contracts import outcome, read_to_end
from regproxy.testing.store_contract import (
    BOTH,
    CONTENT,
    DIGEST,
    IMAGE,
    OTHER,
    REPOSITORY,
    StoreRoom,
    fill,
    refused,
    serves,
)


class RevocationContract:
    """Links made before a revocation are no permission, links made after it are (invariant 5).

    The room's clock stands still, so all of it happens at the same instant unless a test moves it.
    """

    async def test_links_before_it_serve_nothing(self, room: StoreRoom) -> None:
        """Of this repository only, as a blob and as a manifest; the records stay."""
        await fill(room.store, CONTENT, *BOTH)
        await room.store.put(REPOSITORY, IMAGE.manifest)
        await room.store.revoke(REPOSITORY)
        assert await refused(room.store, REPOSITORY)
        assert await refused(room.store, REPOSITORY, IMAGE.digest)
        assert await serves(room.store, OTHER) == CONTENT
        assert room.store.revoked_s(OTHER) == 0.0
        found = room.store.link(REPOSITORY, DIGEST)
        assert found is not None
        assert found[1].since_s <= room.store.revoked_s(REPOSITORY)

    async def test_each_way_to_a_new_link(self, room: StoreRoom) -> None:
        """grant, put and commit, at the same instant; again after a second revocation."""
        await fill(room.store, CONTENT, REPOSITORY)
        await room.store.put(REPOSITORY, IMAGE.manifest)
        for _ in range(2):
            await room.store.revoke(REPOSITORY)
            await room.store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head")
            assert await serves(room.store, REPOSITORY) == CONTENT
            await room.store.put(REPOSITORY, IMAGE.manifest)
            assert await room.store.manifests.get(REPOSITORY, IMAGE.digest) == IMAGE.manifest
            await room.store.revoke(REPOSITORY)
            assert await refused(room.store, REPOSITORY)
            await fill(room.store, CONTENT, REPOSITORY)
            assert await serves(room.store, REPOSITORY) == CONTENT
            assert isinstance(
                await outcome(room.store.manifests.get(REPOSITORY, IMAGE.digest)), ContentMissing
            )

    async def test_one_right_is_not_two(self, room: StoreRoom) -> None:
        """A new link as a blob does not bring back the one as a manifest, nor the reverse its blob."""
        await room.store.put(REPOSITORY, IMAGE.manifest)
        await room.store.revoke(REPOSITORY)
        await room.store.grant(REPOSITORY, IMAGE.digest, Kind.BLOB, "", "head")
        assert isinstance(await outcome(room.store.manifests.get(REPOSITORY, IMAGE.digest)), ContentMissing)
        assert await serves(room.store, REPOSITORY, IMAGE.digest) == IMAGE.content
        await room.store.revoke(REPOSITORY)
        await room.store.put(REPOSITORY, IMAGE.manifest)
        assert await serves(room.store, REPOSITORY, IMAGE.digest) == IMAGE.content

    async def test_the_clock_goes_back(self, room: StoreRoom) -> None:
        """Order counts, not the wall clock."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.advance(-1000)
        await room.store.revoke(REPOSITORY)
        assert await refused(room.store, REPOSITORY)
        room.advance(-1000)
        await room.store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head")
        assert await serves(room.store, REPOSITORY) == CONTENT

    async def test_it_counts_from_the_moment_it_is_asked_for(self, room: StoreRoom) -> None:
        """Before its record is on disk."""
        await fill(room.store, CONTENT, REPOSITORY)
        revoking = room.store.revoke(REPOSITORY)
        reading = outcome(room.store.blobs.open(REPOSITORY, DIGEST))
        assert isinstance(await reading, ContentMissing)
        await revoking

    async def test_a_proof_from_before_is_none(self, room: StoreRoom) -> None:
        """A commit, put or grant that was asked for before the revocation and ends after it."""
        spool = await room.store.spool(DIGEST)
        await spool.append([CONTENT])
        working = [spool.commit([REPOSITORY]), room.store.put(REPOSITORY, IMAGE.manifest)]
        revoking = room.store.revoke(REPOSITORY)
        for work in (*working, revoking):
            await work
        assert await refused(room.store, REPOSITORY)
        assert await refused(room.store, REPOSITORY, IMAGE.digest)
        granting = room.store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head")
        await room.store.revoke(REPOSITORY)
        await granting
        assert await refused(room.store, REPOSITORY)

    async def test_an_adopted_file_brings_back_no_right(self, room: StoreRoom) -> None:
        """Its bytes are trusted again, for those whose links count."""
        await fill(room.store, CONTENT, *BOTH)
        room.touch(DIGEST)
        spool, blob = await room.store.adopt(DIGEST)
        await room.store.revoke(REPOSITORY)
        await spool.append([await read_to_end(blob.body())])
        await spool.commit([REPOSITORY])
        assert await refused(room.store, REPOSITORY)
        assert await serves(room.store, OTHER) == CONTENT
