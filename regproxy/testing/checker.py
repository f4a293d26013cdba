"""What is wrong in a storage folder: walks it, touches nothing, needs no daemon.

    python -m regproxy.testing.checker /var/lib/regproxy

A folder whose daemon was killed is *right* when it holds nothing wrong, but it may hold what the next
start clears away: spools, temporary names, content that nobody links. ``surveyed`` says that a start
and a survey have cleaned up, so these are findings too; ``saved`` that the state was written after that,
so that entries and records must be the same. A running folder changes under the walk: what two
looks have in common is true of it, see :func:`lasting`.
"""

from __future__ import annotations

import enum
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from regproxy.errors import StorageFailed
from regproxy.interfaces import Kind, Link
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage.layout import Layout, parse_blob, parse_link, parse_repository, parse_tag
from regproxy.storage.leftovers import is_named_for
from regproxy.storage.links import UNVERIFIED_MTIME_NS, read_link
from regproxy.storage.maps import MAX_MAP_BYTES, SpoolMap, decode_map
from regproxy.storage.occupancy import regular
from regproxy.storage.records import parse_record, read_record
from regproxy.storage.tags import MAX_TAG_BYTES, decode_tag
from regproxy.storage.version import VERSION
from regproxy.testing.saved_state import SavedState, key_of, read_state

PAUSE_S = 0.5
_CHUNK_BYTES = 1024 * 1024
_TEMPORARY = re.compile(
    r"\.[0-9a-f]{16}-[0-9a-f]{16}\.tmp|\.(scheduler-state\.json|pins|upkeep\.json)\.tmp", re.ASCII
)
_TOP_FILES = re.compile(
    r"VERSION|lock|pins|upkeep\.json|offline\.json|admin\.sock|scheduler-state\.(json|journal\.[1-9][0-9]{0,9})",
    re.ASCII,
)
_DAMAGED = "scheduler-state.json.damaged"
_FOLDERS = ("blobs", "fills", "quarantine", "repositories")
_SPOOL = re.compile(r"[^/.][^/]*\.(spool|map)", re.ASCII)
_NOTES = ("_revoked", "_credential")


class Fault(enum.Enum):
    """What can be wrong, in the order of how bad it is."""

    INCOMPLETE = "shorter than its links say"
    WRONG_HASH = "its bytes are not what its name says"
    WRITABLE = "can be written to, which nothing under blobs/ may"
    BROKEN_LINK = "a link that cannot be read"
    BROKEN_TAG = "a tag that cannot be read"
    BROKEN_NOTE = "a revocation or credential that cannot be read"
    LINK_SIZE = "a link to bytes of another size"
    LINK_TIME = "a link to a file that was touched since"
    NO_BLOB = "a link to nothing: a miss, fetched again when asked for"
    STATE_LINE = "a line of the scheduler's state that cannot be read"
    STATE_CUT = "a state of the scheduler without its end, or of another version"
    STATE_ASIDE = "a state of the scheduler that was found damaged"
    STRANGER = "a file that is none of regproxy's"
    VERSION = "no VERSION file of this regproxy"
    ORPHAN = "a blob that nobody links"
    LEFTOVER = "a spool or map of a fill that is no more, and of no use to another"
    SPOOL = "a spool that has not what its map claims"
    TEMPORARY = "a temporary file of a process that is no more"
    EMPTY_FOLDER = "a folder with nothing in it"
    NO_ENTRY = "a link or tag that the scheduler does not know: it would never expire"
    NO_RECORD = "an entry of the scheduler for nothing"


@attrs.frozen(slots=True, order=True)
class Finding:
    """One thing that is wrong. ``path`` is relative to the folder, or an entry's key."""

    fault: Fault = attrs.field(order=lambda fault: list(Fault).index(fault))
    path: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.fault.value}{self.detail and f' ({self.detail})'}"


@attrs.define(slots=True)
class Walked:
    """What a walk came upon. ``links`` are those that can be read, ``broken`` names the others."""

    blobs: dict[Digest, os.stat_result] = attrs.field(factory=dict)
    links: dict[tuple[Repository, Kind, Digest], Link] = attrs.field(factory=dict)
    tags: set[tuple[Repository, str]] = attrs.field(factory=set)
    linked: set[Digest] = attrs.field(factory=set)
    spools: set[Path] = attrs.field(factory=set)
    """Those that a later fill can go on from, and their maps."""
    keys: dict[str, str] = attrs.field(factory=dict)
    """The scheduler's key of each record, with its path."""


