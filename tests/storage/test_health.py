"""The disk's health: one line when trouble begins, one when it ends, a reason meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from regproxy.errors import StorageFailed
from regproxy.oci.digest import Digest
from regproxy.storage import durable
from regproxy.storage.health import LONGEST_QUIET_S, PROBE_S, ROOMY_BYTES, DiskHealth, probe
from regproxy.storage.layout import Layout
from regproxy.storage.opening import open_store
from regproxy.storage.thread import DiskThread

FULL = OSError(errno.ENOSPC, "No space left on device")
READ_ONLY = OSError(errno.EROFS, "Read-only file system")


class Room:
    """What statvfs says of a disk."""

    def __init__(self, free_bytes: int = 0, free_files: int = 100_000) -> None:
        self.f_frsize, self.f_bavail = 1, free_bytes
        self.f_files, self.f_favail = 200_000, free_files


class Patient:
    """A disk's health, its clock, and what a test write would say."""

    def __init__(self, root: Path = Path("/srv/mirror")) -> None:
        self.clock = Clock()
        self.answer: Deferred[OSError | None] | None = None
        self.error: OSError | None = None
        self.probes = 0
        self.counted: list[str] = []
        self.health = DiskHealth(root, self.clock, self.probe)
        self.health.counted = self.counted.append

    def probe(self) -> Deferred[OSError | None]:
        self.probes += 1
        return self.answer or succeed(self.error)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    told: list[str] = []

    def note(event: LogEvent) -> None:
        if event["log_level"].name in ("warn", "error", "critical", "info"):
            told.append(formatEvent(event))

    globalLogPublisher.addObserver(note)
    yield told
    globalLogPublisher.removeObserver(note)


@pytest.fixture(autouse=True)
def _no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regproxy.storage.health.os.statvfs", lambda path: Room(12 << 20))


