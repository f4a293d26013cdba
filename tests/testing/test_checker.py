"""The checker finds each fault that a folder can have, and no other; a folder of the store is right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regproxy.interfaces import Kind, Link, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.media_type import BLOB_TYPE, OCI_MANIFEST
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.layout import Layout
from regproxy.storage.links import encode_link
from regproxy.storage.maps import SpoolMap, encode_map
from regproxy.storage.tags import encode_tag
from regproxy.testing.checker import Checker, Fault, Finding, check, lasting
from regproxy.testing.saved_state import key_of, read_state

NGINX = Repository.parse("docker.io", "library/nginx")
LATEST = Tag("latest")
LAYER = b"a layer" * 500
LAYER_512 = b"another one"
MANIFEST = b'{"schemaVersion":2}'
HEADER = b'{"version":1,"saved":"2026-11-24T09:00:00Z","journal":2,"entries":{\n'


class Folder:
    """A folder in which everything is right."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(root)
        self.put(self.layout.version, b"regproxy storage 1\n")
        self.put(self.layout.lock, b"7\n")
        for folder in (self.layout.fills, self.layout.quarantine):
            folder.mkdir()
        self.layer = self.hold(LAYER)
        self.other = self.hold(LAYER_512, "sha512")
        self.manifest = self.hold(MANIFEST, kind=Kind.MANIFEST)
        record = TagRecord(Descriptor(self.manifest, len(MANIFEST), OCI_MANIFEST), None, 1.0)
        self.tag = self.put(self.layout.tags(NGINX) / "latest", encode_tag(record))
        self.put(self.layout.revoked(NGINX), b'{"revoked":1.0}\n')
        self.put(self.layout.credential("docker.io"), b'{"salt":"00","hash":"00"}\n')
        self.state = self.put(root / "scheduler-state.json", self.fold(self.layer))
        lines = [self.line(self.other), self.line(self.manifest), self.line(LATEST), b'{"torn']
        self.journal = self.put(root / "scheduler-state.journal.2", b'{"version":1,"journal":2}\n')
        self.journal.write_bytes(self.journal.read_bytes() + b"\n".join(lines))

    def put(self, path: Path, content: bytes, mode: int = 0o640) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def hold(self, content: bytes, algorithm: str = "sha256", kind: Kind = Kind.BLOB) -> Digest:
        digest = Digest.of(content, algorithm)
        path = self.put(self.layout.blob(digest), content, 0o440)
        self.link(digest, len(content), path.stat().st_mtime_ns, kind)
        return digest

    def link(self, digest: Digest, size: int, mtime_ns: int, kind: Kind = Kind.BLOB) -> None:
        link = Link(size, mtime_ns, BLOB_TYPE, 1.0, "fetch")
        self.put(self.layout.link(NGINX, digest, kind), encode_link(link))

    def change(self, digest: Digest, content: bytes) -> None:
        """Other bytes in a blob, which looks untouched."""
        path = self.layout.blob(digest)
        before = path.stat()
        path.chmod(0o640)
        path.write_bytes(content)
        path.chmod(0o440)
        os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))

    def fold(self, *digests: Digest) -> bytes:
        members = [self.line(digest)[1:-1] for digest in digests]
        return HEADER + b",\n".join(members) + b"\n}}\n"

    def note(self, line: bytes) -> None:
        """One line more in the journal, before the torn one."""
        whole, mark, torn = self.journal.read_bytes().rpartition(b"\n")
        self.journal.write_bytes(whole + b"\n" + line + mark + torn)

    def line(self, reference: Digest | Tag) -> bytes:
        kind = "tag" if isinstance(reference, Tag) else "blob"
        return f'{{"{key_of(NGINX, reference)}":{{"type":"{kind}","used":5,"pulls":1}}}}'.encode()

    def name(self, path: Path) -> str:
        return str(path.relative_to(self.root))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "store")


Plant = Callable[[Folder], str | None]
PLANTS: list[tuple[Fault, Plant]] = []


def plants(fault: Fault) -> Callable[[Plant], Plant]:
    """The function does something wrong, and tells where."""

    def keep(plant: Plant) -> Plant:
        PLANTS.append((fault, plant))
        return plant

    return keep


@plants(Fault.WRONG_HASH)
def bytes_of_the_same_size(folder: Folder) -> str:
    folder.change(folder.layer, LAYER[:-1] + b"X")
    return folder.name(folder.layout.blob(folder.layer))


@plants(Fault.WRONG_HASH)
def a_last_byte_after_the_first_chunk(folder: Folder) -> str:
    large = bytes(3 << 20)
    digest = folder.hold(large)
    folder.note(folder.line(digest))
    folder.change(digest, large[:-1] + b"X")
    return folder.name(folder.layout.blob(digest))


@plants(Fault.WRITABLE)
def a_blob_to_write_to(folder: Folder) -> str:
    path = folder.layout.blob(folder.other)
    path.chmod(0o640)
    return folder.name(path)


