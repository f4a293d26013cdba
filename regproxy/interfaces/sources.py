"""What holds bytes: the disk, one upstream, the proxy over both."""

from __future__ import annotations

import enum
from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from regproxy.errors import UpstreamError
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository


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


class IRemoteBody(IBody):
    """A body that comes over a line, which may be slow."""

    came: int = Attribute("how many bytes have come over the line, taken or not")

    def held() -> bool:
        """Whether, since the last call, something of ours kept bytes from coming: a reader or disk that
        does not take them, or a limit of ours."""

    def elsewhere() -> bool:
        """Whether its upstream has another endpoint that is well and was not found slow."""

    def give_up(error: UpstreamError, slow: bool) -> None:
        """End the connection; whoever reads gets what has come, then ``error``. ``slow``: the endpoint is
        remembered as slow, and asked after the others for a while. Nothing after the end."""


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


class IRangedBlob(IBlob):
    """A blob of which other connections may bring pieces while its body comes."""

    piece: Callable[[int, int], Deferred[IBody]] | None = Attribute(
        "opens the bytes from an offset up to another, of the very same blob; None where the source does "
        "not say that it serves ranges. Fails as IBlobSource.open does, with RangeIgnored where others came"
    )

    endpoint: str | None = Attribute(
        "which of several endpoints gives it; None where the source has one only"
    )
    start: int = Attribute(
        "the offset of the first byte that body() gives: 0, unless it was opened by IRemoteBlobs.open_from"
    )
    validator: str | None = Attribute("a strong ETag that came with it")

    def backlog() -> int:
        """How many bytes of its body have come and were not taken yet: with many, it is not the line
        that is slow."""


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
