"""Links whose bytes are not there, or not of their size or time: found by a survey, mended behind it.

Laws: a link goes only where the system says that there is no such file, and nothing brings it now; content
that is gone is fetched again by whoever asks. What pins keep has its link still, to be fetched by. Where
very many links lack their bytes something else is wrong, as a file system that is not mounted, and nothing
is touched. A file's time is one that a link vouches for, or it is hashed when it is asked for: nothing here
trusts bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.interfaces import Held, Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.storage.aside import set_aside
from regproxy.storage.counting import LinkKey
from regproxy.storage.keeping import Keeper
from regproxy.storage.occupancy import regular
from regproxy.storage.underway import UnderWay

_log = Logger()

MAX_SUSPECTS = 10_000
FEW = 100
"""So many links without bytes are mended in any case; beyond, only if they are not the greater part."""


@attrs.frozen(slots=True)
class Mended:
    """What was done: links ``dropped``, those ``lost`` that pins keep, blobs of ``wrong`` size set aside."""

    dropped: int = 0
    lost: tuple[LinkKey, ...] = ()
    wrong: tuple[Digest, ...] = ()


class Mender:
    """Each method is one job in the writer thread. ``kept`` says of a key whether pins keep it."""

    def __init__(self, keeper: Keeper, under_way: UnderWay) -> None:
        self._keeper = keeper
        self._under_way = under_way
        self.kept: Callable[[str], bool] = _nothing_is
        self.suspects: list[LinkKey] = []
        self._links = 0
        self._lacking = 0

    def begin(self) -> None:
        """A survey begins."""
        self.suspects, self._links, self._lacking = [], 0, 0
        self._keeper.ledger.at_odds.clear()

    def at_odds(self) -> list[Digest]:
        """Digests whose links do not agree by which mtime they are trusted."""
        return list(self._keeper.ledger.at_odds)

    def agree(self, digest: Digest) -> bool:
        """Have all links of a digest say the mtime of its file, where one of them does: whether one did."""
        ledger = self._keeper.ledger
        found = regular(self._keeper.layout.blob(digest))
        if found is None or digest in self._under_way or ledger.spoilt.is_bad(digest, found):
            return False
        try:
            links = [ledger.read(repository, digest, kind) for repository, kind in ledger.holders(digest)]
            mark = (found.st_size, found.st_mtime_ns)
            if mark not in [(link.size_bytes, link.mtime_ns) for link in links if link is not None]:
                return False
            ledger.verified(digest, *mark)
        except (OSError, StorageFailed) as error:
            _log.debug("Links to {digest} stay at odds: {error}", digest=str(digest), error=str(error))
            return False
        return True

    def compare(self, held: Sequence[Held]) -> None:
        """Note the links among these whose bytes are not there, or of another size."""
        for one in held:
            if isinstance(one.reference, Digest) and one.kind is not None and one.size_bytes:
                self._links += 1
                there = self._size(one.reference)
                if there not in (one.size_bytes, None):
                    self._lacking += there == _ABSENT
                    if len(self.suspects) < MAX_SUSPECTS:
                        self.suspects.append((one.repository, one.kind, one.reference))

    def plausible(self) -> bool:
        """Whether what is lacking can have been lost; else the log says what it looks like."""
        if self._lacking <= max(FEW, self._links // 2):
            return True
        _log.error(
            "{lacking} of {links} links have no content under blobs/: nothing is mended, since that looks "
            "like a file system that is not mounted; what is asked for is fetched",
            lacking=self._lacking,
            links=self._links,
        )
        return False

    def mend(self, links: Sequence[LinkKey]) -> Mended:
        """Look at these again, and mend what is so still; what the disk refuses waits for the next survey."""
        done = Mended()
        for link in links:
            try:
                more = self._mend(*link)
            except (OSError, StorageFailed) as error:
                _log.debug("A link without its content stays: {error}", error=str(error))
                continue
            done = Mended(done.dropped + more.dropped, done.lost + more.lost, done.wrong + more.wrong)
        return done

    def _mend(self, repository: Repository, kind: Kind, digest: Digest) -> Mended:
        """OSError, StorageFailed."""
        link = self._keeper.ledger.read(repository, digest, kind)
        if link is None or digest in self._under_way:
            return Mended()
        there = self._size(digest)
        if there in (link.size_bytes, None):
            return Mended()
        wrong: tuple[Digest, ...] = ()
        if there != _ABSENT and there not in self._sizes(digest):
            wrong = (digest,) if self._set_aside(digest) else ()
            there = _ABSENT
        if there == _ABSENT and self.kept(f"{repository}@{digest}"):
            return Mended(0, ((repository, kind, digest),), wrong)
        self._keeper.unlink(repository, digest, kind)
        return Mended(1, (), wrong)

    def _set_aside(self, digest: Digest) -> bool:
        path = self._keeper.layout.blob(digest)
        found = os.lstat(path)
        set_aside(self._keeper, digest, found)
        if os.path.lexists(path):
            return False
        _log.error(
            "{digest} is on disk with {size} bytes, which is not its size; it was set aside",
            digest=str(digest),
            size=found.st_size,
        )
        return True

    def _sizes(self, digest: Digest) -> set[int]:
        """What its links say, as far as they can be read."""
        sizes = set()
        for repository, kind in self._keeper.ledger.holders(digest):
            try:
                link = self._keeper.ledger.read(repository, digest, kind)
            except StorageFailed:
                continue
            if link is not None:
                sizes.add(link.size_bytes)
        return sizes

    def _size(self, digest: Digest) -> int | None:
        """The size of its file, ``_ABSENT`` where there is none for certain, None where nobody can tell."""
        return size_of(self._keeper.layout.blob(digest))


_ABSENT = -1


def size_of(path: Path) -> int | None:
    """As :meth:`Mender._size`; what is no regular file has none."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return _ABSENT
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _nothing_is(key: str) -> bool:
    return False
