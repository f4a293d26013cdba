"""What every IBlobSource and IManifestSource promises, as tests for whoever provides one.

In ``tests/``: subclass, name the class ``Test...``, and give it a pytest fixture ``room``, an object
with what :class:`BlobRoom` (or :class:`ManifestRoom`) names::

    class TestDiskBlobs(BlobSourceContract):
        @pytest.fixture
        def room(self, tmp_path): return DiskRoom(tmp_path)
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from regproxy.errors import ContentMissing, NotFound, TransferStopped
from regproxy.interfaces import How, IBlob, IBlobSource, IBody, IManifestSource
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.testing.images import make_image, make_index

MISSING = (ContentMissing, NotFound)
CONTENT = bytes(range(251)) * 1500
"""More than 64 KiB several times, and with a period that no power of two divides."""


class BlobRoom(Protocol):
    """A provider to be tested, and the hand that puts things into it."""

    source: IBlobSource
    repository: Repository

    def put(self, content: bytes, algorithm: str = "sha256") -> Awaitable[Digest]:
        """Let ``repository`` hold this blob."""

    def stalled(self, content: bytes, here_bytes: int) -> Awaitable[Digest] | None:
        """The same, but only ``here_bytes`` of it come; None where that cannot be (the disk)."""


class ManifestRoom(Protocol):
    """A provider of manifests to be tested."""

    source: IManifestSource
    repository: Repository

    def put(self, manifest: Manifest) -> Awaitable[None]:
        """Let ``repository`` hold this manifest."""


async def read_to_end(body: IBody, piece_bytes: int = 65536) -> bytes:
    """All that ``body`` gives; it is closed, also when it fails."""
    received = bytearray()
    try:
        while True:
            piece = body.read(piece_bytes)
            if piece is None:
                await body.ready()
                continue
            assert len(piece) <= piece_bytes
            if not piece:
                return bytes(received)
            received += piece
    finally:
        body.close()


async def outcome(work: Awaitable[object]) -> object:
    """The result, or the exception that it failed with."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - the caller judges it
        return error


def elsewhere(repository: Repository) -> Repository:
    """Another repository of the same upstream."""
    return attrs.evolve(repository, path=repository.path + "/elsewhere")


async def skip_here(body: IBody, count: int) -> None:
    """Read exactly the ``count`` bytes that are to come before it stalls."""
    left = count
    while left:
        piece = body.read(left)
        if piece is None:
            await body.ready()
            continue
        assert piece
        left -= len(piece)