@plants(Fault.BROKEN_LINK)
def half_a_link(folder: Folder) -> str:
    path = folder.layout.link(NGINX, folder.layer, Kind.BLOB)
    path.write_bytes(path.read_bytes()[:20])
    return folder.name(path)


@plants(Fault.BROKEN_TAG)
def an_empty_tag(folder: Folder) -> str:
    folder.tag.write_bytes(b"")
    return folder.name(folder.tag)


@plants(Fault.BROKEN_NOTE)
def half_a_revocation(folder: Folder) -> str:
    path = folder.layout.revoked(NGINX)
    path.write_bytes(b'{"revoked":')
    return folder.name(path)


@plants(Fault.LINK_SIZE)
def a_link_of_another_size(folder: Folder) -> str:
    time = folder.layout.blob(folder.layer).stat().st_mtime_ns
    folder.link(folder.layer, len(LAYER) - 1, time)
    return folder.name(folder.layout.link(NGINX, folder.layer, Kind.BLOB))


@plants(Fault.LINK_TIME)
def a_touched_blob(folder: Folder) -> str:
    os.utime(folder.layout.blob(folder.manifest), ns=(5, 5))
    return folder.name(folder.layout.link(NGINX, folder.manifest, Kind.MANIFEST))


@plants(Fault.NO_BLOB)
def a_link_to_nothing(folder: Folder) -> str:
    path = folder.layout.blob(folder.other)
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    return folder.name(folder.layout.link(NGINX, folder.other, Kind.BLOB))


@plants(Fault.STATE_LINE)
def rubbish_in_the_state(folder: Folder) -> str:
    folder.state.write_bytes(folder.state.read_bytes().replace(b"\n}}", b",\nrubbish\n}}"))
    return folder.state.name


@plants(Fault.STATE_LINE)
def rubbish_in_the_middle_of_a_journal(folder: Folder) -> str:
    folder.note(b"{}")
    return folder.journal.name


@plants(Fault.STATE_CUT)
def a_state_without_its_end(folder: Folder) -> str:
    folder.state.write_bytes(folder.state.read_bytes().replace(b"\n}}", b""))
    return folder.state.name


@plants(Fault.STATE_CUT)
def a_journal_of_another_version(folder: Folder) -> str:
    folder.journal.write_bytes(folder.journal.read_bytes().replace(b'"version":1', b'"version":2'))
    return folder.journal.name


@plants(Fault.STATE_ASIDE)
def a_state_that_was_set_aside(folder: Folder) -> str:
    return folder.put(folder.root / "scheduler-state.json.damaged", b"").name


@plants(Fault.STRANGER)
def a_file_beside(folder: Folder) -> str:
    return folder.put(folder.root / "notes.txt", b"").name


@plants(Fault.STRANGER)
def a_file_among_the_links(folder: Folder) -> str:
    return folder.name(folder.put(folder.layout.repository(NGINX) / "_layers" / "sha256" / "abc", b""))


@plants(Fault.STRANGER)
def a_file_among_the_blobs(folder: Folder) -> str:
    return folder.name(folder.put(folder.layout.blobs / "sha256" / "ab" / "abc", b""))


@plants(Fault.STRANGER)
def a_file_among_the_fills(folder: Folder) -> str:
    return folder.name(folder.put(folder.layout.fills / "core", b""))


@plants(Fault.STRANGER)
def a_blob_that_is_a_symbolic_link(folder: Folder) -> str:
    path = folder.layout.blobs / "sha256" / "ab" / ("ab" + "0" * 62)
    path.parent.mkdir()
    path.symlink_to(folder.layout.blob(folder.layer))
    return folder.name(path)


@plants(Fault.VERSION)
def another_version(folder: Folder) -> str:
    folder.layout.version.write_bytes(b"regproxy storage 9\n")
    return "VERSION"


@plants(Fault.ORPHAN)
def a_blob_that_nobody_links(folder: Folder) -> str:
    return folder.name(folder.put(folder.layout.blob(Digest.of(b"orphan")), b"orphan", 0o440))


@plants(Fault.LEFTOVER)
def a_spool(folder: Folder) -> str:
    return folder.name(folder.put(folder.layout.spool("sha256-ab-cd"), b"half"))


@plants(Fault.LEFTOVER)
def a_map(folder: Folder) -> str:
    return folder.name(folder.put(folder.layout.map("sha256-ab-cd"), b"{}\n"))


def left(folder: Folder, stop: int, of: bytes = b"left") -> Path:
    """A spool for a later transfer to go on from: 4 bytes, and a map that claims ``stop``."""
    digest = Digest.of(b"left")
    name = f"sha256-{Digest.of(of).hex[:32]}-00"
    folder.put(folder.layout.spool(name), b"left")
    return folder.put(folder.layout.map(name), encode_map(SpoolMap(digest, 10, there=((0, stop),))))


@plants(Fault.SPOOL)
def a_spool_without_what_its_map_claims(folder: Folder) -> str:
    return folder.name(left(folder, 5))


@plants(Fault.SPOOL)
def a_spool_of_another_digest(folder: Folder) -> str:
    return folder.name(left(folder, 4, b"other"))


