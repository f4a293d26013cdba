"""The doubles in memory do what a script says; that they keep the contracts, tests/contracts shows."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from regproxy import interfaces
from regproxy.errors import (
    ContentMissing,
    ContentUntrusted,
    NotFound,
    StorageFailed,
    TransferStopped,
    UpstreamFailed,
)
from regproxy.interfaces import How, Kind, RemoteTag, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.testing.bodies import Feed, MemoryBlob
from regproxy.testing.contracts import read_to_end
from regproxy.testing.images import make_image
from regproxy.testing.remotes import MemoryRemote
from regproxy.testing.store_contract import proofs
from regproxy.testing.stores import MemoryStore

REPOSITORY = Repository.parse("registry.test", "team/app")
OTHER = Repository.parse("registry.test", "team/other")
IMAGE = make_image()
LATEST = Tag.parse("latest")


@pytest.fixture
def store() -> MemoryStore:
    clock = Clock()
    clock.advance(1000)
    return MemoryStore(clock)


@pytest.fixture
def remote() -> MemoryRemote:
    return MemoryRemote("registry.test")


async def error_of(work: Deferred[object]) -> BaseException:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        await work
    return raised.value


async def test_they_provide_their_interfaces(store: MemoryStore, remote: MemoryRemote) -> None:
    assert verifyObject(interfaces.ILocalStore, store)
    assert verifyObject(interfaces.IBlobSource, store.blobs)
    assert verifyObject(interfaces.IManifestSource, store.manifests)
    assert verifyObject(interfaces.IRemoteRegistry, remote)
    assert verifyObject(interfaces.IRemoteTags, remote.tags)
    spool = await store.spool(IMAGE.digest)
    assert verifyObject(interfaces.ISpool, spool)
    assert verifyObject(interfaces.IFile, spool.file())
    blob = MemoryBlob(Feed(3))
    assert verifyObject(interfaces.IBlob, blob)
    assert verifyObject(interfaces.IBody, blob.body())


async def test_a_body_gets_its_bytes_when_they_are_given(remote: MemoryRemote) -> None:
    digest = Digest.of(b"onetwo")
    feed = remote.feed(REPOSITORY, digest, Feed(6))
    body = (await remote.blobs.open(REPOSITORY, digest)).body()
    waiting = body.ready()
    feed.give(b"one")
    assert waiting.called
    assert (body.read(10), body.read(10)) == (b"one", None)
    feed.give(b"two")
    assert (body.read(10), body.read(10)) == (b"two", b"")
    assert feed.open_count == 1
    body.close()
    assert feed.open_count == 0


async def test_a_failed_body_gives_what_came_then_the_error(remote: MemoryRemote) -> None:
    digest = Digest.of(b"x")
    feed = remote.feed(REPOSITORY, digest, Feed(10))
    body = (await remote.blobs.open(REPOSITORY, digest)).body()
    waiting = body.ready()
    feed.give(b"some")
    feed.fail(UpstreamFailed("registry.test", "it broke"))
    assert waiting.called
    assert body.read(10) == b"some"
    with pytest.raises(UpstreamFailed):
        body.read(10)


async def test_a_body_of_unknown_size_ends_when_told() -> None:
    feed = Feed(None)
    blob = MemoryBlob(feed, How.MISS)
    with pytest.raises(ValueError, match="not known"):
        blob.body(1)
    body = blob.body()
    feed.give(b"abc")
    assert (body.read(9), body.read(9)) == (b"abc", None)
    feed.end()
    assert body.read(9) == b""


async def test_wrong_use_of_a_body_is_an_error() -> None:
    blob = MemoryBlob(Feed(3))
    with pytest.raises(ValueError, match="span"):
        blob.body(2, 9)
    body = blob.body()
    with pytest.raises(RuntimeError):
        blob.body()
    waiting = body.ready()
    with pytest.raises(RuntimeError):
        body.ready()
    body.close()
    assert isinstance(await error_of(waiting), TransferStopped)
    with pytest.raises(TransferStopped):
        body.read(1)


async def test_remote_fails_and_waits_by_script_and_logs_calls(remote: MemoryRemote) -> None:
    remote.put_image(REPOSITORY, "latest", IMAGE)
    remote.script.fail("tags.get", NotFound("registry.test", "gone"), times=1, repository=REPOSITORY)
    assert isinstance(await error_of(remote.tags.get(REPOSITORY, LATEST)), NotFound)
    gate = remote.script.hold("tags.get", reference=LATEST)
    waiting = remote.tags.get(REPOSITORY, LATEST)
    assert (waiting.called, gate.arrived_count) == (False, 1)
    gate.open()
    assert (await waiting).manifest == IMAGE.manifest
    assert remote.script.count("tags.get") == 2
    remote.script.fail("tags.list", UpstreamFailed("registry.test", "500"))
    remote.script.heal()
    assert await remote.tags.list(REPOSITORY) == ("latest",)


async def test_remote_tag_stat_knows_what_has_not_changed(remote: MemoryRemote) -> None:
    remote.put_image(REPOSITORY, "latest", IMAGE)
    seen = await remote.tags.stat(REPOSITORY, LATEST, None)
    assert seen == RemoteTag(IMAGE.descriptor, f'"{IMAGE.digest}"', None)
    assert await remote.tags.stat(REPOSITORY, LATEST, seen) is None
    moved = remote.put_image(REPOSITORY, "latest", make_image(labels={"n": "2"}))
    after = await remote.tags.stat(REPOSITORY, LATEST, seen)
    assert after is not None
    assert after.descriptor == moved.descriptor


async def test_spool_grows_is_read_meanwhile_and_commits(store: MemoryStore) -> None:
    digest = Digest.of(b"hello world")
    spool = await store.spool(digest)
    reader = spool.file()
    assert await spool.append([b"hel", b"lo"]) == 5
    assert (reader.read_at(0, 99), spool.matches()) == (b"hello", False)
    assert store.holds(digest) is None
    await spool.append([b" world"])
    assert spool.matches()
    await spool.commit(proofs(store, REPOSITORY))
    assert store.holds(digest) == 11
    assert reader.read_at(6, 99) == b"world"
    await spool.discard()
    blob = await store.blobs.open(REPOSITORY, digest)
    assert await read_to_end(blob.body()) == b"hello world"
    assert isinstance(await error_of(store.blobs.stat(OTHER, digest)), ContentMissing)
    await store.grant(OTHER, digest, Kind.BLOB, "application/octet-stream", "head", store.stamp(OTHER))
    assert await store.blobs.stat(OTHER, digest) == 11


async def test_wrong_bytes_are_not_committed(store: MemoryStore) -> None:
    spool = await store.spool(Digest.of(b"right"))
    await spool.append([b"wrong"])
    assert isinstance(await error_of(spool.commit(proofs(store, REPOSITORY))), StorageFailed)
    assert store.contents == {}


async def test_a_full_disk_refuses(store: MemoryStore) -> None:
    store.room_bytes = 10
    spool = await store.spool(Digest.of(b"x"))
    assert isinstance(await error_of(spool.expect(11)), StorageFailed)
    await spool.append([b"0123456789"])
    assert isinstance(await error_of(spool.append([b"a"])), StorageFailed)
    assert spool.front == 10


async def test_touched_blob_is_not_trusted_until_hashed_again(store: MemoryStore) -> None:
    digest = store.put_blob(REPOSITORY, b"content")
    store.touch(digest)
    assert isinstance(await error_of(store.blobs.open(REPOSITORY, digest)), ContentUntrusted)
    spool, blob = await store.adopt(digest)
    await spool.append([await read_to_end(blob.body())])
    await spool.commit({})
    assert await store.blobs.stat(REPOSITORY, digest) == 7


async def test_a_spoilt_blob_is_quarantined(store: MemoryStore) -> None:
    digest = store.put_blob(REPOSITORY, b"content")
    store.touch(digest, b"spoiled")
    spool, blob = await store.adopt(digest)
    await spool.append([await read_to_end(blob.body())])
    assert not spool.matches()
    await spool.reject()
    assert (store.holds(digest), store.quarantined) == (None, {digest: b"spoiled"})


async def test_a_removed_or_short_file_is_missing(store: MemoryStore) -> None:
    digest = store.put_blob(REPOSITORY, b"content")
    store.touch(digest, b"short")
    assert isinstance(await error_of(store.blobs.stat(REPOSITORY, digest)), ContentMissing)
    store.remove(digest)
    assert isinstance(await error_of(store.blobs.stat(REPOSITORY, digest)), ContentMissing)
    assert isinstance(
        await error_of(store.grant(REPOSITORY, digest, Kind.BLOB, "x", "head", store.stamp(REPOSITORY))),
        ContentMissing,
    )


async def test_a_manifest_is_served_as_a_blob_too_but_not_the_reverse(store: MemoryStore) -> None:
    store.put_image(REPOSITORY, IMAGE)
    assert await store.blobs.stat(REPOSITORY, IMAGE.digest) == len(IMAGE.content)
    held = store.link(REPOSITORY, IMAGE.digest)
    assert held is not None
    assert (held[0], held[1].media_type) == (Kind.MANIFEST, IMAGE.media_type)
    layer = next(iter(IMAGE.blobs))
    assert isinstance(await error_of(store.manifests.get(REPOSITORY, layer)), ContentMissing)


async def test_tags_carry_their_history(store: MemoryStore) -> None:
    for number in range(25):
        image = make_image(labels={"n": str(number)})
        await store.set_tag(REPOSITORY, LATEST, TagRecord(image.descriptor, None, float(number)))
        await store.set_tag(REPOSITORY, LATEST, TagRecord(image.descriptor, None, number + 0.5))
    record = store.tag(REPOSITORY, LATEST)
    assert record is not None
    assert [(seen.first_s, seen.last_s) for seen in record.history] == [(n, n + 0.5) for n in range(5, 25)]
    assert await store.tags(REPOSITORY) == ("latest",)
    await store.drop_tag(REPOSITORY, LATEST)
    await store.drop_tag(REPOSITORY, LATEST)
    assert (store.tag(REPOSITORY, LATEST), await store.tags(REPOSITORY)) == (None, ())


async def test_revocation_has_a_time(store: MemoryStore) -> None:
    assert store.revoked_s(REPOSITORY) == 0.0
    await store.revoke(REPOSITORY)
    assert (store.revoked_s(REPOSITORY), store.revoked_s(OTHER)) == (1000.0, 0.0)


@pytest.mark.parametrize("time_s", [0, 1000])
async def test_a_revoked_link_serves_nothing_until_it_is_made_again(time_s: int) -> None:
    clock = Clock()
    clock.advance(time_s)
    store = MemoryStore(clock)
    store.put_image(REPOSITORY, IMAGE)
    store.put_blob(OTHER, content := b"shared")
    digest = store.put_blob(REPOSITORY, content)
    await store.revoke(REPOSITORY)
    for work in (store.blobs.open, store.blobs.stat):
        assert isinstance(await error_of(work(REPOSITORY, digest)), ContentMissing)
    assert isinstance(await error_of(store.manifests.get(REPOSITORY, IMAGE.digest)), ContentMissing)
    assert await store.blobs.stat(OTHER, digest) == 6
    await store.grant(
        REPOSITORY, digest, Kind.BLOB, "application/octet-stream", "head", store.stamp(REPOSITORY)
    )
    assert await store.blobs.stat(REPOSITORY, digest) == 6


async def test_cold_files_must_be_warmed(store: MemoryStore) -> None:
    store.cold = True
    spool = await store.spool(Digest.of(b"abc"))
    await spool.append([b"abc"])
    file = spool.file()
    assert file.read_at(0, 3) is None
    await file.warm(0, 3)
    assert file.read_at(1, 9) == b"bc"
    file.close()
    with pytest.raises(TransferStopped):
        file.read_at(0, 1)