class BlobSourceContract:
    """The laws of IBlobSource, IBlob and IBody."""

    async def test_stat_gives_the_size(self, room: BlobRoom) -> None:
        """stat: the size of the whole."""
        digest = await room.put(CONTENT)
        assert await room.source.stat(room.repository, digest) == len(CONTENT)

    async def test_open_and_read_to_the_end(self, room: BlobRoom) -> None:
        """open: the size where it is known, how, and the right bytes."""
        digest = await room.put(CONTENT)
        blob = await room.source.open(room.repository, digest)
        assert blob.size in (None, len(CONTENT))
        assert isinstance(blob.how, How)
        assert await read_to_end(blob.body(0, None)) == CONTENT

    async def test_end_stays_the_end(self, room: BlobRoom) -> None:
        """read: ``b""`` again and again after the last byte, and ready() fires there."""
        digest = await room.put(b"short")
        body = (await room.source.open(room.repository, digest)).body()
        await skip_here(body, 5)
        while (piece := body.read(10)) is None:
            await body.ready()
        assert piece == b""
        await body.ready()
        assert body.read(10) == b""
        body.close()

    async def test_small_reads_give_no_more_than_asked(self, room: BlobRoom) -> None:
        """read: at most max_bytes, in order."""
        digest = await room.put(CONTENT[:1000])
        blob = await room.source.open(room.repository, digest)
        assert await read_to_end(blob.body(), 7) == CONTENT[:1000]

    async def test_spans_never_go_past_their_end(self, room: BlobRoom) -> None:
        """body(start, stop): those bytes and no other."""
        digest = await room.put(CONTENT)
        size = len(CONTENT)
        spans = [(0, 0), (0, 1), (5, 10), (70_000, 140_000), (size - 1, size), (size, size), (3, None)]
        for start, stop in spans:
            blob = await room.source.open(room.repository, digest)
            if blob.size is None:
                blob.close()
                continue
            assert await read_to_end(blob.body(start, stop)) == CONTENT[start:stop], (start, stop)

    async def test_readers_do_not_disturb_each_other(self, room: BlobRoom) -> None:
        """Two bodies of one blob, one closed early."""
        digest = await room.put(CONTENT)
        first = (await room.source.open(room.repository, digest)).body()
        second = (await room.source.open(room.repository, digest)).body()
        await skip_here(first, 10)
        first.close()
        assert await read_to_end(second) == CONTENT

    async def test_closing_is_idempotent(self, room: BlobRoom) -> None:
        """A blob let go of unread, twice; a body closed early, twice; the blob after its body."""
        digest = await room.put(CONTENT)
        unread = await room.source.open(room.repository, digest)
        unread.close()
        unread.close()
        blob = await room.source.open(room.repository, digest)
        body = blob.body()
        blob.close()
        await skip_here(body, 1)
        body.close()
        body.close()

    async def test_blob_close_after_body_leaves_the_body(self, room: BlobRoom) -> None:
        """After body() the blob's close() does nothing."""
        digest = await room.put(CONTENT)
        blob = await room.source.open(room.repository, digest)
        body = blob.body()
        blob.close()
        assert await read_to_end(body) == CONTENT

    async def test_what_is_not_there_is_missing(self, room: BlobRoom) -> None:
        """ContentMissing or NotFound, from both."""
        absent = Digest.of(b"never put anywhere")
        assert isinstance(await outcome(room.source.stat(room.repository, absent)), MISSING)
        assert isinstance(await outcome(room.source.open(room.repository, absent)), MISSING)

    async def test_another_repository_has_it_not(self, room: BlobRoom) -> None:
        """What one repository holds is no other's (invariant 5)."""
        digest = await room.put(CONTENT)
        other = elsewhere(room.repository)
        assert isinstance(await outcome(room.source.stat(other, digest)), MISSING)
        assert isinstance(await outcome(room.source.open(other, digest)), MISSING)

    async def test_empty_blob(self, room: BlobRoom) -> None:
        """No bytes at all are a blob too (R40)."""
        digest = await room.put(b"")
        assert await room.source.stat(room.repository, digest) == 0
        blob = await room.source.open(room.repository, digest)
        assert await read_to_end(blob.body()) == b""

    async def test_sha512(self, room: BlobRoom) -> None:
        """The other algorithm (R6)."""
        digest = await room.put(b"by another name", "sha512")
        blob = await room.source.open(room.repository, digest)
        assert await read_to_end(blob.body()) == b"by another name"

    async def test_cancelled_open_leaves_nothing(self, room: BlobRoom) -> None:
        """Cancelled before it fires: CancelledError; after: nothing happens."""
        digest = await room.put(CONTENT)
        opening: Deferred[IBlob] = room.source.open(room.repository, digest)
        opening.cancel()
        result = await outcome(opening)
        if isinstance(result, Exception):
            assert isinstance(result, CancelledError), result
        else:
            result.close()  # type: ignore[attr-defined]
        blob = await room.source.open(room.repository, digest)
        assert await read_to_end(blob.body()) == CONTENT

    async def test_cancelled_ready_harms_nothing(self, room: BlobRoom) -> None:
        """A pending ready() is cancelled, and another one asked for."""
        body = await self._stalled_body(room)
        if body is None:
            return
        waiting = body.ready()
        waiting.cancel()
        assert isinstance(await outcome(waiting), CancelledError)
        assert body.read(10) is None
        again = body.ready()
        assert not again.called
        again.addErrback(Failure.trap, TransferStopped)
        body.close()

    async def test_close_fails_a_pending_ready(self, room: BlobRoom) -> None:
        """The one who waits learns at once that it is over: TransferStopped."""
        body = await self._stalled_body(room)
        if body is None:
            return
        waiting = body.ready()
        body.close()
        assert waiting.called, "ready() must fail within close()"
        assert isinstance(await outcome(waiting), TransferStopped)

    async def _stalled_body(self, room: BlobRoom) -> IBody | None:
        putting = room.stalled(CONTENT, 100)
        if putting is None:
            return None
        blob = await room.source.open(room.repository, await putting)
        body = blob.body()
        await skip_here(body, 100)
        assert body.read(10) is None
        return body


class ManifestSourceContract:
    """The laws of IManifestSource."""

    async def test_stat_and_get(self, room: ManifestRoom) -> None:
        """Type, size, exact bytes; an image, an index, a sha512 one."""
        for image in (make_image(), make_image(docker=True), make_index(), make_image(algorithm="sha512")):
            await room.put(image.manifest)
            assert await room.source.stat(room.repository, image.digest) == image.descriptor
            assert await room.source.get(room.repository, image.digest) == image.manifest

    async def test_what_is_not_there_is_missing(self, room: ManifestRoom) -> None:
        """ContentMissing or NotFound, from both."""
        absent = Digest.of(b"never put anywhere")
        assert isinstance(await outcome(room.source.stat(room.repository, absent)), MISSING)
        assert isinstance(await outcome(room.source.get(room.repository, absent)), MISSING)

    async def test_another_repository_has_it_not(self, room: ManifestRoom) -> None:
        """What one repository holds is no other's (invariant 5)."""
        image = make_image()
        await room.put(image.manifest)
        other = elsewhere(room.repository)
        assert isinstance(await outcome(room.source.stat(other, image.digest)), MISSING)
        assert isinstance(await outcome(room.source.get(other, image.digest)), MISSING)