class Checker:
    """One look at the folder ``root``."""

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root)
        self._root = root
        self._found: list[Finding] = []
        self.walked = Walked()
        self.state: SavedState = SavedState()

    def check(self, surveyed: bool = False, saved: bool = False) -> list[Finding]:
        """Everything that is wrong, the worst first; nothing in a folder that is right."""
        self._top()
        for path, parts, _ in self._files("repositories"):
            self._record(path, parts)
        for path, parts, status in self._files("blobs"):
            self._blob(path, parts, status)
        self._links()
        self._spools()
        self._state()
        if surveyed:
            self._uncleared()
            self._orphans()
        if saved:
            self._entries()
        return sorted(self._found)

    def _add(self, fault: Fault, path: Path | str, detail: str = "") -> None:
        name = path if isinstance(path, str) else str(path.relative_to(self._root))
        self._found.append(Finding(fault, name, detail))

    # what lies where

    def _top(self) -> None:
        if _read(self._layout.version) != VERSION:
            self._add(Fault.VERSION, self._layout.version)
        for entry in os.scandir(self._root):
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _FOLDERS:
                    self._add(Fault.STRANGER, Path(entry.path))
            elif entry.name == _DAMAGED:
                self._add(Fault.STATE_ASIDE, Path(entry.path))
            elif not _TOP_FILES.fullmatch(entry.name) and not _TEMPORARY.fullmatch(entry.name):
                self._add(Fault.STRANGER, Path(entry.path))

    def _files(self, top: str) -> Iterator[tuple[Path, tuple[str, ...], os.stat_result]]:
        """Regular files but temporary ones; anything else that is no folder is a stranger."""
        for path, status in walk(self._root / top):
            if _TEMPORARY.fullmatch(path.name):
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, path.relative_to(self._root / top).parts, status
            elif not stat.S_ISDIR(status.st_mode):
                self._add(Fault.STRANGER, path)

    def _record(self, path: Path, parts: tuple[str, ...]) -> None:
        link, tag = parse_link(parts), parse_tag(parts)
        if link is not None:
            self._link(path, *link)
        elif tag is not None:
            self.walked.tags.add((tag[0], tag[1].name))
            self.walked.keys[key_of(tag[0], tag[1])] = str(path.relative_to(self._root))
            if decode_tag(_read(path, MAX_TAG_BYTES)) is None and path.exists():
                self._add(Fault.BROKEN_TAG, path)
        elif parts[-1] in _NOTES and len(parts) > 1:
            known = len(parts) == 2 or parse_repository(parts[:-1]) is not None
            if not known:
                self._add(Fault.STRANGER, path)
            elif parse_record(_read(path)) is None and path.exists():
                self._add(Fault.BROKEN_NOTE, path)
        else:
            self._add(Fault.STRANGER, path)

    def _link(self, path: Path, repository: Repository, kind: Kind, digest: Digest) -> None:
        self.walked.keys[key_of(repository, digest)] = str(path.relative_to(self._root))
        self.walked.linked.add(digest)
        link = read_link(path)
        if link is not None:
            self.walked.links[repository, kind, digest] = link
        elif path.exists():
            self._add(Fault.BROKEN_LINK, path)

    def _blob(self, path: Path, parts: tuple[str, ...], status: os.stat_result) -> None:
        digest = parse_blob(parts)
        if digest is None:
            self._add(Fault.STRANGER, path)
            return
        self.walked.blobs[digest] = status
        if status.st_mode & 0o222:
            self._add(Fault.WRITABLE, path, stat.filemode(status.st_mode))
        if not _matches(path, digest):
            wanted = [link.size_bytes for (_, _, of), link in self.walked.links.items() if of == digest]
            short = status.st_size < min(wanted, default=0)
            fault = Fault.INCOMPLETE if short else Fault.WRONG_HASH
            self._add(fault, path, f"{status.st_size} of {min(wanted)} bytes" if short else "")

    def _links(self) -> None:
        for (repository, kind, digest), link in self.walked.links.items():
            path, found = self._layout.link(repository, digest, kind), self.walked.blobs.get(digest)
            if found is None:
                if not self._layout.blob(digest).exists() and path.exists():
                    self._add(Fault.NO_BLOB, path)
            elif found.st_size != link.size_bytes:
                self._add(Fault.LINK_SIZE, path, f"{link.size_bytes}, the blob has {found.st_size}")
            elif link.mtime_ns not in (UNVERIFIED_MTIME_NS, found.st_mtime_ns):
                self._add(Fault.LINK_TIME, path, f"{link.mtime_ns}, the blob has {found.st_mtime_ns}")

    def _state(self) -> None:
        self.state = read_state(self._root)
        for name, number in self.state.rubbish:
            self._add(Fault.STATE_LINE, name, f"line {number}")
        for name in self.state.cut:
            self._add(Fault.STATE_CUT, name)

    def _spools(self) -> None:
        """A map that claims something: the spool is named for its digest, and long enough."""
        for path, _, _ in self._files("fills"):
            known = self._map_of(path) if path.suffix == ".map" else None
            if known is None or not known.is_leftover:
                continue
            spool = self._layout.spool(path.stem)
            found, stop = regular(spool), known.there[-1][1]
            if found is None:
                continue  # a kill came while they were removed
            self.walked.spools.update({path, spool})
            if not is_named_for(path.stem, known.digest):
                self._add(Fault.SPOOL, path, "of another digest")
            elif found.st_size < stop and path.exists():
                self._add(Fault.SPOOL, path, f"{found.st_size} of {stop} bytes")

    def _map_of(self, path: Path) -> SpoolMap | None:
        return decode_map(_read(path, MAX_MAP_BYTES))

    # what a start and a survey clear away

    def _uncleared(self) -> None:
        for path, status in walk(self._root):
            if stat.S_ISDIR(status.st_mode):
                if path.parent != self._root and path.is_dir() and not any(path.iterdir()):
                    self._add(Fault.EMPTY_FOLDER, path)
            elif _TEMPORARY.fullmatch(path.name):
                self._add(Fault.TEMPORARY, path)
            elif path.parent == self._layout.fills and path not in self.walked.spools:
                self._add(Fault.LEFTOVER if _SPOOL.fullmatch(path.name) else Fault.STRANGER, path)

    def _orphans(self) -> None:
        for digest in self.walked.blobs.keys() - self.walked.linked:
            self._add(Fault.ORPHAN, self._layout.blob(digest))

    def _entries(self) -> None:
        for key in self.walked.keys.keys() - self.state.entries.keys():
            self._add(Fault.NO_ENTRY, self.walked.keys[key])
        for key in self.state.entries.keys() - self.walked.keys.keys():
            self._add(Fault.NO_RECORD, key)


