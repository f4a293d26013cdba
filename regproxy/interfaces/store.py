"""The disk: links, tags, content, rights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from regproxy.interfaces.sources import IBlob, IBlobSource, IManifestSource, Kind
from regproxy.interfaces.spools import ISpool, Leftover
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag


@attrs.frozen(slots=True)
class Link:
    """A repository's right to serve some bytes, as its record says."""

    size_bytes: int
    mtime_ns: int
    media_type: str
    since_s: float
    """When the upstream was asked that last showed that this repository holds it (``stamp``)."""
    source: str
    """How it showed that: ``fetch`` or ``head``."""


class Meaning(NamedTuple):
    """A digest that a tag has meant, and when it was first and last seen to; seconds since the epoch."""

    digest: Digest
    first_s: float
    last_s: float


@attrs.frozen(slots=True)
class TagRecord:
    """What is known of a tag, on disk. Times are seconds since the epoch."""

    descriptor: Descriptor
    etag: str | None
    checked_s: float
    history: tuple[Meaning, ...] = ()
    """The last 20 digests, each once, the one that was seen last at the end."""


class ILocalStore(Interface):
    """The disk. Reading a record is a small synchronous read; all writing is in the disk thread."""

    blobs: IBlobSource = Attribute("an IBlobSource over what is on disk; how is HIT")
    manifests: IManifestSource = Attribute("an IManifestSource over what is on disk")

    def manifest_at_hand(repository: Repository, digest: Digest) -> Manifest | None:
        """The manifest where it is in memory and the repository's right holds; None says nothing.

        Costs some microseconds, never waits, never raises.
        """

    def link(repository: Repository, digest: Digest) -> tuple[Kind, Link] | None:
        """The link record, as a blob or as a manifest; None where there is none or a broken one."""

    def holds(digest: Digest) -> int | None:
        """The size of the complete blob on disk under ``digest``, whoever holds it."""

    def refuses() -> bool:
        """Whether the disk is known to take no writes now."""

    def capacity_bytes() -> int | None:
        """As :meth:`IRoom.capacity_bytes`: how much content there may be in all."""

    def stamp(repository: Repository) -> float:
        """The moment for a proof that is about to be asked for: seconds since the epoch.

        Later than every revocation so far, so that what is shown from now on counts; and not later
        than any revocation to come, so that what was asked before it does not.
        """

    def grant(
        repository: Repository, digest: Digest, kind: Kind, media_type: str, source: str, since_s: float
    ) -> Deferred[None]:
        """Write (or renew) the link to a blob that is on disk; ContentMissing when it is not.

        ``since_s`` is the stamp from before the upstream was asked.
        """

    def unlink(repository: Repository, digest: Digest, kind: Kind) -> Deferred[bool]:
        """Take the link back, and the blob with its last link (True then); idempotent."""

    def put(repository: Repository, manifest: Manifest, since_s: float) -> Deferred[None]:
        """Write a verified manifest and its link, of the stamp ``since_s``."""

    def spool(digest: Digest) -> Deferred[ISpool]:
        """A new, empty spool for ``digest``; StorageFailed when the disk refuses."""

    def left(digest: Digest) -> Leftover | None:
        """What an earlier fill has left of ``digest``, for :meth:`take`; costs a microsecond."""

    def take(digest: Digest) -> Deferred[ISpool | None]:
        """What an earlier fill has left, nobody else's from now on; None: it is gone. StorageFailed."""

    def adopt(digest: Digest) -> Deferred[tuple[ISpool, IBlob]]:
        """A blob file that is not trusted, to be hashed again while it is read: where its bytes
        come from, and the spool that they go to. ContentMissing."""

    def tag(repository: Repository, tag: Tag) -> TagRecord | None:
        """What is known of a tag; None when nothing is, or the record is broken."""

    def peek_tag(repository: Repository, tag: Tag) -> TagRecord | None:
        """As :meth:`tag`, for who looks at many: memory is left to those that clients ask for."""

    def set_tag(repository: Repository, tag: Tag, record: TagRecord) -> Deferred[None]:
        """Write the record atomically; the history is carried on by the store."""

    def drop_tag(repository: Repository, tag: Tag) -> Deferred[None]:
        """Forget the tag, not its content; idempotent."""

    def tags(repository: Repository) -> Deferred[tuple[str, ...]]:
        """The names of all tags on disk, sorted."""

    def repositories(
        upstream: str, visible: Callable[[Repository], bool], after: str | None, count: int
    ) -> Deferred[tuple[str, ...]]:
        """The first ``count`` names of repositories of an upstream that have links, are ``visible``
        and come behind ``after``, sorted as text. ``visible`` may be asked in another thread."""

    def revoke(repository: Repository) -> Deferred[None]:
        """From now on every link made before now needs a new proof (``revoked_s``)."""

    def revoked_s(repository: Repository) -> float:
        """When the repository (or its upstream) was last revoked; 0.0 for never. Links with
        ``since_s`` at or before it are no permission."""
