"""The seams between rooms. What a provider promises here, every provider keeps: one contract test
in ``regproxy.testing.contracts`` runs on the disk store, the remote store and the proxy store.

All of it runs in the reactor's thread. Sizes and offsets are bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface, implementer

from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag


class How(enum.Enum):
    """Where an answer came from, for logs and figures."""

    HIT = "hit"
    MISS = "miss"
    JOINED = "joined"
    REVALIDATED = "revalidated"
    STALE = "stale"


class Kind(enum.Enum):
    """As what a repository holds some bytes."""

    BLOB = "blob"
    MANIFEST = "manifest"


class IBody(Interface):
    """Some bytes of a blob, read at the reader's pace. The reader owns it and closes it."""

    def read(max_bytes: int) -> bytes | None:
        """Up to ``max_bytes`` that are at hand now; ``b""`` at the end; None: not yet, see ready().

        Raises what ended the transfer when no more will come (a typed error of ``errors``).
        Never returns a byte past the span it was opened for, and never blocks on a cold disk.
        """

    def ready() -> Deferred[None]:
        """Fires when :meth:`read` would give something else than None, be it an error.

        One outstanding call at a time. Cancelling it is allowed and harms nothing.
        """

    def close() -> None:
        """Let go of file or connection; idempotent. A pending ready() fails with TransferStopped."""


class IFileBody(IBody):
    """A body whose bytes are in a file, so that the kernel can send them by itself."""

    def send_file(socket_fd: int, max_bytes: int) -> int | None:
        """As :meth:`read`, but the bytes go to a non-blocking socket: how many, 0 at the end, None: not yet.

        Raises what read() raises, BlockingIOError when the socket takes no more now, OSError when
        it is broken.
        """


class IBlob(Interface):
    """An open blob: its size is known (or known to be unknown) and its bytes are at hand."""

    size: int | None = Attribute("the size of the whole blob, None while an upstream does not tell")
    how: How = Attribute("where it comes from")

    def body(start: int = 0, stop: int | None = None) -> IBody:
        """The bytes from ``start`` up to, not including, ``stop`` (None: the end).

        Called at most once. ``0 <= start <= stop <= size``; ``size`` must be known unless it is
        ``body(0, None)``. After it the body owns what the blob held, and close() does nothing.
        """

    def close() -> None:
        """Let go of it without reading; idempotent."""


class IBlobSource(Interface):
    """Anything that holds blobs: the disk, one upstream, the proxy over both."""

    def stat(repository: Repository, digest: Digest) -> Deferred[int | None]:
        """The size of the blob as ``repository`` holds it; None: it does, and its length is not told.

        Fails with ContentMissing (disk) or NotFound, Denied, Throttled, UpstreamTrouble.
        """

    def open(repository: Repository, digest: Digest) -> Deferred[IBlob]:
        """The blob, ready to be read. Fails as :meth:`stat` does.

        Cancelling the Deferred closes what was opened.
        """


