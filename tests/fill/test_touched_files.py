"""Files that were touched: the disk is the source then, and takes nothing."""

from __future__ import annotations

from regproxy.errors import (
    StorageFailed,
    UpstreamFailed,
)
from regproxy.oci.digest import Digest
from regproxy.testing.spools import MemorySpool
from tests.fill.refusing import CONTENT, LARGE
from tests.proxy.world import KIB, World, content_of, drain


class TestFilesThatWereTouched:
    """The disk is the source then, and takes nothing."""

    def touched(self, content: bytes) -> tuple[World, Digest]:
        world = World()
        repository = world.repository()
        digest = world.store.put_blob(repository, CONTENT)
        world.store.touch(digest, content)
        for operation in ("spool", "spool.reject", "spool.commit"):
            world.store.script.fail(operation, StorageFailed("the disk is read-only (EROFS)"))
        return world, digest

    def test_a_damaged_one_passes_at_the_first_pull(self):
        world, digest = self.touched(b"?" + CONTENT[1:-1] + b"?")
        world.remote.put_blob(world.repository(), CONTENT)
        for _ in range(2):
            assert content_of(world.open(world.repository(), digest).result) == CONTENT

    def test_a_right_one_is_served_and_asks_nobody(self):
        world, digest = self.touched(CONTENT)
        assert content_of(world.open(world.repository(), digest).result) == CONTENT
        assert world.upstream_calls() == 0

    def test_one_that_cannot_be_opened_is_fetched(self):
        world, digest = self.touched(CONTENT)
        world.store.script.fail("adopt", StorageFailed("the disk fails to read or write (EIO)"))
        world.remote.put_blob(world.repository(), CONTENT)
        assert content_of(world.open(world.repository(), digest).result) == CONTENT

    def test_one_that_cannot_be_read_to_its_end_is_fetched(self):
        world, digest = self.touched(CONTENT)
        world.remote.put_blob(world.repository(), CONTENT)
        world.store.script.fail("spool.append", StorageFailed("the disk fails to read or write (EIO)"))
        assert content_of(world.open(world.repository(), digest).result) == CONTENT
        assert world.asked("blobs.open") == 1

    def test_its_file_is_let_go_of(self, monkeypatch):
        opened, real = [], MemorySpool.file
        monkeypatch.setattr(MemorySpool, "file", lambda spool: opened.append(real(spool)) or opened[-1])
        world = World()
        digest = world.store.put_blob(world.repository(), CONTENT)
        world.store.touch(digest, CONTENT)
        world.remote.put_blob(world.repository(), CONTENT)
        failing = StorageFailed("the disk fails to read or write (EIO)")
        world.store.script.fail("spool.append", failing, times=1)
        assert content_of(world.open(world.repository(), digest).result) == CONTENT
        assert [file.closed for file in opened] == [True, True]

    def test_without_an_upstream_its_word_is_what_the_client_hears(self):
        world, digest = self.touched(b"?" + CONTENT[1:])
        world.remote.answer(503)
        assert world.open(world.repository(), digest).failed_with(UpstreamFailed)

    def test_nothing_is_told_of_it_before_it_is_hashed(self):
        world, digest = self.touched(b"?" + CONTENT[1:])
        world.remote.put_blob(world.repository(), CONTENT)
        gate = world.store.script.hold("spool.append", "spool.reject", times=1)
        asking = [world.open(world.repository(), digest) for _ in range(2)]
        assert all(seen.waiting for seen in asking)
        gate.open()
        bodies = [asking[0].result.body(), asking[1].result.body(5, 9)]
        assert [drain(body) for body in bodies] == [CONTENT, CONTENT[5:9]]
        assert asking[0].result.size == len(CONTENT)
        assert world.asked("blobs.open") == 1
        for body in bodies:
            body.close()

    def test_a_very_large_one_goes_out_while_it_is_hashed(self, monkeypatch):
        monkeypatch.setattr("regproxy.fill.fill.VERIFY_FIRST_BYTES", len(LARGE) - 1)
        world = World()
        digest = world.store.put_blob(world.repository(), LARGE)
        world.store.touch(digest, LARGE)
        gate = world.store.script.hold("spool.append", times=1)
        body = world.open(world.repository(), digest).result.body()
        real, early = MemorySpool._write, []

        async def write(spool, *what):
            early.append(body.read(16 * KIB))
            return await real(spool, *what)

        monkeypatch.setattr(MemorySpool, "_write", write)
        gate.open()
        assert b"".join(early[1:])
        assert b"".join(filter(None, early)) + drain(body) == LARGE
        body.close()

    def test_a_very_large_one_that_cannot_be_read_on_is_fetched_from_there(self, monkeypatch):
        monkeypatch.setattr("regproxy.fill.fill.VERIFY_FIRST_BYTES", len(CONTENT) - 1)
        world, digest = self.touched(CONTENT)
        world.remote.put_blob(world.repository(), CONTENT)
        world.store.script.fail("spool.append", StorageFailed("the disk fails to read or write (EIO)"))
        assert content_of(world.open(world.repository(), digest).result) == CONTENT
        assert (world.asked("blobs.open"), world.asked("blobs.resume")) == (0, 1)
