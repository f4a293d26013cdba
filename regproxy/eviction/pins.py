"""Pins: images that neither age nor want of space takes, by the settings and by operators.

Operators' ones are a file of lines in the storage folder, so that they outlive a restart. What is in it is
read as if anybody had written it: bounded, and a line that is no pattern counts for nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from regproxy.errors import InvalidRequest, StorageFailed
from regproxy.eviction.holdings import Holdings, by_repository
from regproxy.oci.images import ImagePattern
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

_log = Logger()

InThread = Callable[..., Deferred[Any]]
"""Runs what blocks in a thread; its OSError becomes StorageFailed."""

FILE_NAME = "pins"
MAX_PINS = 10_000
MAX_FILE_BYTES = 2 * 1024 * 1024
_MODE = 0o640


@attrs.frozen(slots=True)
class Pin:
    """``written``: it stands in the settings, and only there it can be taken away."""

    pattern: ImagePattern
    written: bool


class PinFile:
    """``<root>/pins``, a pattern a line; lines that begin with ``#`` are for people. Blocks; OSError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._temporary = folder / f".{FILE_NAME}.tmp"

    def read(self) -> tuple[list[ImagePattern], int]:
        """The patterns, and how many lines are none."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return [], 0
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            content = os.pread(descriptor, MAX_FILE_BYTES + 1, 0)
        finally:
            os.close(descriptor)
        cut = len(content) > MAX_FILE_BYTES
        found: dict[ImagePattern, None] = {}
        wrong = int(cut)
        for line in content[:MAX_FILE_BYTES].decode("utf-8", "replace").split("\n"):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            try:
                found[ImagePattern.parse(text)] = None
            except InvalidRequest:
                wrong += 1
        return list(found)[:MAX_PINS], wrong + max(0, len(found) - MAX_PINS)

    def write(self, patterns: Iterable[ImagePattern]) -> None:
        """Replace the file, durably."""
        content = "".join(f"{pattern}\n" for pattern in patterns).encode("ascii")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(self._temporary, flags, _MODE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._temporary, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Pins:
    """All pins. ``written`` are those of the settings; ``changed`` is called after each change.

    Until :meth:`load` has ended, what operators pinned is not known, and :attr:`loaded` says so.
    """

    def __init__(self, written: Iterable[ImagePattern], file: PinFile, in_thread: InThread) -> None:
        self._written = tuple(dict.fromkeys(written))
        self._file = file
        self._in_thread = in_thread
        self._added: tuple[ImagePattern, ...] = ()
        self._turn = DeferredLock()
        self.loaded = False
        self.changes = 0
        """How often they have changed."""
        self.changed: Callable[[], object] = _nothing

    def __len__(self) -> int:
        return len(self._written) + len(self._added)

    def __repr__(self) -> str:
        return f"<Pins written={len(self._written)} added={len(self._added)} loaded={self.loaded}>"

    def __iter__(self) -> Iterator[ImagePattern]:
        yield from self._written
        yield from self._added

    def list(self) -> tuple[Pin, ...]:
        """Those of the settings first, then operators' ones in the order in which they came."""
        return (
            *(Pin(pattern, True) for pattern in self._written),
            *(Pin(pattern, False) for pattern in self._added),
        )

    def touches(self, repository: str) -> bool:
        """Whether something in ``repository``, written with its upstream, may be pinned."""
        return any(pattern.touches(repository) for pattern in self)

    def covers(self, repository: Repository, reference: Reference) -> bool:
        """Whether that tag or digest is pinned by name; what a pinned one needs is too, see ``Pinned``."""
        if isinstance(reference, Tag):
            return self.covers_tag(str(repository), reference.name)
        return self.covers_digest(str(repository), str(reference))

    def covers_tag(self, repository: str, tag: str) -> bool:
        """Whether that tag is pinned."""
        return any(pattern.means_tag(repository, tag) for pattern in self)

    def covers_digest(self, repository: str, digest: str) -> bool:
        """Whether that digest is pinned by itself, not by a tag."""
        return any(pattern.means_digest(repository, digest) for pattern in self)

    async def load(self) -> None:
        """Read the file. One that cannot be read pins nothing, and the log says so."""
        try:
            found, wrong = await self._in_thread(self._file.read)
        except StorageFailed as error:
            _log.error("The pins in {file} cannot be read: {error}", file=str(self._file.path), error=error)
            found, wrong = [], 0
        if wrong:
            _log.warn(
                "{count} lines of {file} are no pins and count for nothing",
                count=wrong,
                file=str(self._file.path),
            )
        known = dict.fromkeys((*found, *self._added))
        self._added = tuple(pattern for pattern in known if pattern not in self._written)
        self.loaded = True
        self._tell()

    async def add(self, pattern: ImagePattern) -> bool:
        """Pin it, durably; False: it is pinned already. StorageFailed; InvalidRequest: too many."""
        await self._turn.acquire()
        try:
            if pattern in self:
                return False
            if len(self._added) >= MAX_PINS:
                raise InvalidRequest(f"{MAX_PINS} images are pinned; unpin some first")
            await self._replace((*self._added, pattern))
            return True
        finally:
            self._turn.release()

    async def remove(self, pattern: ImagePattern) -> bool:
        """Unpin it, durably; False: it is not one of the operators' pins. StorageFailed."""
        await self._turn.acquire()
        try:
            if pattern not in self._added:
                return False
            await self._replace(tuple(one for one in self._added if one != pattern))
            return True
        finally:
            self._turn.release()

    async def _replace(self, added: tuple[ImagePattern, ...]) -> None:
        await self._in_thread(self._file.write, added)
        self._added = added
        self._tell()

    def _tell(self) -> None:
        self.changes += 1
        self.changed()


def pinned_keys(held: Holdings, pins: Pins) -> frozenset[str]:
    """The keys of all that is pinned: tags, manifests, cached children, configs and layers."""
    if not len(pins):
        return frozenset()
    keys: set[str] = set()
    for name, here in by_repository(held).items():
        if not pins.touches(name):
            continue
        roots = [digest for digest in here.things if pins.covers_digest(name, digest)]
        for tags in (*here.tags.values(), here.dangling):
            for tag in tags:
                if pins.covers_tag(name, tag.tag):
                    keys.add(tag.key)
                    roots += [] if tag.digest is None else [tag.digest]
        keys.update(here.things[digest].key for digest in here.closure(roots))
    return frozenset(keys)


def _nothing() -> None:
    """Nobody wants to know."""