class TestTrouble:
    def test_all_is_well_and_nobody_asks_the_disk(self) -> None:
        patient = Patient()
        patient.clock.advance(10 * PROBE_S)
        assert (patient.health.reason, patient.probes) == (None, 0)

    def test_many_refusals_are_one_line(self, lines: list[str]) -> None:
        patient = Patient()
        assert all(patient.health.refused(FULL) for _ in range(100))
        [line] = lines
        assert line == (
            "/srv/mirror takes no writes: the disk is full (ENOSPC), 12 MiB free. Pulls go on: what is there "
            "is served, the rest passes through and is not kept. To do: make room on it, or give "
            "storage.root a larger one. It is tried again every 30 s."
        )
        patient.clock.advance(5)
        assert patient.health.reason == (
            "the storage folder takes no writes: the disk is full (ENOSPC), for 5 s"
        )
        assert patient.counted == ["full"] * 100
        patient.health.close()

    @pytest.mark.parametrize(
        ("number", "reason", "word"),
        [
            (errno.ENOSPC, "full", "full"),
            (errno.EDQUOT, "full", "quota"),
            (errno.EROFS, "read-only", "read-only"),
            (errno.EIO, "other", "fails to read or write"),
            (errno.EACCES, "other", "may not do this"),
        ],
    )
    def test_each_kind_has_its_reason(self, number: int, reason: str, word: str) -> None:
        patient = Patient()
        assert patient.health.refused(OSError(number, os.strerror(number)))
        assert word in str(patient.health.reason)
        assert patient.health.trouble is not None
        assert patient.health.trouble.reason == reason
        patient.health.close()

    @pytest.mark.parametrize("number", [errno.ENOENT, errno.EMFILE, errno.EEXIST, errno.ENOTDIR])
    def test_what_is_no_trouble_of_the_disk(self, number: int) -> None:
        patient = Patient()
        assert not patient.health.refused(OSError(number, "x"))
        assert (patient.health.reason, patient.counted) == (None, [])

    def test_one_file_that_is_too_large_is_counted_only(self) -> None:
        patient = Patient()
        assert not patient.health.refused(OSError(errno.EFBIG, "x"))
        assert (patient.health.reason, patient.counted) == (None, ["other"])

    def test_so_is_a_blob_larger_than_a_roomy_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Or an upstream could make us say that the disk is full."""
        monkeypatch.setattr("regproxy.storage.health.os.statvfs", lambda path: Room(ROOMY_BYTES))
        patient = Patient()
        assert not patient.health.refused(FULL)
        assert (patient.health.reason, patient.counted) == (None, ["full"])

    def test_no_room_for_files_is_full_too(self, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
        monkeypatch.setattr("regproxy.storage.health.os.statvfs", lambda path: Room(ROOMY_BYTES, 3))
        patient = Patient()
        assert patient.health.refused(FULL)
        assert "1024 MiB free, room for 3 files." in lines[0]
        patient.health.close()

    def test_a_folder_that_is_gone_is_told_without_figures(
        self, monkeypatch: pytest.MonkeyPatch, lines: list[str]
    ) -> None:
        def gone(path: object) -> Room:
            raise OSError(errno.ENOENT, "gone")

        monkeypatch.setattr("regproxy.storage.health.os.statvfs", gone)
        patient = Patient()
        assert patient.health.refused(FULL)
        assert "how much is free cannot be told" in lines[0]
        patient.health.close()


class TestRecovery:
    def test_a_write_that_works_ends_it(self, lines: list[str]) -> None:
        patient = Patient()
        patient.health.refused(READ_ONLY)
        patient.health.refused(READ_ONLY)
        patient.error = READ_ONLY
        patient.clock.pump([PROBE_S] * 3)
        assert (patient.probes, len(lines)) == (3, 1)
        assert patient.health.reason is not None
        patient.error = None
        patient.clock.advance(PROBE_S)
        assert patient.health.reason is None
        assert lines[1:] == [
            "/srv/mirror takes writes again, after 120 s and 2 refusals: content is kept again"
        ]
        patient.clock.advance(10 * PROBE_S)
        assert patient.probes == 4
        assert patient.clock.getDelayedCalls() == []

    def test_not_while_something_is_refused(self) -> None:
        """A small file may find room where a blob does not."""
        patient = Patient()
        for _ in range(5):
            patient.health.refused(FULL)
            patient.clock.advance(PROBE_S - 1)
            patient.health.refused(FULL)
            patient.clock.advance(1)
            assert patient.health.reason is not None
        patient.clock.advance(PROBE_S)
        assert patient.health.reason is None

    def test_a_disk_that_wavers_is_believed_ever_later(self, lines: list[str]) -> None:
        patient = Patient()
        lasted = []
        for _ in range(8):
            patient.health.refused(FULL)
            began_s = patient.clock.seconds()
            while patient.health.reason is not None:
                patient.clock.advance(PROBE_S)
            lasted.append(patient.clock.seconds() - began_s)
        assert lasted == [30, 60, 120, 240, 480, 960, 960, LONGEST_QUIET_S]
        patient.clock.advance(3600)
        patient.health.refused(FULL)
        patient.clock.advance(PROBE_S)
        assert patient.health.reason is None, "an hour of health makes good for it"
        assert len(lines) == 2 * 9

    def test_a_closed_store_is_not_asked_again(self) -> None:
        patient = Patient()
        patient.health.refused(FULL)
        patient.answer = fail(StorageFailed("the store is closed"))
        patient.clock.advance(PROBE_S)
        assert patient.clock.getDelayedCalls() == []
        patient.health.close()
        assert not patient.health.refused(FULL)

    def test_closing_while_a_test_write_runs(self) -> None:
        patient = Patient()
        patient.health.refused(FULL)
        patient.answer = Deferred()
        patient.clock.advance(PROBE_S)
        patient.health.close()
        patient.answer.callback(FULL)
        assert patient.clock.getDelayedCalls() == []


class TestTheTestWrite:
    def test_leaves_nothing(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        assert probe(layout) is None
        layout.blobs.mkdir()
        assert probe(layout) is None
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    @pytest.mark.parametrize("folder", ["", "blobs", "repositories", "fills"])
    def test_notices_each_folder(self, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("blobs", "repositories", "fills"):
            (tmp_path / name).mkdir()
        real = durable.create

        def create(path: Path, mode: int = durable.FILE_MODE) -> int:
            if path.parent == tmp_path / folder:
                raise OSError(errno.EACCES, "no")
            return real(path, mode)

        monkeypatch.setattr(durable, "create", create)
        error = probe(Layout(tmp_path))
        assert error is not None
        assert error.errno == errno.EACCES

    def test_a_full_disk_leaves_no_part_of_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def write_all(descriptor: int, content: bytes, offset: int) -> None:
            raise FULL

        monkeypatch.setattr(durable, "write_all", write_all)
        assert probe(Layout(tmp_path)) is FULL
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class TestTheThread:
    @pytest_twisted.ensureDeferred
    async def test_tells_health_before_whoever_waits(self) -> None:
        order: list[str] = []

        def refused(error: OSError) -> bool:
            order.append(f"health {error.errno}")
            return error.errno == errno.ENOSPC

        thread = DiskThread(reactor, "test", refused)
        for number, told in ((errno.ENOSPC, True), (errno.EIO, False)):

            def job(number: int = number) -> None:
                raise OSError(number, "x")

            with pytest.raises(StorageFailed) as caught:
                await thread.run(job)
            order.append("waiter")
            assert caught.value.told is told
        assert order == [f"health {errno.ENOSPC}", "waiter", f"health {errno.EIO}", "waiter"]
        await thread.stop()

    @pytest_twisted.ensureDeferred
    async def test_a_store_hears_its_own_writer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
    ) -> None:
        store = open_store(tmp_path / "content", reactor, lambda: 1.8e9)

        def create(path: Path, mode: int = durable.FILE_MODE) -> int:
            raise FULL

        with monkeypatch.context() as broken:
            broken.setattr(durable, "create", create)
            for _ in range(3):
                with pytest.raises(StorageFailed) as caught:
                    await store.spool(Digest.of(b"x"))
                assert caught.value.told
        assert store.health.reason is not None
        assert len(lines) == 1
        await store.close()
        assert not store.health.refused(FULL)