def check(root: Path, surveyed: bool = False, saved: bool = False) -> list[Finding]:
    """Everything that is wrong in the folder ``root``, the worst first. OSError when it is none."""
    return Checker(root).check(surveyed, saved)


def lasting(looks: Iterable[list[Finding]]) -> list[Finding]:
    """The findings that all ``looks`` at a running folder have in common."""
    seen = [frozenset(look) for look in looks]
    return sorted(frozenset.intersection(*seen)) if seen else []


def walk(top: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All that lies below ``top``, folders too, links as what they are; what vanishes is left out."""
    try:
        entries = sorted(os.scandir(top), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        yield Path(entry.path), status
        if stat.S_ISDIR(status.st_mode):
            yield from walk(Path(entry.path))


def _read(path: Path, max_bytes: int = MAX_TAG_BYTES) -> bytes | None:
    try:
        return read_record(path, max_bytes)
    except StorageFailed:
        return None


def _matches(path: Path, digest: Digest) -> bool:
    """Whether the bytes are right, or the file has gone meanwhile."""
    hasher = digest.hasher()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
    except FileNotFoundError:
        return True
    return bool(hasher.hexdigest() == digest.hex)


def main(arguments: list[str]) -> int:
    """Print what is wrong, also a moment later, a line each; 1 if anything is."""
    if len(arguments) != 1:
        print("usage: python -m regproxy.testing.checker FOLDER", file=sys.stderr)
        return 2
    root = Path(arguments[0])
    try:
        found = check(root)
        if found:
            time.sleep(PAUSE_S)
            found = lasting([found, check(root)])
    except OSError as error:
        print(f"{root}: {error.strerror}", file=sys.stderr)
        return 2
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
