"""Tags that look like full versions and came to mean something else: what is told of that.

A release that changes under its name is a rebuild at best, and an attack at worst; either way someone should
know. The upstream is believed all the same. One that is gone for a while and comes back is compared with
what it meant before, as long as this process remembers.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import attrs
from twisted.logger import Logger

from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy.tag_rules import is_version

MAX_KEPT = 20
MAX_GONE = 1024
"""So many versions that are gone are remembered, each by its last digest."""
_log = Logger()


@attrs.frozen(slots=True)
class Move:
    """A tag meant ``before`` when it was last looked at, and ``after`` at ``seen_s``, since the epoch."""

    repository: Repository
    tag: Tag
    before: Digest
    after: Digest
    seen_s: float


class MovedTags:
    """The last moves, and how many there were since the start. ``count`` is told the upstream of each."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._last: deque[Move] = deque(maxlen=MAX_KEPT)
        self._gone: OrderedDict[tuple[Repository, Tag], Digest] = OrderedDict()
        self.number = 0

    @property
    def last(self) -> tuple[Move, ...]:
        """The last MAX_KEPT, the newest first."""
        return tuple(reversed(self._last))

    def gone(self, repository: Repository, tag: Tag, digest: Digest) -> None:
        """The upstream has it no more, and what is known of it is dropped; it meant ``digest``."""
        if not is_version(tag):
            return
        self._gone[repository, tag] = digest
        self._gone.move_to_end((repository, tag))
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)

    def found(self, repository: Repository, tag: Tag, digest: Digest, seen_s: float) -> None:
        """Nothing was known of it, and it means ``digest``."""
        before = self._gone.pop((repository, tag), None) if self._gone else None
        if before is not None:
            self.compare(repository, tag, before, digest, seen_s)

    def compare(self, repository: Repository, tag: Tag, before: Digest, after: Digest, seen_s: float) -> None:
        """Raise ``tag moved`` where a version means something else than it did."""
        if before == after or not is_version(tag):
            return
        self.number += 1
        self._last.append(Move(repository, tag, before, after, seen_s))
        self._count(repository.upstream)
        _log.warn(
            "tag moved: {repository}:{tag} was {before} and is {after} now",
            repository=str(repository),
            tag=tag.name,
            before=str(before),
            after=str(after),
        )
