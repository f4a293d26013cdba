"""What is used, what comes to the disk and goes from it: between store, proxy and expiry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface, implementer

from regproxy.interfaces.sources import IManifestSource, Kind
from regproxy.interfaces.store import TagRecord
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


@implementer(IUses, IHoldings)
class NobodyWatches:
    """For where nobody wants to know."""

    def used(self, repository: Repository, reference: Reference) -> None:
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
