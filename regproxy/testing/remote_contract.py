"""What every IRemoteRegistry promises beside its sources, as tests for whoever provides one.

Its ``blobs`` and ``manifests`` keep the contracts of ``contracts`` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from regproxy.errors import (
    ContentMismatch,
    Denied,
    NotFound,
    Throttled,
    TransferStopped,
    UpstreamFailed,
    UpstreamRefused,
)
from regproxy.interfaces import (
    IManifestSource,
    IRangedBlob,
    IRemoteBlobs,
    IRemoteRegistry,
    IRemoteTags,
    RemoteTag,
)
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.testing.contents import Holding
from regproxy.testing.contracts import elsewhere, outcome, read_to_end, skip_here
from regproxy.testing.images import Image, make_image, make_index
from regproxy.testing.reply import Gate

LATEST = Tag.parse("latest")
IMAGE = make_image()
MOVED = make_image(labels={"moved": "yes"})
SHAPES: tuple[Image, ...] = (IMAGE, make_image(docker=True), make_index(), make_image(algorithm="sha512"))
ERRORS: Mapping[int, type[Exception]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    410: NotFound,
    429: Throttled,
    500: UpstreamFailed,
    503: UpstreamFailed,
}


class RemoteRoom(Protocol):
    """An upstream to be asked, and the hand that decides what it says."""

    remote: IRemoteRegistry
    repository: Repository
    holding: Holding
    """What the upstream holds in ``repository``."""

    def answer(self, status: int | None, retry_after_s: int | None = None) -> None:
        """From now on everything is answered with this status; None: no longer."""

    def hold(self) -> Gate:
        """From now on no answer begins before the gate is open."""

    def stall(self, content: bytes, here_bytes: int) -> Digest:
        """A blob of which only so many bytes come."""

    def with_password(self, right: bool) -> IRemoteRegistry:
        """The same upstream asked with a user name and a password, and what it thinks of them."""


def questions(room: RemoteRoom) -> list[Deferred[Any]]:
    """Everything that an upstream can be asked, about what it holds."""
    remote, repository = room.remote, room.repository
    known = RemoteTag(MOVED.descriptor, f'"{MOVED.digest}"')
    layer = next(iter(IMAGE.blobs))
    return [
        remote.blobs.stat(repository, layer),
        remote.blobs.open(repository, layer),
        remote.blobs.resume(repository, layer, 1, None),
        remote.blobs.open_from(repository, layer, 1, None),
        remote.manifests.stat(repository, IMAGE.digest),
        remote.manifests.get(repository, IMAGE.digest),
        remote.tags.get(repository, LATEST),
        remote.tags.stat(repository, LATEST, None),
        remote.tags.stat(repository, LATEST, known),
        remote.tags.list(repository),
    ]


class RemoteRegistryContract:
    """The laws of IRemoteRegistry and IRemoteTags."""

    async def test_it_provides_its_interfaces(self, room: RemoteRoom) -> None:
        """Every method with its signature."""
        verifyObject(IRemoteRegistry, room.remote)
        verifyObject(IRemoteTags, room.remote.tags)
        verifyObject(IRemoteBlobs, room.remote.blobs)
        verifyObject(IManifestSource, room.remote.manifests)
        assert room.remote.name == room.repository.upstream

    async def test_a_tag_of_each_shape(self, room: RemoteRoom) -> None:
        """get: descriptor and bytes; stat: the same descriptor, no bytes, and known is unchanged (R14)."""
        for image in SHAPES:
            room.holding.put_image(image, "latest")
            got = await room.remote.tags.get(room.repository, LATEST)
            assert (got.descriptor, got.manifest) == (image.descriptor, image.manifest)
            seen = await room.remote.tags.stat(room.repository, LATEST, None)
            assert seen == attrs.evolve(got, manifest=None)
            for known in (got, seen, RemoteTag(image.descriptor)):
                assert await room.remote.tags.stat(room.repository, LATEST, known) is None

    async def test_a_blob_is_read_on(self, room: RemoteRoom) -> None:
        """resume: the bytes from an offset on, from the start too; ContentMismatch for another size."""
        content = b"".join(bytes([n]) * 1000 for n in range(100))
        digest = Digest.of(content)
        room.holding.blobs[digest] = content
        for start in (0, 1, 55_555, len(content) - 1):
            for size in (len(content), None):
                body = await room.remote.blobs.resume(room.repository, digest, start, size)
                assert await read_to_end(body) == content[start:]
                body.close()
        asking = room.remote.blobs.resume(room.repository, digest, 1, len(content) + 1)
        assert isinstance(await outcome(asking), ContentMismatch)

    async def test_a_blob_is_opened_from_an_offset(self, room: RemoteRoom) -> None:
        """Its body begins there, or at 0 where the upstream likes that better; its size is the whole one."""
        content = b"".join(bytes([n]) * 1000 for n in range(100))
        digest = Digest.of(content)
        room.holding.blobs[digest] = content
        for start in (0, 1, 55_555, len(content) - 1):
            for validator in (None, '"another"'):
                blob = await room.remote.blobs.open_from(room.repository, digest, start, validator)
                verifyObject(IRangedBlob, blob)
                assert blob.size == len(content)
                assert blob.start in (0, start)
                assert validator is None or not blob.start
                assert await read_to_end(blob.body()) == content[blob.start :]
        elsewhere_too = room.remote.blobs.open_from(elsewhere(room.repository), digest, 1, None)
        assert isinstance(await outcome(elsewhere_too), NotFound)

    async def test_a_tag_moves_and_moves_back(self, room: RemoteRoom) -> None:
        """stat with what was known: what it is now."""
        room.holding.put_image(IMAGE, "latest")
        first = await room.remote.tags.get(room.repository, LATEST)
        room.holding.put_image(MOVED, "latest")
        second = await room.remote.tags.stat(room.repository, LATEST, first)
        assert second is not None
        assert (second.descriptor, second.manifest) == (MOVED.descriptor, None)
        room.holding.put_image(IMAGE, "latest")
        third = await room.remote.tags.stat(room.repository, LATEST, second)
        assert third is not None
        assert third.descriptor == IMAGE.descriptor

    async def test_what_is_not_there(self, room: RemoteRoom) -> None:
        """NotFound: an unknown tag, a tag that was known, an unknown repository."""
        room.holding.put_image(IMAGE, "latest")
        known = await room.remote.tags.get(room.repository, LATEST)
        absent, other, tags = Tag.parse("absent"), elsewhere(room.repository), room.remote.tags
        asked: list[Deferred[Any]] = [
            tags.get(room.repository, absent),
            tags.stat(room.repository, absent, None),
            tags.stat(room.repository, absent, known),
            tags.get(other, LATEST),
            tags.stat(other, LATEST, known),
            tags.list(other),
        ]
        for asking in asked:
            assert isinstance(await outcome(asking), NotFound)

    async def test_the_list_is_whole_and_sorted(self, room: RemoteRoom) -> None:
        """None at all, a few, more than a page (R94)."""
        room.holding.put_image(IMAGE)
        assert await room.remote.tags.list(room.repository) == ()
        names = [f"v{number}" for number in range(250)] + ["latest", "A", "_"]
        for name in names:
            room.holding.tags[name] = IMAGE.digest
        assert await room.remote.tags.list(room.repository) == tuple(sorted(names))

    async def test_errors_have_their_types(self, room: RemoteRoom) -> None:
        """By status, whatever was asked; and the upstream's name. Afterwards all is as before."""
        room.holding.put_image(IMAGE, "latest")
        for status, expected in ERRORS.items():
            room.answer(status)
            for asking in questions(room):
                error = await outcome(asking)
                assert type(error) is expected, (status, error)
                assert getattr(error, "upstream", None) == room.remote.name
        room.answer(None)
        got = await room.remote.tags.get(room.repository, LATEST)
        assert got.manifest == IMAGE.manifest

    async def test_throttled_tells_how_long(self, room: RemoteRoom) -> None:
        """Seconds, or None (R91)."""
        room.holding.put_image(IMAGE, "latest")
        for wish_s in (17, None):
            room.answer(429, wish_s)
            for asking in questions(room):
                error = await outcome(asking)
                assert isinstance(error, Throttled)
                assert error.retry_after_s == wish_s

    async def test_wrong_bytes_are_trouble(self, room: RemoteRoom) -> None:
        """A manifest asked for by digest: ContentMismatch (R13)."""
        room.holding.manifests[IMAGE.digest] = attrs.evolve(IMAGE.manifest, content=IMAGE.content + b" ")
        asking = room.remote.manifests.get(room.repository, IMAGE.digest)
        assert isinstance(await outcome(asking), ContentMismatch)

    async def test_credentials(self, room: RemoteRoom) -> None:
        """Nothing to say without any, nor against right ones; UpstreamRefused for wrong ones (R80)."""
        assert await outcome(room.remote.check_credentials()) is None
        assert await outcome(room.with_password(right=True).check_credentials()) is None
        refusal = await outcome(room.with_password(right=False).check_credentials())
        assert isinstance(refusal, UpstreamRefused)

    async def test_a_question_may_be_cancelled(self, room: RemoteRoom) -> None:
        """The others go on."""
        room.holding.put_image(IMAGE, "latest")
        gate = room.hold()
        first = room.remote.tags.get(room.repository, LATEST)
        second = room.remote.tags.get(room.repository, LATEST)
        await gate.arrived(2)
        first.cancel()
        await outcome(first)
        gate.open()
        assert (await second).manifest == IMAGE.manifest

    async def test_closing_ends_what_is_under_way(self, room: RemoteRoom) -> None:
        """A question and a body: TransferStopped; so for whoever asks afterwards. Twice is once."""
        room.holding.put_image(IMAGE, "latest")
        digest = room.stall(bytes(100_000), 10)
        body = (await room.remote.blobs.open(room.repository, digest)).body()
        await skip_here(body, 10)
        gate = room.hold()
        asking = room.remote.tags.get(room.repository, LATEST)
        await gate.arrived()
        await room.remote.close()
        assert isinstance(await outcome(asking), TransferStopped)
        assert isinstance(await outcome(read_to_end(body)), TransferStopped)
        for question in questions(room):
            assert isinstance(await outcome(question), TransferStopped)
        await room.remote.close()