class IManifestSource(Interface):
    """Anything that holds manifests by digest."""

    def stat(repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        """Size and media type of a manifest; fails as IBlobSource.stat does."""

    def get(repository: Repository, digest: Digest) -> Deferred[Manifest]:
        """The manifest, its bytes verified; fails as stat does, or with InvalidManifest."""


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
class TagList:
    """All tags of a repository, sorted."""

    tags: tuple[str, ...]
    how: How
    warning: str | None = None


class ITagService(Interface):
    """What tags mean, and which there are."""

    def get(repository: Repository, tag: Tag) -> Deferred[TagAnswer]:
        """The tag's manifest, fresh or marked stale."""

    def stat(repository: Repository, tag: Tag) -> Deferred[TagAnswer]:
        """The tag's descriptor, by the same freshness; at most one HEAD upstream (R11)."""

    def list(repository: Repository) -> Deferred[TagList]:
        """All tags: upstream's, or what is known of them with a warning (R94)."""


@attrs.frozen(slots=True)
class RemoteTag:
    """What an upstream says of a tag. ``manifest`` is there when its bytes had to be fetched."""

    descriptor: Descriptor
    etag: str | None = None
    manifest: Manifest | None = None


class IRemoteTags(Interface):
    """The tags of one upstream. Everything fails with NotFound, Denied, Throttled, UpstreamTrouble."""

    def get(repository: Repository, tag: Tag) -> Deferred[RemoteTag]:
        """One GET by tag; the digest is computed from the bytes, ``manifest`` is set (R14)."""

    def stat(repository: Repository, tag: Tag, known: RemoteTag | None) -> Deferred[RemoteTag | None]:
        """One HEAD, conditional when ``known`` is given; None: not changed (304, or the same digest).

        Becomes a GET only where HEAD is not served (405, 501) or gives no digest (R51).
        """

    def list(repository: Repository) -> Deferred[tuple[str, ...]]:
        """All tags, every page followed, sorted; bounded in number and size (R94)."""


class IRemoteRegistry(Interface):
    """One upstream registry, read side."""

    name: str = Attribute("its name in the settings")
    blobs: IBlobSource = Attribute("an IBlobSource; open() is one GET, no HEAD before it (P15)")
    manifests: IManifestSource = Attribute("an IManifestSource; bytes are verified")
    tags: IRemoteTags = Attribute("an IRemoteTags")

    def check_credentials() -> Deferred[None]:
        """Ask for a token (or /v2/ with Basic) once; fails with UpstreamRefused when refused."""

    def answers() -> Deferred[bool]:
        """Whether its ``/v2/`` gives any answer below 500 in time; never fails."""

    def close() -> Deferred[None]:
        """Close idle connections and cancel what is under way."""


class IFile(Interface):
    """An open file of the store, for one reader. Offsets are absolute."""

    def read_at(offset: int, max_bytes: int) -> bytes | None:
        """Bytes at ``offset``; None when they are not in memory, so that reading would block."""

    def send_at(socket_fd: int, offset: int, max_bytes: int) -> int | None:
        """Send bytes at ``offset`` to a socket; how many, 0 past the end of the file, None as read_at.

        BlockingIOError when the socket takes no more now, OSError when it is broken.
        """

    def warm(offset: int, max_bytes: int) -> Deferred[None]:
        """Bring these bytes into memory, in a thread."""

    def duplicate() -> IFile:
        """The same open file for one more reader, who closes it. StorageFailed, TransferStopped."""

    def close() -> None:
        """Close the descriptor; idempotent."""


class ISpool(Interface):
    """A blob that is being written, front only, hashed as it is written.

    Or an adopted one: a file under ``blobs/`` that is not trusted any more; the bytes it is given
    are its own, so append() only hashes and commit() restores the trust that its links had.
    """

    digest: Digest = Attribute("what it is to become")
    front: int = Attribute("bytes that are on disk and hashed, from the first on")

    def expect(size_bytes: int) -> Deferred[None]:
        """Allocate the whole file; StorageFailed when the disk has no room."""

    def append(chunks: list[bytes]) -> Deferred[int]:
        """Write and hash ``chunks`` after the front, in the disk thread; the new front. StorageFailed."""

    def matches() -> bool:
        """Whether what is there is what the digest names. Only when no append is outstanding."""

    def file() -> IFile:
        """A descriptor of its own for one reader; outlives commit and discard."""

    def add_source(repository: Repository) -> Deferred[None]:
        """Note in the map that ``repository`` is to hold this blob once it is whole."""

    def commit(proofs: Mapping[Repository, float]) -> Deferred[None]:
        """fsync, rename, fsync of the folder, link records; StorageFailed.

        ``proofs`` are the repositories whose upstream has shown that they hold it (invariant 5), each
        with the :meth:`ILocalStore.stamp` from before it was asked: that is its link's ``since_s``.
        """

    def discard() -> Deferred[None]:
        """Let go of it: a spool of new bytes is removed, an adopted file stays as it was.

        Idempotent, does nothing after commit. Open files go on reading what they have open.
        """

    def reject() -> Deferred[None]:
        """Its bytes are wrong: as discard, and an adopted file leaves ``blobs/`` for ``quarantine/``."""


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


@attrs.frozen(slots=True)
class TagRecord:
    """What is known of a tag, on disk. Times are seconds since the epoch."""

    descriptor: Descriptor
    etag: str | None
    checked_s: float
    history: tuple[tuple[Digest, float], ...] = ()
    """The last 20 digests with the time each was first seen, newest last."""


class ILocalStore(Interface):
    """The disk. Reading a record is a small synchronous read; all writing is in the disk thread."""

    blobs: IBlobSource = Attribute("an IBlobSource over what is on disk; how is HIT")
    manifests: IManifestSource = Attribute("an IManifestSource over what is on disk")

    def link(repository: Repository, digest: Digest) -> tuple[Kind, Link] | None:
        """The link record, as a blob or as a manifest; None where there is none or a broken one."""

    def holds(digest: Digest) -> int | None:
        """The size of the complete blob on disk under ``digest``, whoever holds it."""

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

    def adopt(digest: Digest) -> Deferred[tuple[ISpool, IBlob]]:
        """A blob file that is not trusted, to be hashed again while it is read: where its bytes
        come from, and the spool that they go to. ContentMissing."""

    def tag(repository: Repository, tag: Tag) -> TagRecord | None:
        """What is known of a tag; None when nothing is, or the record is broken."""

    def set_tag(repository: Repository, tag: Tag, record: TagRecord) -> Deferred[None]:
        """Write the record atomically; the history is carried on by the store."""

    def drop_tag(repository: Repository, tag: Tag) -> Deferred[None]:
        """Forget the tag, not its content; idempotent."""

    def tags(repository: Repository) -> Deferred[tuple[str, ...]]:
        """The names of all tags on disk, sorted."""

    def revoke(repository: Repository) -> Deferred[None]:
        """From now on every link made before now needs a new proof (``revoked_s``)."""

    def revoked_s(repository: Repository) -> float:
        """When the repository (or its upstream) was last revoked; 0.0 for never. Links with
        ``since_s`` at or before it are no permission."""


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
