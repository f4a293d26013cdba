"""Pins: images that neither age nor want of space takes, by the settings and by operators.

Operators' ones are a file of lines in the storage folder, so that they outlive a restart. What is in it is
read as if anybody had written it: bounded, and a line that is no pattern counts for nothing. A file that the
disk does not let us read now is another matter: what it says is not known, and it is not written over.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from regproxy.errors import InvalidRequest, StorageFailed
from regproxy.eviction.holdings import Holdings, by_repository
from regproxy.oci.images import ImagePattern
from regproxy.oci.patterns import matches_glob
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

_log = Logger()

InThread = Callable[..., Deferred[Any]]
"""Runs what blocks in a thread; its OSError becomes StorageFailed."""

FILE_NAME = "pins"
MAX_PINS = 10_000
MAX_FILE_BYTES = 2 * 1024 * 1024
MAX_REMEMBERED = 10_000
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
        """The patterns, and how many lines are none; one such for what is no regular file."""
        with suppress(OSError):
            self._temporary.unlink()  # a kill left it: this is read before anything is written
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            if error.errno == errno.ELOOP:
                return [], 1
            raise
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return [], 1
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


class _Meant:
    """What is pinned in one repository."""

    def __init__(self, patterns: Iterable[ImagePattern]) -> None:
        here = list(patterns)
        self.any = bool(here)
        self._whole = any(pattern.whole for pattern in here)
        self._digests = frozenset(pattern.digest for pattern in here)
        self._tags = tuple({pattern.tag for pattern in here if pattern.tag is not None})

    def tag(self, tag: str) -> bool:
        return self._whole or any(matches_glob(glob, tag) for glob in self._tags)

    def digest(self, digest: str) -> bool:
        return self._whole or digest in self._digests


class _Meanings:
    """What ``pins`` mean, by repository: thousands of them are not all looked at for each thing. In any
    thread; other pins have other ones, so that what was worked out by those before is never believed."""

    def __init__(self, pins: Iterable[ImagePattern]) -> None:
        self._exact: dict[str, list[ImagePattern]] = {}
        self._globs: list[ImagePattern] = []
        self._known: dict[str, _Meant] = {}
        for pattern in pins:
            name = f"{pattern.upstream}/{'/'.join(pattern.path.components)}"
            if "*" in name or "?" in name:
                self._globs.append(pattern)
            else:
                self._exact.setdefault(name, []).append(pattern)

    def of(self, repository: str) -> _Meant:
        known = self._known.get(repository)
        if known is None:
            globs = (pattern for pattern in self._globs if pattern.touches(repository))
            known = _Meant((*self._exact.get(repository, ()), *globs))
            if len(self._known) < MAX_REMEMBERED:
                self._known[repository] = known
        return known


class Pins:
    """All pins. ``written`` are those of the settings; ``changed`` is called after each change.

    Until :meth:`load` has ended, what operators pinned is not known, and :attr:`loaded` says so. The file is
    never replaced before it was read, so that a change this early, or after a bad reading, costs no pin.
    """

    def __init__(self, written: Iterable[ImagePattern], file: PinFile, in_thread: InThread) -> None:
        self._written = tuple(dict.fromkeys(written))
        self._file = file
        self._in_thread = in_thread
        self._added: tuple[ImagePattern, ...] = ()
        self._meanings = _Meanings(self._written)
        self._turn = DeferredLock()
        self._told = False
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
        """Whether something in ``repository``, written with its upstream, may be pinned. In any thread."""
        return self._meanings.of(repository).any

    def covers(self, repository: Repository, reference: Reference) -> bool:
        """Whether that tag or digest is pinned by name; what a pinned one needs is too, see ``Pinned``."""
        if isinstance(reference, Tag):
            return self.covers_tag(str(repository), reference.name)
        return self.covers_digest(str(repository), str(reference))

    def covers_tag(self, repository: str, tag: str) -> bool:
        """Whether that tag is pinned."""
        return self._meanings.of(repository).tag(tag)

    def covers_digest(self, repository: str, digest: str) -> bool:
        """Whether that digest is pinned by itself, not by a tag."""
        return self._meanings.of(repository).digest(digest)

    async def load(self) -> None:
        """Read the file. One that cannot be read now is told of once: whoever calls tries again."""
        await self._turn.acquire()
        try:
            await self._read()
        except StorageFailed as error:
            if not self._told:
                _log.error(
                    "The pins in {file} cannot be read: {error}; until they can, everything counts as pinned",
                    file=str(self._file.path),
                    error=str(error),
                )
            self._told = True
        finally:
            self._turn.release()

    async def _read(self) -> None:
        if self.loaded:
            return
        found, wrong = await self._in_thread(self._file.read)
        if wrong:
            _log.warn(
                "{count} lines of {file} are no pins and count for nothing",
                count=wrong,
                file=str(self._file.path),
            )
        self.loaded = True
        self._become(tuple(pattern for pattern in found if pattern not in self._written))

    async def add(self, pattern: ImagePattern) -> bool:
        """Pin it, durably; False: it is pinned already. StorageFailed; InvalidRequest: too many."""
        await self._turn.acquire()
        try:
            await self._read()
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
            await self._read()
            if pattern not in self._added:
                return False
            await self._replace(tuple(one for one in self._added if one != pattern))
            return True
        finally:
            self._turn.release()

    async def _replace(self, added: tuple[ImagePattern, ...]) -> None:
        await self._in_thread(self._file.write, added)
        self._become(added)

    def _become(self, added: tuple[ImagePattern, ...]) -> None:
        self._added = added
        self._meanings = _Meanings(self)
        self.changes += 1
        self.changed()


def pinned_keys(held: Holdings, pins: Pins) -> frozenset[str]:
    """The keys of all that is pinned: tags, manifests, cached children, configs and layers; everything in a
    repository where a pinned manifest cannot be read, since nobody knows what it needs."""
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
        needed = here.closure(roots)
        if not all(here.readable(digest) for digest in needed):
            needed = list(here.things)
        keys.update(here.things[digest].key for digest in needed)
    return frozenset(keys)


def _nothing() -> None:
    """Nobody wants to know."""
