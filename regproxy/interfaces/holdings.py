"""What is used, what comes to the disk and goes from it: between store, proxy and expiry."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence, Set

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface, implementer

from regproxy.interfaces.sources import IManifestSource, Kind
from regproxy.interfaces.store import TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag


@attrs.frozen(slots=True)
class Held:
    """Something that a repository holds on disk, as the store tells of it."""

    repository: Repository
    reference: Reference
    kind: Kind | None
    """None for a tag."""
    size_bytes: int = 0


class IUses(Interface):
    """Who wants to know what clients use."""

    def used(repository: Repository, reference: Reference) -> None:
        """A client was given this tag or digest, or its headers; costs a microsecond."""

    def sent(repository: Repository, reference: Reference, size_bytes: int) -> None:
        """A client was sent so many bytes of its content; costs a microsecond."""


class IHoldings(Interface):
    """Who wants to know what comes to the disk and goes from it. Called in the reactor's thread, in
    the order of what happened, before the Deferred of whoever caused it fires."""

    def added(held: Held) -> None:
        """A link or a tag record was written, or written again."""

    def gone(repository: Repository, reference: Reference) -> None:
        """A repository's last link to a digest, or a tag record, is off the disk."""

    def found(held: Sequence[Held]) -> None:
        """A survey sees these on disk."""

    def surveyed() -> None:
        """A survey has seen everything that was on disk when it began."""


class IRemovals(Interface):
    """What an expiry removes through, and what it must read to know what belongs together."""

    manifests: IManifestSource = Attribute("an IManifestSource over what is on disk")

    def tag(repository: Repository, tag: Tag) -> TagRecord | None:
        """As :meth:`ILocalStore.tag`."""

    def expire(repository: Repository, reference: Reference, due: Callable[[], bool]) -> Deferred[bool]:
        """Remove a tag record, or a repository's links to a digest and, with the last one, its bytes.

        ``due`` is asked under the digest's serialisation, in another thread; False: nothing is
        removed, and that is the result. StorageFailed when the disk refuses.
        """


class Fate(enum.Enum):
    """What becomes of a digest's bytes when one repository's right to them goes."""

    FREED = "freed"
    SHARED = "shared"
    """Another repository holds them."""
    LATER = "later"
    """They go by themselves: when the first survey, or what reads or writes them now, has ended."""
    ABSENT = "absent"
    """They were not there."""


@attrs.frozen(slots=True)
class Taken:
    """Something that a purge took, or would take, from a repository."""

    reference: Reference
    kind: Kind | None
    """None for a tag."""
    size_bytes: int = 0
    fate: Fate = Fate.ABSENT


@attrs.frozen(slots=True)
class Inventory:
    """All that one repository holds on disk, by right or not.

    ``tags`` with what each names, None where its record is broken; ``manifests`` with what each
    names, as far as its bytes can be read; ``blobs`` are digests that it holds as blobs.
    """

    tags: Mapping[Tag, Digest | None]
    manifests: Mapping[Digest, frozenset[Digest]]
    blobs: frozenset[Digest]


class IPurges(Interface):
    """What an operator's purge looks at and removes through."""

    def decide(
        repository: Repository, depth: bool, decide: Callable[[Inventory], list[Reference]]
    ) -> Deferred[list[Reference]]:
        """What ``decide``, called in another thread, makes of all that ``repository`` holds.

        Without ``depth`` nothing is read of what manifests name. StorageFailed when the disk cannot be read.
        """

    def foresee(
        repository: Repository, reference: Reference, before: Set[Repository] = frozenset()
    ) -> Deferred[Taken | None]:
        """What :meth:`purge` would do, had it taken ``reference`` from ``before``; None: no such thing."""

    def purge(repository: Repository, reference: Reference) -> Deferred[Taken | None]:
        """Remove it as :meth:`IRemovals.expire` does, due or not. StorageFailed when the disk refuses."""


@implementer(IUses, IHoldings)
class NobodyWatches:
    """For where nobody wants to know."""

    def used(self, repository: Repository, reference: Reference) -> None:
        """Nothing."""

    def sent(self, repository: Repository, reference: Reference, size_bytes: int) -> None:
        """Nothing."""

    def added(self, held: Held) -> None:
        """Nothing."""

    def gone(self, repository: Repository, reference: Reference) -> None:
        """Nothing."""

    def found(self, held: Sequence[Held]) -> None:
        """Nothing."""

    def surveyed(self) -> None:
        """Nothing."""


NOBODY = NobodyWatches()


@implementer(IHoldings)
class Watchers:
    """Tells several, each in the order in which they are given."""

    def __init__(self, *watchers: IHoldings) -> None:
        self._watchers = watchers

    def added(self, held: Held) -> None:
        """As :meth:`IHoldings.added`."""
        for watcher in self._watchers:
            watcher.added(held)

    def gone(self, repository: Repository, reference: Reference) -> None:
        """As :meth:`IHoldings.gone`."""
        for watcher in self._watchers:
            watcher.gone(repository, reference)

    def found(self, held: Sequence[Held]) -> None:
        """As :meth:`IHoldings.found`."""
        for watcher in self._watchers:
            watcher.found(held)

    def surveyed(self) -> None:
        """As :meth:`IHoldings.surveyed`."""
        for watcher in self._watchers:
            watcher.surveyed()