@plants(Fault.TEMPORARY)
def a_temporary_link(folder: Folder) -> str:
    name = f".{'a' * 16}-{'b' * 16}.tmp"
    return folder.name(folder.put(folder.layout.repository(NGINX) / "_tags" / name, b""))


@plants(Fault.TEMPORARY)
def a_temporary_state(folder: Folder) -> str:
    return folder.put(folder.root / ".scheduler-state.json.tmp", b"").name


@plants(Fault.EMPTY_FOLDER)
def an_empty_repository(folder: Folder) -> str:
    path = folder.layout.repositories / "docker.io" / "library" / "empty"
    path.mkdir()
    return folder.name(path)


@plants(Fault.NO_ENTRY)
def a_link_without_an_entry(folder: Folder) -> str:
    digest = folder.hold(b"nobody knows")
    return folder.name(folder.layout.link(NGINX, digest, Kind.BLOB))


@plants(Fault.NO_RECORD)
def an_entry_for_nothing(folder: Folder) -> str:
    folder.state.write_bytes(folder.fold(folder.layer, Digest.of(b"gone")))
    return key_of(NGINX, Digest.of(b"gone"))


@pytest.mark.parametrize(("fault", "plant"), PLANTS, ids=[plant.__name__ for _, plant in PLANTS])
def test_each_fault_is_found_and_nothing_else(folder: Folder, fault: Fault, plant: Plant) -> None:
    where = plant(folder)
    found = check(folder.root, surveyed=True, saved=True)
    assert [(finding.fault, finding.path) for finding in found] == [(fault, where)]


def test_every_fault_is_planted_once() -> None:
    """INCOMPLETE comes with LINK_SIZE: see below."""
    assert {fault for fault, _ in PLANTS} | {Fault.INCOMPLETE} == set(Fault)


def test_a_folder_that_is_right(folder: Folder) -> None:
    assert check(folder.root, surveyed=True, saved=True) == []


def test_a_folder_that_is_new(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_bytes(b"regproxy storage 1\n")
    assert check(tmp_path, surveyed=True, saved=True) == []


def test_incomplete_bytes_under_a_blobs_name(folder: Folder) -> None:
    folder.change(folder.layer, LAYER[:100])
    assert [finding.fault for finding in check(folder.root)] == [Fault.INCOMPLETE, Fault.LINK_SIZE]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.ORPHAN,
        Fault.LEFTOVER,
        Fault.TEMPORARY,
        Fault.EMPTY_FOLDER,
        Fault.NO_ENTRY,
        Fault.NO_RECORD,
    ],
)
def test_what_the_next_start_clears_away_is_no_finding_before_it(folder: Folder, fault: Fault) -> None:
    for planted, plant in PLANTS:
        if planted is fault:
            plant(folder)
    assert check(folder.root) == []


def test_a_link_to_bytes_that_nothing_vouches_for_is_right(folder: Folder) -> None:
    """They are hashed before they are served."""
    folder.link(folder.layer, len(LAYER), 0)
    assert check(folder.root, surveyed=True, saved=True) == []


def test_what_has_been_walked_can_be_asked_for(folder: Folder) -> None:
    looked = Checker(folder.root)
    looked.check()
    assert set(looked.walked.blobs) == {folder.layer, folder.other, folder.manifest}
    assert looked.walked.tags == {(NGINX, "latest")}
    assert looked.state.entries[key_of(NGINX, LATEST)].used_s == 5


def test_the_later_line_counts(folder: Folder) -> None:
    folder.put(folder.root / "scheduler-state.journal.1", b"taken in by the fold\n")
    lines = f'{{"version":1,"journal":3}}\n{{"{key_of(NGINX, folder.layer)}":null}}\n'
    folder.put(folder.root / "scheduler-state.journal.3", lines.encode())
    state = read_state(folder.root)
    assert key_of(NGINX, folder.layer) not in state.entries
    assert state.rubbish == []


def test_only_what_lasts_is_true_of_a_running_folder() -> None:
    passing, staying = Finding(Fault.ORPHAN, "a"), Finding(Fault.WRONG_HASH, "b")
    assert lasting([[passing, staying], [staying]]) == [staying]
    assert lasting([]) == []


def test_people_can_run_it(folder: Folder) -> None:
    def run(path: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "regproxy.testing.checker", str(path)]
        return subprocess.run(command, timeout=30, check=False, capture_output=True, text=True)

    right = run(folder.root)
    assert (right.returncode, right.stdout) == (0, "")
    folder.change(folder.layer, LAYER[:-1] + b"X")
    wrong = run(folder.root)
    assert (wrong.returncode, wrong.stdout.count("\n")) == (1, 1)
    assert str(folder.layer.hex) in wrong.stdout
    assert run(folder.root / "nowhere").returncode == 2


def test_a_spool_that_a_later_fill_goes_on_from_is_no_fault(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "root")
    left(folder, 4)
    assert check(folder.root, surveyed=True) == []
