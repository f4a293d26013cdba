"""What a survey mends: links without content, content of another size; and what it must leave alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from regproxy.errors import ContentMissing, ContentUntrusted
from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.storage import mending
from regproxy.storage.footfall import Footfall, rest_s
from regproxy.storage.store import DiskStore
from regproxy.testing.checker import Fault, check
from tests.logged import logging
from tests.storage.conftest import CONTENT, DIGEST, NGINX, OTHER, REDIS, Folder, fill, reading
from tests.storage.watching import Watcher


async def test_links_without_content_go(folder: Folder, store: DiskStore) -> None:
    """Who asks next has it fetched; whoever keeps entries is told."""
    watcher = Watcher()
    store.watch(watcher)
    await fill(store, CONTENT, NGINX, OTHER)
    await fill(store, b"two")
    folder.blob(DIGEST).unlink()
    found = await store.survey()
    assert (found.links, found.links_removed, found.lost, found.whole) == (3, 2, (), True)
    assert store.link(NGINX, DIGEST) is None
    assert watcher.told.count("gone") == 2
    assert set(watcher.held) == {(NGINX, Digest.of(b"two"))}
    assert await reading(store)(NGINX, Digest.of(b"two")) == b"two"
    assert (await store.survey()).links_removed == 0


async def test_what_pins_keep_has_its_link_still(folder: Folder, store: DiskStore) -> None:
    await fill(store, CONTENT, NGINX, OTHER)
    store.survey_by(None, lambda key: key == f"{NGINX}@{DIGEST}")
    folder.blob(DIGEST).unlink()
    found = await store.survey()
    assert found.lost == ((NGINX, Kind.BLOB, DIGEST),)
    assert store.link(NGINX, DIGEST) is not None
    assert store.link(OTHER, DIGEST) is None


async def test_content_of_another_size_is_set_aside(folder: Folder, store: DiskStore) -> None:
    """It was so at the first open already; the survey takes it out of the way."""
    await fill(store, CONTENT, NGINX)
    path = folder.blob(DIGEST)
    path.chmod(0o640)
    os.truncate(path, 100)
    with pytest.raises(ContentMissing):
        await store.blobs.open(NGINX, DIGEST)
    found = await store.survey()
    assert (found.wrong, found.wrong_sizes, found.links_removed) == ((DIGEST,), 1, 1)
    assert folder.files("quarantine") == [f"quarantine/sha256-{DIGEST.hex}"]
    assert store.occupied.blobs == 0


async def test_one_link_that_says_another_size_is_the_wrong_one(folder: Folder, store: DiskStore) -> None:
    """Where another link and the file agree."""
    await fill(store, CONTENT, NGINX, OTHER)
    path = folder.root / "repositories/ghcr.io/a/b/c/_layers/sha256" / DIGEST.hex
    path.write_text(path.read_text().replace(str(len(CONTENT)), "77"))
    store = await folder.reopen()
    found = await store.survey()
    assert (found.wrong_sizes, found.links_removed) == (0, 1)
    assert store.link(OTHER, DIGEST) is None
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_nothing_goes_while_something_brings_it(folder: Folder, store: DiskStore) -> None:
    await fill(store)
    folder.blob(DIGEST).unlink()
    spool = await store.spool(DIGEST)
    assert (await store.survey()).links_removed == 0
    await spool.append([CONTENT])
    await spool.commit({NGINX: store.stamp(NGINX)})
    assert await reading(store)(NGINX, DIGEST) == CONTENT


async def test_a_folder_that_is_not_mounted_costs_nothing(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All content away at once is no accident of single files: links stay, and are right again with it."""
    monkeypatch.setattr(mending, "FEW", 2)
    digests = [await fill(store, b"%d" % number) for number in range(5)]
    os.rename(folder.root / "blobs", folder.root / "away")
    with logging() as logged:
        assert (await store.survey()).links_removed == 0
    assert any("5 of 5 links have no content" in line for line in logged.lines("error"))
    os.rename(folder.root / "away", folder.root / "blobs")
    for number, digest in enumerate(digests):
        assert await reading(store)(NGINX, digest) == b"%d" % number


