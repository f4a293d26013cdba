"""What answers clients: content by digest and by tag, and where the answer came from."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from regproxy.interfaces.sources import How, IBlobSource, IManifestSource
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag


@attrs.frozen(slots=True)
class TagAnswer:
    """What a tag means now. ``manifest`` is None where only the descriptor was asked for."""

    descriptor: Descriptor
    manifest: Manifest | None
    how: How
    age_s: float = 0.0
    warning: str | None = None
    """A sentence for the person who pulls, sent as ``Warning: 299`` (R52)."""


@attrs.frozen(slots=True)
class BlobAnswer:
    """What is known of a blob without its bytes. ``size`` None: nobody tells."""

    size: int | None
    how: How


@attrs.frozen(slots=True)
class TagList:
    """All tags of a repository, sorted."""

    tags: tuple[str, ...]
    how: How
    warning: str | None = None
    age_s: float = 0.0
    """Of an upstream's list that is served stale; 0 where it is not that."""


class IBlobService(IBlobSource):
    """Blobs towards clients: where an answer came from is told too."""

    def look(repository: Repository, digest: Digest) -> Deferred[BlobAnswer]:
        """As :meth:`stat`."""


class IManifestService(IManifestSource):
    """Manifests by digest towards clients: where an answer came from is told too."""

    def look(repository: Repository, digest: Digest) -> Deferred[TagAnswer]:
        """As :meth:`stat`."""

    def fetch(repository: Repository, digest: Digest) -> Deferred[TagAnswer]:
        """As :meth:`get`."""


class ITagService(Interface):
    """What tags mean, and which there are."""

    def get(repository: Repository, tag: Tag, forced: bool = False) -> Deferred[TagAnswer]:
        """The tag's manifest, fresh or marked stale.

        ``forced``: the client wants it confirmed, fresh or not, which is done as often as it may be (R54).
        """

    def stat(repository: Repository, tag: Tag, forced: bool = False) -> Deferred[TagAnswer]:
        """The tag's descriptor, by the same freshness; at most one HEAD upstream (R11)."""

    def list(repository: Repository) -> Deferred[TagList]:
        """All tags: upstream's, or what is known of them with a warning (R94)."""
