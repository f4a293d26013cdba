"""What every ISpool and IFile promises, as tests for whoever provides an ILocalStore."""

from __future__ import annotations

import itertools

from twisted.internet.defer import CancelledError
from zope.interface.verify import verifyObject

from regproxy.errors import ContentMissing, ContentUntrusted, StorageFailed, TransferStopped
from regproxy.extents import Extents
from regproxy.interfaces import How, IBlob, IFile, ISpool, Kind, Leftover, Validator
from regproxy.oci.digest import Digest
from regproxy.testing.contracts import outcome, read_to_end
from regproxy.testing.store_contract import (
    BOTH,
    CONTENT,
    DIGEST,
    OTHER,
    REPOSITORY,
    StoreRoom,
    fill,
    proofs,
    refused,
    serves,
)

WRONG = bytes(len(CONTENT))


async def bytes_at(file: IFile, offset: int, count: int) -> bytes:
    """What the file has there, brought into memory where need be."""
    while (found := file.read_at(offset, count)) is None:
        await file.warm(offset, count)
    return found


class SpoolContract:
    """The laws of ISpool and IFile, for new bytes."""

    async def test_it_grows_is_read_and_becomes_the_blob(self, room: StoreRoom) -> None:
        """Nothing is under ``blobs/`` before commit."""
        spool = await room.store.spool(DIGEST)
        verifyObject(ISpool, spool)
        reader = spool.file()
        verifyObject(IFile, reader)
        await spool.expect(len(CONTENT))
        assert (spool.digest, spool.front, spool.matches()) == (DIGEST, 0, False)
        assert await spool.append([CONTENT[:7], b"", CONTENT[7:1000]]) == 1000
        assert (spool.front, spool.matches()) == (1000, False)
        assert await bytes_at(reader, 5, 10) == CONTENT[5:15]
        assert room.store.holds(DIGEST) is None
        assert await spool.append([CONTENT[1000:]]) == len(CONTENT)
        assert spool.matches()
        assert await refused(room.store, REPOSITORY)
        await spool.commit(proofs(room.store, REPOSITORY, REPOSITORY))
        assert room.store.holds(DIGEST) == len(CONTENT)
        assert await serves(room.store, REPOSITORY) == CONTENT
        assert await refused(room.store, OTHER)
        found = room.store.link(REPOSITORY, DIGEST)
        assert found is not None
        assert (found[0], found[1].size_bytes, found[1].source) == (Kind.BLOB, len(CONTENT), "fetch")
        assert found[1].since_s == room.now_s()
        reader.close()

    async def test_appends_are_carried_out_in_order(self, room: StoreRoom) -> None:
        """However many are outstanding."""
        spool = await room.store.spool(DIGEST)
        pieces = [CONTENT[start : start + 9_999] for start in range(0, len(CONTENT), 9_999)]
        appending = [spool.append([piece]) for piece in pieces]
        fronts = [await each for each in appending]
        assert fronts == [*range(9_999, len(CONTENT), 9_999), len(CONTENT)]
        assert spool.matches()
        await spool.commit(proofs(room.store, REPOSITORY))
        assert await serves(room.store, REPOSITORY) == CONTENT

    async def test_who_gives_up_the_answer_stops_no_write(self, room: StoreRoom) -> None:
        """Else what follows would be at the wrong place."""
        spool = await room.store.spool(DIGEST)
        given_up = spool.append([CONTENT[:1000]])
        given_up.addErrback(lambda failure: failure.trap(CancelledError))
        given_up.cancel()
        assert await spool.append([CONTENT[1000:]]) == len(CONTENT)
        assert spool.matches()
        await spool.discard()

    async def test_bytes_are_placed_behind_the_front(self, room: StoreRoom) -> None:
        """In any order; the front goes on over them once it comes to them."""
        cuts = [0, 7, 1000, 1001, len(CONTENT) // 2, len(CONTENT) - 1, len(CONTENT)]
        pieces = list(itertools.pairwise(cuts))
        orders = [pieces, pieces[::-1], [*pieces[1::2], *pieces[::2]], [pieces[0], *pieces[:0:-1]]]
        for number, order in enumerate(orders):
            spool = await room.store.spool(DIGEST)
            await spool.expect(len(CONTENT))
            placed = Extents()
            for start, stop in order:
                front = await spool.place(start, [CONTENT[start:stop]])
                placed.add(start, stop)
                assert front == spool.front == placed.reach(0)
                assert spool.matches() is (front == len(CONTENT))
            assert await spool.catch_up() == len(CONTENT)
            if number < len(orders) - 1:
                await spool.discard()
        await spool.commit(proofs(room.store, REPOSITORY))
        assert await serves(room.store, REPOSITORY) == CONTENT

    async def test_appended_up_to_what_was_placed(self, room: StoreRoom) -> None:
        """The front passes over it."""
        spool = await room.store.spool(DIGEST)
        await spool.expect(len(CONTENT))
        half = len(CONTENT) // 2
        assert await spool.place(half, [CONTENT[half:]]) == 0
        assert await spool.append([CONTENT[:10]]) == 10
        assert await spool.append([CONTENT[10:half]]) == len(CONTENT)
        assert spool.matches()
        await spool.discard()

    async def test_no_bytes_and_sha512(self, room: StoreRoom) -> None:
        """Blobs as any other."""
        for digest, content in (
            (Digest.of(b""), b""),
            (Digest.of(b"by another name", "sha512"), b"by another name"),
        ):
            spool = await room.store.spool(digest)
            await spool.append([content])
            await spool.commit(proofs(room.store, REPOSITORY))
            assert await serves(room.store, REPOSITORY, digest) == content

    async def test_more_was_expected(self, room: StoreRoom) -> None:
        """What was allocated and not written is no part of the blob."""
        spool = await room.store.spool(DIGEST)
        await spool.expect(len(CONTENT) + 4096)
        await spool.append([CONTENT])
        await spool.commit(proofs(room.store, REPOSITORY))
        assert room.store.holds(DIGEST) == len(CONTENT)
        assert await serves(room.store, REPOSITORY) == CONTENT

    async def test_wrong_bytes_are_never_committed(self, room: StoreRoom) -> None:
        """StorageFailed; too few, too many, others (invariant 1)."""
        for content in (CONTENT[:-1], CONTENT + b"x", WRONG, b""):
            spool = await room.store.spool(DIGEST)
            await spool.append([content])
            assert not spool.matches()
            assert isinstance(await outcome(spool.commit(proofs(room.store, REPOSITORY))), StorageFailed)
            assert room.store.holds(DIGEST) is None
            await spool.reject()
        assert await refused(room.store, REPOSITORY)
        assert room.quarantined(DIGEST) is None

    async def test_files_outlive_it(self, room: StoreRoom) -> None:
        """commit, discard and reject leave them open; each is the reader's own."""
        for end in ("commit", "discard", "reject"):
            spool = await room.store.spool(DIGEST)
            await spool.append([CONTENT])
            first, second = spool.file(), spool.file()
            await (spool.commit({}) if end == "commit" else getattr(spool, end)())
            first.close()
            first.close()
            assert await bytes_at(second, len(CONTENT) - 3, 99) == CONTENT[-3:]
            assert await bytes_at(second, len(CONTENT), 99) == b""
            second.close()

    async def test_a_closed_file_gives_nothing(self, room: StoreRoom) -> None:
        """TransferStopped."""
        spool = await room.store.spool(DIGEST)
        await spool.append([CONTENT])
        file = spool.file()
        file.close()
        try:
            got: object = file.read_at(0, 1)
        except TransferStopped:
            got = TransferStopped
        assert got is TransferStopped
        assert isinstance(await outcome(file.warm(0, 1)), TransferStopped)
        await spool.discard()

    async def test_after_its_end(self, room: StoreRoom) -> None:
        """TransferStopped for what would write or open it; to let go of it again is fine."""
        for end in ("commit", "discard", "reject"):
            spool = await room.store.spool(DIGEST)
            await spool.append([CONTENT])
            await (spool.commit(proofs(room.store, REPOSITORY)) if end == "commit" else getattr(spool, end)())
            for work in (
                spool.append([b"more"]),
                spool.expect(99),
                spool.add_source(REPOSITORY),
                spool.commit(proofs(room.store, OTHER)),
            ):
                assert isinstance(await outcome(work), TransferStopped), end
            try:
                opened: object = spool.file()
            except TransferStopped:
                opened = TransferStopped
            assert opened is TransferStopped
            await spool.discard()
            await spool.reject()
            assert room.store.holds(DIGEST) == (len(CONTENT) if end == "commit" else None), end
            room.remove(DIGEST)

    async def test_while_it_is_let_go_of(self, room: StoreRoom) -> None:
        """Nothing new is begun any more, and nobody waits for it in vain."""
        for end in ("discard", "reject"):
            spool = await room.store.spool(DIGEST)
            await spool.append([CONTENT])
            leaving = getattr(spool, end)()
            for work in (spool.append([b"more"]), spool.commit(proofs(room.store, REPOSITORY))):
                assert isinstance(await outcome(work), TransferStopped), end
            await leaving
            assert room.store.holds(DIGEST) is None

    async def test_a_source_is_no_permission(self, room: StoreRoom) -> None:
        """add_source is for the map: only commit's repositories get a link."""
        spool = await room.store.spool(DIGEST)
        await spool.add_source(REPOSITORY)
        await spool.append([CONTENT])
        await spool.add_source(REPOSITORY)
        await spool.commit(proofs(room.store, OTHER))
        assert room.store.link(REPOSITORY, DIGEST) is None
        assert await refused(room.store, REPOSITORY)
        assert await serves(room.store, OTHER) == CONTENT

    async def test_two_of_one_digest(self, room: StoreRoom) -> None:
        """Commit of what exists is a commit: both repositories hold it, older readers read on."""
        first, second, third = [await room.store.spool(DIGEST) for _ in range(3)]
        for spool in (first, second, third):
            await spool.append([CONTENT])
        await first.commit(proofs(room.store, REPOSITORY))
        blob = await room.store.blobs.open(REPOSITORY, DIGEST)
        await second.commit(proofs(room.store, OTHER))
        await third.discard()
        for repository in BOTH:
            assert await serves(room.store, repository) == CONTENT
        assert await read_to_end(blob.body()) == CONTENT


class LeftoverContract:
    """The laws of keep(), left() and take(): a later fill goes on from what an earlier one has left."""

    async def test_what_was_kept_is_there_for_the_next(self, room: StoreRoom) -> None:
        """Its bytes are trusted by nobody: hashed again, then what is missing makes it the blob."""
        validator = Validator(OTHER, '"abc"')
        spool = await room.store.spool(DIGEST)
        await spool.expect(len(CONTENT), validator)
        assert spool.left is None
        await spool.append([CONTENT[:5000]])
        await spool.place(9000, [CONTENT[9000:11_000]])
        await spool.keep()
        left = room.store.left(DIGEST)
        assert left == Leftover(len(CONTENT), ((0, 5000), (9000, 11_000)), validator)
        assert (left.start, room.store.holds(DIGEST)) == (5000, None)
        taken = await self._taken(room)
        assert (taken.digest, taken.front, taken.left) == (DIGEST, 0, left)
        assert room.store.left(DIGEST) is None
        assert await room.store.take(DIGEST) is None
        await taken.expect(len(CONTENT))
        file = taken.file()
        assert await bytes_at(file, 9500, 10) == CONTENT[9500:9510]
        file.close()
        assert await taken.place(5000, [CONTENT[5000:9000]]) in (0, 11_000)
        assert await taken.place(11_000, [CONTENT[11_000:]]) in (0, len(CONTENT))
        while await taken.catch_up() < len(CONTENT):
            pass
        assert taken.matches()
        await taken.commit(proofs(room.store, REPOSITORY))
        assert await serves(room.store, REPOSITORY) == CONTENT
        assert room.store.left(DIGEST) is None

    async def test_it_may_be_kept_again_and_again(self, room: StoreRoom) -> None:
        """Also when nothing was added, and with more."""
        await self._keep(room, 100)
        for count in (0, 0, 50, 0):
            spool = await self._taken(room)
            start = spool.left.start if spool.left is not None else 0
            if count:
                await spool.place(start, [CONTENT[start : start + count]])
            await spool.keep()
            left = room.store.left(DIGEST)
            assert left is not None
            assert left.start == start + count
        spool = await self._taken(room)
        assert await spool.catch_up() == 150
        assert await spool.append([CONTENT[150:]]) == len(CONTENT)
        assert spool.matches()
        await spool.discard()

    async def test_something_is_always_missing(self, room: StoreRoom) -> None:
        """The upstream is asked in any case, for the last byte at least."""
        spool = await room.store.spool(DIGEST)
        await spool.expect(len(CONTENT))
        await spool.append([CONTENT])
        await spool.keep()
        left = room.store.left(DIGEST)
        assert left == Leftover(len(CONTENT), ((0, len(CONTENT) - 1),))

    async def test_what_is_not_worth_keeping(self, room: StoreRoom) -> None:
        """No bytes, or no size: as discard."""
        for size, content in ((None, CONTENT[:99]), (len(CONTENT), b"")):
            spool = await room.store.spool(DIGEST)
            if size is not None:
                await spool.expect(size)
            if content:
                await spool.append([content])
            await spool.keep()
            assert room.store.left(DIGEST) is None
            assert await room.store.take(DIGEST) is None

    async def test_taken_and_let_go_of_is_gone(self, room: StoreRoom) -> None:
        """discard and reject."""
        for end in ("discard", "reject"):
            await self._keep(room, 100)
            await getattr(await self._taken(room), end)()
            assert room.store.left(DIGEST) is None

    async def test_wrong_bytes_that_were_left_are_found(self, room: StoreRoom) -> None:
        """By the hash of the whole (invariant 1)."""
        spool = await room.store.spool(DIGEST)
        await spool.expect(len(CONTENT))
        await spool.append([WRONG[:100]])
        await spool.keep()
        spool = await self._taken(room)
        await spool.place(100, [CONTENT[100:]])
        while await spool.catch_up() < len(CONTENT):
            pass
        assert not spool.matches()
        assert isinstance(await outcome(spool.commit(proofs(room.store, REPOSITORY))), StorageFailed)
        await spool.reject()
        assert room.store.holds(DIGEST) is None

    async def test_what_was_left_is_not_written_over(self, room: StoreRoom) -> None:
        """It would be hashed, or was."""
        await self._keep(room, 100)
        spool = await self._taken(room)
        assert isinstance(await outcome(spool.place(50, [b"x"])), RuntimeError)
        await spool.discard()

    async def test_a_blob_that_came_by_another_way_ends_it(self, room: StoreRoom) -> None:
        """Nobody needs it any more."""
        await self._keep(room, 100)
        await fill(room.store, CONTENT, REPOSITORY)
        assert room.store.left(DIGEST) is None

    async def test_an_adopted_file_stays_where_it_is(self, room: StoreRoom) -> None:
        """keep is discard there."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST)
        spool, blob = await room.store.adopt(DIGEST)
        assert spool.left is None
        await spool.append([CONTENT[:99]])
        blob.close()
        await spool.keep()
        assert room.store.left(DIGEST) is None
        assert room.store.holds(DIGEST) == len(CONTENT)

    async def test_after_its_end(self, room: StoreRoom) -> None:
        """TransferStopped for what would go on with it; to let go of it again is fine."""
        await self._keep(room, 100)
        spool = await self._taken(room)
        await spool.keep()
        for work in (spool.append([b"x"]), spool.catch_up(), spool.place(100, [b"x"])):
            assert isinstance(await outcome(work), TransferStopped)
        await spool.discard()
        await spool.keep()
        left = room.store.left(DIGEST)
        assert left is not None
        assert left.start == 100

    async def _keep(self, room: StoreRoom, count: int) -> None:
        spool = await room.store.spool(DIGEST)
        await spool.expect(len(CONTENT))
        await spool.append([CONTENT[:count]])
        await spool.keep()

    async def _taken(self, room: StoreRoom) -> ISpool:
        spool = await room.store.take(DIGEST)
        assert spool is not None
        return spool


class AdoptionContract:
    """The laws of adopt() and the ISpool that it gives: a file that is not trusted is hashed again."""

    async def test_nothing_to_adopt(self, room: StoreRoom) -> None:
        """ContentMissing."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.remove(DIGEST)
        assert isinstance(await outcome(room.store.adopt(DIGEST)), ContentMissing)

    async def test_right_bytes_are_trusted_by_all_links(self, room: StoreRoom) -> None:
        """Old ones as they were, a new one for who has proven it meanwhile."""
        await fill(room.store, CONTENT, *BOTH)
        before = [room.store.link(repository, DIGEST) for repository in BOTH]
        room.touch(DIGEST)
        room.advance(100)
        spool, blob = await self._adopt(room)
        file = spool.file()
        await spool.expect(len(CONTENT))
        assert await spool.append([await read_to_end(blob.body())]) == len(CONTENT)
        assert spool.matches()
        assert await bytes_at(file, 3, 5) == CONTENT[3:8]
        await spool.commit(proofs(room.store, REPOSITORY))
        assert await bytes_at(file, 8, 5) == CONTENT[8:13]
        file.close()
        after = [room.store.link(repository, DIGEST) for repository in BOTH]
        for old, new, repository in zip(before, after, BOTH, strict=True):
            assert old is not None
            assert new is not None
            assert old[1].since_s == new[1].since_s, "a proof is not renewed by reading the disk"
            assert await serves(room.store, repository) == CONTENT

    async def test_a_new_repository_may_come_with_it(self, room: StoreRoom) -> None:
        """One that its upstream has shown meanwhile to hold it."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST)
        spool, blob = await self._adopt(room)
        await spool.append([await read_to_end(blob.body())])
        await spool.commit(proofs(room.store, OTHER))
        for repository in BOTH:
            assert await serves(room.store, repository) == CONTENT

    async def test_wrong_bytes_are_set_aside(self, room: StoreRoom) -> None:
        """commit refuses them; reject takes them out of ``blobs/`` for good."""
        await fill(room.store, CONTENT, *BOTH)
        room.touch(DIGEST, WRONG)
        spool, blob = await self._adopt(room)
        await spool.append([await read_to_end(blob.body())])
        assert not spool.matches()
        assert isinstance(await outcome(spool.commit(proofs(room.store, REPOSITORY))), StorageFailed)
        await spool.reject()
        await spool.reject()
        assert (room.store.holds(DIGEST), room.quarantined(DIGEST)) == (None, WRONG)
        for repository in BOTH:
            assert await refused(room.store, repository)
        await fill(room.store, CONTENT, OTHER)
        assert await serves(room.store, REPOSITORY) == CONTENT

    async def test_let_go_of_it_stays_as_it_was(self, room: StoreRoom) -> None:
        """discard: there, and not trusted."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST)
        spool, blob = await self._adopt(room)
        await spool.append([CONTENT])
        blob.close()
        await spool.discard()
        assert room.store.holds(DIGEST) == len(CONTENT)
        assert isinstance(await serves(room.store, REPOSITORY), ContentUntrusted)

    async def test_another_size_is_refused(self, room: StoreRoom) -> None:
        """expect: StorageFailed."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST)
        spool, blob = await self._adopt(room)
        assert isinstance(await outcome(spool.expect(len(CONTENT) + 1)), StorageFailed)
        blob.close()
        await spool.discard()

    async def test_a_file_that_changes_meanwhile_is_not_trusted(self, room: StoreRoom) -> None:
        """What was hashed is not what is there."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST)
        spool, blob = await self._adopt(room)
        await spool.append([await read_to_end(blob.body())])
        room.touch(DIGEST, WRONG)
        assert isinstance(await outcome(spool.commit(proofs(room.store, REPOSITORY))), StorageFailed)
        await spool.discard()
        assert isinstance(await serves(room.store, REPOSITORY), ContentUntrusted)

    async def test_a_good_file_that_came_meanwhile_stays(self, room: StoreRoom) -> None:
        """reject is about the file that was adopted, not about its name."""
        await fill(room.store, CONTENT, REPOSITORY)
        room.touch(DIGEST, WRONG)
        spool, blob = await self._adopt(room)
        await spool.append([await read_to_end(blob.body())])
        await fill(room.store, CONTENT, OTHER)
        await spool.reject()
        for repository in BOTH:
            assert await serves(room.store, repository) == CONTENT

    async def _adopt(self, room: StoreRoom) -> tuple[ISpool, IBlob]:
        """As it comes about: opening said that the file is not trusted."""
        assert isinstance(await serves(room.store, REPOSITORY), ContentUntrusted)
        spool, blob = await room.store.adopt(DIGEST)
        assert (blob.size, blob.how, spool.front) == (room.store.holds(DIGEST), How.HIT, 0)
        return spool, blob