async def test_what_cannot_be_looked_at_is_not_gone(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    monkeypatch.setattr(mending, "size_of", lambda path: None)
    assert (await store.survey()).links_removed == 0
    assert store.link(NGINX, DIGEST) is not None


async def test_a_survey_goes_at_its_pace(store: DiskStore) -> None:
    """1000 files a second: a slice of 128 takes an eighth of a second at least."""
    await fill(store)
    store.survey_by(1000, lambda key: False)
    from twisted.internet import reactor

    began_s = reactor.seconds()  # type: ignore[attr-defined]
    await store.survey()
    assert reactor.seconds() - began_s >= 0.1  # type: ignore[attr-defined]


async def test_closing_does_not_wait_for_a_slow_survey(folder: Folder) -> None:
    store = folder.open()
    await fill(store)
    store.survey_by(1, lambda key: False)
    surveyed = store.survey().addErrback(lambda failure: None)
    for _ in range(3):
        await store._own.run(int)
        await store._writer.run(int)
    await folder.close()
    await surveyed


def went(pace: Footfall, files: int) -> Callable[[], bool]:
    from twisted.internet.defer import Deferred

    done: list[object] = []
    Deferred.fromCoroutine(pace.went(files)).addBoth(done.append)
    return lambda: bool(done)


def test_rests() -> None:
    clock = Clock()
    pace = Footfall(clock, 100.0)
    assert went(pace, 1)(), "too short to be worth a rest"
    over = went(pace, 99)
    clock.advance(0.9)
    assert not over()
    clock.advance(0.2)
    assert over()
    assert went(Footfall(clock, None), 10**9)()
    assert not clock.getDelayedCalls()


def test_time_that_others_took_is_not_made_good_in_a_rush() -> None:
    clock = Clock()
    pace = Footfall(clock, 100.0)
    clock.advance(3600)
    assert went(pace, 100)()
    assert not went(pace, 100)()


def test_the_rest_of_so_many_files() -> None:
    assert (rest_s(100, 0.25, 100.0), rest_s(100, 2.0, 100.0)) == (0.75, 0.0)


async def test_one_link_that_cannot_be_removed_does_not_end_the_survey(
    folder: Folder, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would ever be told that everything was seen, and what pins keep would stay unknown."""
    watcher = Watcher()
    store.watch(watcher)
    await fill(store, CONTENT, NGINX, OTHER)
    folder.blob(DIGEST).unlink()
    unlink = os.unlink

    def failing(path: Path, **more: int) -> None:
        if f"{OTHER}/" in str(path):
            raise OSError(errno.EIO, "it rots")
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", failing)
    found = await store.survey()
    assert (found.whole, found.links_removed) == (True, 1)
    assert watcher.told[-1] == "surveyed"
    assert store.link(NGINX, DIGEST) is None
    assert store.link(OTHER, DIGEST) is not None


async def test_links_at_odds_agree_after_a_survey(folder: Folder, store: DiskStore) -> None:
    """Where one of them vouches for the file as it is, nothing has to be hashed; whichever came first."""
    await fill(store, CONTENT, NGINX, OTHER, REDIS)
    path = folder.blob(DIGEST)
    mtime_ns = path.stat().st_mtime_ns
    for place in ("docker.io/library/nginx", "ghcr.io/a/b/c"):
        link = folder.root / "repositories" / place / "_layers/sha256" / DIGEST.hex
        link.write_text(link.read_text().replace(str(mtime_ns), "5"))
    assert [finding.fault for finding in check(folder.root)] == [Fault.LINK_TIME] * 2
    store = await folder.reopen()
    found = await store.survey()
    assert (found.links, found.links_removed, found.wrong_sizes) == (3, 0, 0)
    assert check(folder.root, surveyed=True) == []
    assert path.stat().st_mtime_ns == mtime_ns
    for repository in (NGINX, OTHER, REDIS):
        assert await reading(store)(repository, DIGEST) == CONTENT


async def test_a_touched_file_that_no_link_vouches_for_is_not_trusted(
    folder: Folder, store: DiskStore
) -> None:
    """That links are at odds over it is no reason to."""
    await fill(store, CONTENT, NGINX, OTHER)
    path = folder.blob(DIGEST)
    link = folder.root / "repositories/ghcr.io/a/b/c/_layers/sha256" / DIGEST.hex
    link.write_text(link.read_text().replace(str(path.stat().st_mtime_ns), "5"))
    os.utime(path, ns=(7, 7))
    store = await folder.reopen()
    await store.survey()
    for repository in (NGINX, OTHER):
        with pytest.raises(ContentUntrusted):
            await store.blobs.open(repository, DIGEST)
