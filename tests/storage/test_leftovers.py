"""Spools that earlier fills have left: found at start, bounded, taken over, cleared away."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import StorageFailed, TransferStopped
from regproxy.interfaces import ISpool, Leftover, Validator
from regproxy.oci.digest import Digest
from regproxy.storage import durable, leftovers, maps, spool, syncing
from regproxy.storage.leftovers import LIFE_S, Left, surplus
from regproxy.storage.maps import SpoolMap, decode_map, encode_map
from regproxy.storage.store import DiskStore
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, Folder, fill, proofs, reading
from tests.storage.mortal import Killed, MortalOs

HALF = len(CONTENT) // 2
VALIDATOR = Validator(NGINX, '"abc"')


async def keep(store: DiskStore, count: int = HALF, content: bytes = CONTENT) -> Digest:
    """A spool of ``count`` bytes that was left."""
    digest = Digest.of(content)
    made = await store.spool(digest)
    await made.expect(len(content), VALIDATOR)
    await made.append([content[:count]])
    await made.keep()
    return digest


async def finish(store: DiskStore) -> None:
    """Take what was left over, and bring the rest."""
    made = await take(store)
    assert made.left is not None
    await made.expect(len(CONTENT))
    await made.place(made.left.start, [CONTENT[made.left.start :]])
    while await made.catch_up() < len(CONTENT):
        pass
    await made.commit(proofs(store, NGINX))
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def take(store: DiskStore) -> ISpool:
    made = await store.take(DIGEST)
    assert made is not None
    return made


def spools(folder: Folder) -> list[Path]:
    return sorted((folder.root / "fills").glob("*.spool"))


class TestAtStart:
    async def test_what_was_kept_is_there(self, folder: Folder) -> None:
        """After a clean stop."""
        await keep(folder.open())
        store = await folder.reopen()
        assert store.left(DIGEST) == Leftover(len(CONTENT), ((0, HALF),), VALIDATOR)
        await finish(store)
        assert folder.files("fills") == []

    async def test_what_had_reached_the_disk_at_a_kill_is_there(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And no byte more: the file ends with what its map claims."""
        monkeypatch.setattr(syncing, "EVERY_BYTES", 1000)
        store = folder.open()
        made = await store.spool(DIGEST)
        await made.expect(len(CONTENT), VALIDATOR)
        for offset, stop in ((0, 1500), (3000, 4000)):
            await made.place(offset, [CONTENT[offset:stop]])
            await made._syncing._settled()
        monkeypatch.setattr(syncing, "EVERY_BYTES", 1 << 30)
        await made.append([CONTENT[1500:2000]])
        made._close(None)  # as a kill would
        store = await folder.reopen()
        assert store.left(DIGEST) == Leftover(len(CONTENT), ((0, 1500), (3000, 4000)), VALIDATOR)
        [path] = spools(folder)
        assert path.stat().st_size == 4000
        taken = await take(store)
        await taken.place(1500, [CONTENT[1500:3000]])
        await taken.place(4000, [CONTENT[4000:]])
        while await taken.catch_up() < len(CONTENT):
            pass
        assert taken.matches()
        await taken.discard()

    async def test_nothing_is_read_of_the_bytes(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await keep(folder.open())
        await folder.close()
        read: list[str] = []
        real = os.pread

        def pread(descriptor: int, *rest: Any) -> bytes:
            read.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            return real(descriptor, *rest)

        monkeypatch.setattr(os, "pread", pread)
        store = folder.open()
        await store.survey()
        assert store.left(DIGEST) is not None
        assert [path for path in read if path.endswith(".spool")] == []

    @pytest.mark.parametrize("without", [".map", ".spool"])
    async def test_half_of_a_pair_is_removed(self, folder: Folder, without: str) -> None:
        await keep(folder.open())
        await folder.close()
        [path] = (folder.root / "fills").glob(f"*{without}")
        path.unlink()
        store = folder.open()
        assert (folder.files("fills"), store.left(DIGEST)) == ([], None)

    @pytest.mark.parametrize(
        "change",
        [
            {"version": 3},
            {"version": "2"},
            {"version": True},
            {"there": [[0, 10], [5, 20]]},
            {"there": [[0, 10], [10, 20]]},
            {"there": [[10, 20], [0, 5]]},
            {"there": [[-5, 10]]},
            {"there": [[0, len(CONTENT) + 1]]},
            {"there": [[0, 2**70]]},
            {"there": [[5, 5]]},
            {"there": [[0, 1.5]]},
            {"there": [[0]]},
            {"there": "0-10"},
            {"there": [[2 * n, 2 * n + 1] for n in range(2000)]},
            {"there": []},
            {"size": -1},
            {"size": None},
            {"validator": ["docker.io", "library/nginx", '"a"\r\nEvil: 1']},
            {"validator": ["docker.io", "../x", '"a"']},
            {"digest": str(Digest.of(b"other"))},
        ],
    )
    async def test_an_odd_map_costs_the_spool(self, folder: Folder, change: dict[str, Any]) -> None:
        """And nothing else."""
        await keep(folder.open())
        await folder.close()
        [path] = (folder.root / "fills").glob("*.map")
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        store = folder.open()
        assert (folder.files("fills"), store.left(DIGEST)) == ([], None)
        assert store.left(Digest.of(b"other")) is None
        await fill(store)

    async def test_a_map_of_the_version_before_claims_nothing(self, folder: Folder) -> None:
        """Its spool goes, as it went then."""
        await keep(folder.open())
        await folder.close()
        [path] = (folder.root / "fills").glob("*.map")
        record = json.loads(path.read_text())
        del record["version"]
        path.write_text(json.dumps(record))
        assert decode_map(path.read_bytes()) == SpoolMap(DIGEST, len(CONTENT))
        folder.open()
        assert folder.files("fills") == []

    async def test_a_spool_that_is_too_short_or_no_file(self, folder: Folder) -> None:
        for spoil in (
            lambda path: os.truncate(path, HALF - 1),
            lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
            lambda path: (path.unlink(), path.mkdir()),
        ):
            await keep(folder.open())
            await folder.close()
            spoil(spools(folder)[0])
            store = folder.open()
            assert store.left(DIGEST) is None
            for path in spools(folder):
                path.rmdir()
            assert folder.files("fills") == []
            await folder.close()

    async def test_one_that_was_cut_while_we_ran(self, folder: Folder) -> None:
        """It is looked at again when it is taken."""
        store = folder.open()
        await keep(store)
        os.truncate(spools(folder)[0], 10)
        assert await store.take(DIGEST) is None
        assert folder.files("fills") == []

    async def test_a_blob_that_is_complete_needs_none(self, folder: Folder) -> None:
        store = folder.open()
        await keep(store)
        kept = {path: path.read_bytes() for path in (folder.root / "fills").iterdir()}
        await fill(store)
        assert folder.files("fills") == []
        await folder.close()
        for path, content in kept.items():
            path.write_bytes(content)
        folder.open()
        assert folder.files("fills") == []

    async def test_a_disk_that_takes_no_writes_stops_no_start(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is known of it is known."""
        await keep(folder.open())
        await folder.close()
        [path] = spools(folder)
        os.truncate(path, len(CONTENT))  # as a kill leaves it
        with monkeypatch.context() as patch:
            error = OSError(errno.EROFS, os.strerror(errno.EROFS))
            patch.setattr(durable, "os", MortalOs(1, error))
            folder.open()


class TestBounds:
    async def test_they_go_after_a_day(self, folder: Folder) -> None:
        """At the next survey, or start."""
        for again in (True, False):
            store = folder.open()
            await keep(store)
            folder.wall.now_s += LIFE_S - 1
            store = await folder.reopen()
            await store.survey()
            assert store.left(DIGEST) is not None
            folder.wall.now_s += 1
            if again:
                store = await folder.reopen()
            else:
                await store.survey()
            assert store.left(DIGEST) is None
            assert folder.files("fills") == []
            await folder.close()

    async def test_or_when_something_else_is_fetched(self, folder: Folder) -> None:
        """Surveys are a week apart."""
        store = folder.open()
        await keep(store)
        for more_s, there in ((LIFE_S - 1, True), (1, False)):
            folder.wall.now_s += more_s
            made = await store.spool(Digest.of(b"other"))
            assert (store.left(DIGEST) is not None) is there
            await made.discard()
        assert folder.files("fills") == []
        assert store.disk_use().spools == 0

    async def test_the_oldest_make_way(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leftovers, "MOST", 2)
        store = folder.open()
        digests = []
        for number in range(4):
            folder.wall.now_s += 1
            digests.append(await keep(store, 10, CONTENT + bytes([number])))
        assert [store.left(digest) is not None for digest in digests] == [False, False, True, True]
        assert len(spools(folder)) == 2
        assert store.occupied.spools == 2
        assert store.occupied.spool_bytes == sum(path.stat().st_blocks * 512 for path in spools(folder))

    async def test_a_full_disk_has_their_room(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        """They go before a pull that somebody waits for is not kept."""
        store = folder.open()
        await keep(store)
        made = await store.spool(Digest.of(b"other"))
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real, tried = durable.allocate, []

        def allocate(descriptor: int, size_bytes: int) -> None:
            tried.append(size_bytes)
            if len(tried) == 1:
                raise full
            real(descriptor, size_bytes)

        monkeypatch.setattr(durable, "allocate", allocate)
        await made.expect(1000)
        assert (store.left(DIGEST), len(tried)) == (None, 2)
        tried.clear()
        with pytest.raises(StorageFailed):
            await made.expect(1000)
        assert len(tried) == 1, "there is nothing more to remove"
        await made.discard()

    async def test_so_has_a_spool_that_is_made(
        self, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where not even a map has room, nothing would be kept before their time is over."""
        await keep(store)
        full = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real, tried = durable.write_atomic, []

        def write_atomic(path: Path, content: bytes) -> None:
            tried.append(path)
            if len(tried) == 1:
                raise full
            real(path, content)

        monkeypatch.setattr(durable, "write_atomic", write_atomic)
        made = await store.spool(Digest.of(b"other"))
        assert (store.left(DIGEST), len(tried)) == (None, 2)
        await made.discard()

    @pytest.mark.parametrize("left", [True, False])
    async def test_so_has_a_disk_that_is_looked_at(
        self, store: DiskStore, monkeypatch: pytest.MonkeyPatch, left: bool
    ) -> None:
        """Whatever was refused, a manifest, say: the next look finds that there is room."""
        if left:
            await keep(store)
        real = durable.try_write

        def try_write(folder: Path, size_bytes: int) -> None:
            if store.left(DIGEST) is not None or not left:
                raise OSError(errno.ENOSPC, "full")
            real(folder, size_bytes)

        monkeypatch.setattr(durable, "try_write", try_write)
        error = await store._writer.run(store.look_for_room)
        assert (error is None) is left
        assert store.left(DIGEST) is None

    async def test_so_has_one_that_fills_in_the_middle(
        self, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await keep(store)
        made = await store.spool(Digest.of(b"other"))
        with monkeypatch.context() as patch:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            patch.setattr(durable, "os", MortalOs(1, full, late=True, final=False))
            assert await made.append([b"other"]) == 5
        assert store.left(DIGEST) is None
        await made.commit(proofs(store, NGINX))
        assert await reading(store)(NGINX, Digest.of(b"other")) == b"other"

    @given(
        st.lists(
            st.builds(
                Left,
                st.uuids().map(str),
                st.builds(
                    SpoolMap,
                    st.integers(0, 5).map(lambda number: Digest.of(bytes([number]))),
                    st.just(100),
                    there=st.integers(1, 99).map(lambda stop: ((0, stop),)),
                    written_s=st.floats(0, 2 * LIFE_S),
                ),
                st.integers(0, leftovers.MOST_BYTES),
            ),
            max_size=12,
        ),
        st.floats(0, 3 * LIFE_S),
    )
    def test_the_rule(self, left: list[Left], now_s: float) -> None:
        """Within all bounds, one of each digest, nothing that is old; what fits alone stays alone."""
        gone = surplus(left, now_s)
        kept = [one for one in left if one not in gone]
        assert len(kept) <= leftovers.MOST
        assert sum(one.disk_bytes for one in kept) <= leftovers.MOST_BYTES
        assert len({one.map.digest for one in kept}) == len(kept)
        assert all(now_s - one.map.written_s < LIFE_S for one in kept)
        if len(left) == 1:
            assert bool(kept) is (now_s - left[0].map.written_s < LIFE_S)

    async def test_a_survey_leaves_them_alone(self, folder: Folder) -> None:
        store = folder.open()
        await keep(store)
        found = await store.survey()
        assert (found.spools, found.spools_removed) == (1, 0)
        await finish(store)


class TestClaims:
    async def test_are_written_after_the_sync(
        self, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In the thread that syncs, and each names only what was written before its sync began."""
        monkeypatch.setattr(syncing, "EVERY_BYTES", 1000)
        steps: list[tuple[str, object]] = []
        real_sync, real_write = durable.sync_data, durable.write_soon

        def sync_data(descriptor: int) -> None:
            steps.append(("sync", threading.current_thread().name))
            real_sync(descriptor)

        def write_soon(path: Path, content: bytes) -> None:
            claimed = decode_map(content)
            assert claimed is not None
            steps.append(("claim", claimed.there))
            real_write(path, content)

        monkeypatch.setattr(durable, "sync_data", sync_data)
        monkeypatch.setattr(durable, "write_soon", write_soon)
        made = await store.spool(DIGEST)
        await made.expect(len(CONTENT))
        for start in range(0, 4000, 500):
            await made.append([CONTENT[start : start + 500]])
            await made._syncing._settled()
        assert steps == [
            step
            for stop in (1000, 2000, 3000, 4000)
            for step in (("sync", "regproxy-syncer"), ("claim", ((0, stop),)))
        ]
        await made.discard()

    async def test_are_none_for_each_batch(self, store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """The way of the bytes has no sync and no map in it."""
        made = await store.spool(DIGEST)
        await made.expect(len(CONTENT))
        seen = MortalOs(10**6, OSError())
        monkeypatch.setattr(durable, "os", seen)
        for start in range(0, len(CONTENT), 100):
            await made.append([CONTENT[start : start + 100]])
        assert {name for name, _ in seen.steps} == {"pwrite"}
        await made.discard()

    async def test_come_in_time_on_a_slow_line(
        self, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Few bytes a second are claimed too, every EVERY_S."""
        monkeypatch.setattr(syncing, "ALONE_BYTES", 100)
        monkeypatch.setattr(syncing, "EVERY_S", 0.0)
        made = await store.spool(DIGEST)
        await made.expect(len(CONTENT))
        await made.append([CONTENT[:99]])
        assert made._syncing._running is None
        await made.append([CONTENT[99:200]])
        await made._syncing._settled()
        assert made._map.known.there == ((0, 200),)
        await made.discard()

    async def test_a_sync_that_failed_claims_nothing(
        self, folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(descriptor: int) -> None:
            raise OSError(errno.EIO, "lost")

        monkeypatch.setattr(durable, "sync_data", refuse)
        made = await store.spool(DIGEST)
        await made.expect(len(CONTENT))
        await made.append([CONTENT[:100]])
        await made.keep()
        assert (store.left(DIGEST), folder.files("fills")) == (None, [])

    async def test_a_claim_that_cannot_be_written_costs_the_claim(
        self, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not the blob."""
        monkeypatch.setattr(syncing, "EVERY_BYTES", 1000)
        with monkeypatch.context() as patch:

            def full(path: Path, content: bytes) -> None:
                raise OSError(errno.ENOSPC, "full")

            patch.setattr(durable, "write_soon", full)
            made = await store.spool(DIGEST)
            await made.append([CONTENT])
            await made._syncing._settled()
        await made.commit(proofs(store, NGINX))
        assert await reading(store)(NGINX, DIGEST) == CONTENT

    async def test_none_comes_after_the_end(
        self, folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A sync that ends when the spool is gone brings no map back."""
        monkeypatch.setattr(syncing, "EVERY_BYTES", 1000)
        gate = threading.Event()
        monkeypatch.setattr(durable, "sync_data", lambda descriptor: gate.wait(10))
        made = await store.spool(DIGEST)
        await made.append([CONTENT])
        await made.reject()
        assert folder.files("fills") == []
        gate.set()
        await made._syncing._settled()
        assert folder.files("fills") == []

    def test_more_islands_than_a_map_holds_are_left_out(self) -> None:
        there = tuple((2 * n, 2 * n + 1) for n in range(maps.MAX_EXTENTS + 5))
        known = SpoolMap(DIGEST, 10**6, there=there)
        assert decode_map(encode_map(known)) == attrs.evolve(known, there=there[: maps.MAX_EXTENTS])


class TestHashingAgain:
    async def test_is_done_in_slices_in_a_thread_of_its_own(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The writer's thread is free for other fills meanwhile."""
        monkeypatch.setattr(spool, "CATCH_UP_BYTES", 4000)
        store = folder.open()
        await keep(store)
        store = await folder.reopen()
        taken, names, gate = await take(store), [], threading.Event()
        real = taken._hash_up_to

        def hash_up_to(stop: int) -> None:
            names.append((threading.current_thread().name, stop))
            gate.wait(10)
            real(stop)

        monkeypatch.setattr(taken, "_hash_up_to", hash_up_to)
        hashing = taken.catch_up()
        await fill(store, b"another blob")
        assert await taken.place(HALF, [CONTENT[HALF : HALF + 100]]) == 0, "its own bytes go on too"
        gate.set()
        assert await hashing == 4000
        assert await taken.catch_up() == 8000
        assert await taken.catch_up() == HALF + 100
        assert names[:3] == [("regproxy-hasher", stop) for stop in (4000, 8000, HALF)]
        assert names[3:] == [("regproxy-writer", HALF + 100)]
        await taken.discard()

    @pytest.mark.parametrize("end", ["discard", "reject", "keep"])
    async def test_let_go_of_while_it_is_hashed(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        """The descriptor is closed behind that, or its number would be another file's."""
        store = folder.open()
        await keep(store)
        taken, gate = await take(store), threading.Event()
        real, seen = taken._hash_up_to, []

        def hash_up_to(stop: int) -> None:
            gate.wait(10)
            seen.append(os.readlink(f"/proc/self/fd/{taken.descriptor}"))
            real(stop)

        monkeypatch.setattr(taken, "_hash_up_to", hash_up_to)
        hashing = taken.catch_up()
        ending = getattr(taken, end)()
        other = await store.spool(Digest.of(b"x"))
        await other.append([b"x"])
        gate.set()
        await ending
        with contextlib.suppress(TransferStopped):
            await hashing
        assert [name for name in seen if not name.endswith(".spool")] == []
        assert seen
        assert taken.front == HALF
        await other.discard()

    async def test_a_spool_that_was_cut_meanwhile(self, folder: Folder) -> None:
        """StorageFailed, as of a disk that does not give back what it took."""
        store = folder.open()
        await keep(store)
        taken = await take(store)
        os.truncate(spools(folder)[0], 10)
        with pytest.raises(StorageFailed):
            await taken.catch_up()
        await taken.discard()


@pytest.mark.parametrize("late", [False, True])
async def test_kill_at_each_step_of_a_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Left, taken, left again, taken, committed: after a kill the next one goes on, or begins anew."""
    outcomes: set[str] = set()
    for at in range(1, 150):
        folder = Folder(tmp_path / str(at))
        store = folder.open()
        mortal = MortalOs(at, Killed, late)
        opened: list[Any] = []
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", mortal)
            with contextlib.suppress(Killed, StorageFailed):
                await a_life(store, opened)
            for one in opened:
                one._close(None)
        await folder.close()
        monkeypatch.setattr(durable, "PROCESS", f"{at:016x}")
        store = folder.open()
        left = store.left(DIGEST)
        if store.holds(DIGEST) is not None:
            outcomes.add("whole")
            assert await reading(store)(NGINX, DIGEST) == CONTENT
            assert left is None
        elif left is not None:
            outcomes.add(f"{left.start}")
            await finish(store)
        else:
            outcomes.add("nothing")
        await store.survey()
        assert folder.files("fills") == []
        await fill(store, CONTENT, OTHER)
        assert await reading(store)(OTHER, DIGEST) == CONTENT
        await folder.close()
        if not mortal.reached:
            break
    else:
        pytest.fail("the scenario has more steps than were tried")
    assert outcomes == {"nothing", "1000", "2000", "whole"}


async def a_life(store: DiskStore, opened: list[Any]) -> None:
    opened.append(await store.spool(DIGEST))
    await opened[-1].expect(len(CONTENT))
    await opened[-1].append([CONTENT[:1000]])
    await opened[-1].keep()
    opened.append(await take(store))
    await opened[-1].expect(len(CONTENT))
    await opened[-1].place(1000, [CONTENT[1000:2000]])
    await opened[-1].keep()
    opened.append(await take(store))
    await opened[-1].expect(len(CONTENT))
    await opened[-1].place(2000, [CONTENT[2000:]])
    while await opened[-1].catch_up() < len(CONTENT):
        pass
    await opened[-1].commit(proofs(store, NGINX))
