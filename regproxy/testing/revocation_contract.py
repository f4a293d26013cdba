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
    proofs,
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
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
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
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
        for _ in range(2):
            await room.store.revoke(REPOSITORY)
            await room.store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head", room.store.stamp(REPOSITORY))
            assert await serves(room.store, REPOSITORY) == CONTENT
            await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
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
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
        await room.store.revoke(REPOSITORY)
        await room.store.grant(REPOSITORY, IMAGE.digest, Kind.BLOB, "", "head", room.store.stamp(REPOSITORY))
        assert isinstance(await outcome(room.store.manifests.get(REPOSITORY, IMAGE.digest)), ContentMissing)
        assert await serves(room.store, REPOSITORY, IMAGE.digest) == IMAGE.content
        await room.store.revoke(REPOSITORY)
        await room.store.put(REPOSITORY, IMAGE.manifest, room.store.stamp(REPOSITORY))
        assert await serves(room.store, REPOSITORY, IMAGE.digest) == IMAGE.content

    async def test_the_clock_goes_back(self, room: StoreRoom) -> None:
        """Order counts, not the wall clock."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.advance(-1000)
        await room.store.revoke(REPOSITORY)
        assert await refused(room.store, REPOSITORY)
        room.advance(-1000)
        await room.store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head", room.store.stamp(REPOSITORY))
        assert await serves(room.store, REPOSITORY) == CONTENT

    async def test_it_counts_from_the_moment_it_is_asked_for(self, room: StoreRoom) -> None:
        """Before its record is on disk."""
        await fill(room.store, CONTENT, REPOSITORY)
        revoking = room.store.revoke(REPOSITORY)
        reading = outcome(room.store.blobs.open(REPOSITORY, DIGEST))
        assert isinstance(await reading, ContentMissing)
        await revoking

    async def test_a_proof_from_before_is_none(self, room: StoreRoom) -> None:
        """A commit, put or grant by what the upstream was asked before it, whenever they are written."""
        store, asked = room.store, proofs(room.store, REPOSITORY)
        for revoked_before in (True, False):
            spool = await store.spool(DIGEST)
            await spool.append([CONTENT])
            revoking = [store.revoke(REPOSITORY)] if revoked_before else []
            working = [spool.commit(asked), store.put(REPOSITORY, IMAGE.manifest, asked[REPOSITORY])]
            for work in (*working, *revoking):
                await work
            granting = store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head", asked[REPOSITORY])
            await store.revoke(REPOSITORY)
            await granting
            assert await refused(store, REPOSITORY)
            assert await refused(store, REPOSITORY, IMAGE.digest)
            asked = proofs(store, REPOSITORY)

    async def test_a_later_proof_stays(self, room: StoreRoom) -> None:
        """Whatever comes after it with an earlier stamp: a commit, a put, a grant."""
        store = room.store
        early = proofs(store, REPOSITORY)
        await store.revoke(REPOSITORY)
        room.advance(10)
        late = store.stamp(REPOSITORY)
        await store.put(REPOSITORY, IMAGE.manifest, late)
        await fill(store, CONTENT, REPOSITORY)
        spool = await store.spool(DIGEST)
        await spool.append([CONTENT])
        await spool.commit(early)
        await store.put(REPOSITORY, IMAGE.manifest, early[REPOSITORY])
        await store.grant(REPOSITORY, DIGEST, Kind.BLOB, "", "head", early[REPOSITORY])
        assert await serves(store, REPOSITORY) == CONTENT
        assert await store.manifests.get(REPOSITORY, IMAGE.digest) == IMAGE.manifest
        found = store.link(REPOSITORY, DIGEST)
        assert found is not None
        assert (found[1].since_s, found[1].source) == (late, "fetch")

    async def test_each_repository_by_its_own_proof(self, room: StoreRoom) -> None:
        """A commit for two of which one was revoked after it was asked."""
        spool = await room.store.spool(DIGEST)
        await spool.append([CONTENT])
        asked = proofs(room.store, *BOTH)
        room.advance(10)
        await room.store.revoke(REPOSITORY)
        await spool.commit(asked)
        assert await refused(room.store, REPOSITORY)
        assert await serves(room.store, OTHER) == CONTENT
        found = room.store.link(OTHER, DIGEST)
        assert found is not None
        assert found[1].since_s == asked[OTHER]

    async def test_stamps_and_revocations_are_in_order(self, room: StoreRoom) -> None:
        """However the clock goes: a stamp is after the revocations before it, up to those that come."""
        store = room.store
        last = [store.stamp(REPOSITORY), store.stamp(OTHER)]
        for seconds in (0, 5, -1000, 0):
            room.advance(seconds)
            await store.revoke(REPOSITORY)
            assert store.revoked_s(REPOSITORY) >= max(last)
            now = [store.stamp(REPOSITORY), store.stamp(OTHER)]
            assert now[0] > store.revoked_s(REPOSITORY)
            assert now[1] >= max(last)
            last = now

    async def test_an_adopted_file_brings_back_no_right(self, room: StoreRoom) -> None:
        """Its bytes are trusted again, for those whose links count."""
        await fill(room.store, CONTENT, *BOTH)
        room.touch(DIGEST)
        spool, blob = await room.store.adopt(DIGEST)
        await room.store.revoke(REPOSITORY)
        await spool.append([await read_to_end(blob.body())])
        await spool.commit(proofs(room.store, REPOSITORY))
        assert await refused(room.store, REPOSITORY)
        assert await serves(room.store, OTHER) == CONTENT
