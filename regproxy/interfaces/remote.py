"""One upstream registry, read side."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from regproxy.interfaces.sources import IBlobSource, IBody, IManifestSource, IRangedBlob
from regproxy.interfaces.standing import Allowance, Standing
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag


class IRemoteBlobs(IBlobSource):
    """The blobs of one upstream."""

    def open_from(
        repository: Repository, digest: Digest, start: int, validator: str | None
    ) -> Deferred[IRangedBlob]:
        """The blob, whose body begins at ``start``: its bytes before that were had from another time.

        One GET by Range, a proof as :meth:`open` is one. Where the upstream ignores Range, or has not the
        blob any more that it gave ``validator`` for, the body begins at 0: see ``start``. ``size`` is that of
        the whole. Fails as :meth:`open` does, with RangeIgnored where other bytes came.
        """

    def resume(repository: Repository, digest: Digest, start: int, size: int | None) -> Deferred[IBody]:
        """The bytes from ``start`` on of a blob that was opened before and had ``size`` then.

        By Range, of which only an exact 206 is accepted; where an upstream ignores it, the bytes
        before ``start`` are read and dropped. Fails as :meth:`open` does, with ContentMismatch where
        the size is another one now.
        """


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
    blobs: IRemoteBlobs = Attribute("an IRemoteBlobs; open() is one GET, no HEAD before it (P15)")
    manifests: IManifestSource = Attribute("an IManifestSource; bytes are verified")
    tags: IRemoteTags = Attribute("an IRemoteTags")

    def check_credentials() -> Deferred[None]:
        """Ask for a token (or /v2/ with Basic) once; fails with UpstreamRefused when refused."""

    def answers() -> Deferred[bool]:
        """Whether its ``/v2/`` gives any answer below 500 in time; never fails."""

    def standing() -> Standing:
        """How it stands now; costs a microsecond, never raises."""

    def endpoints() -> Sequence[tuple[str, Standing]]:
        """Each endpoint's host, with its port, in the order of the settings, and how it stands now."""

    def allowance() -> Allowance:
        """What its rate limit leaves us; costs a microsecond, never raises."""

    def warnings(repository: Repository, reference: Reference | None) -> tuple[str, ...]:
        """What its last answer about a tag, a manifest, or (None) the list of tags warns of (R93).

        Harmless texts for ``Warning: 299``; costs a microsecond, never raises.
        """

    def set_offline(offline: bool, since_s: float | None = None) -> bool:
        """Ask it nothing from now on, or again; whether that is news. ``since_s``: epoch, None: now."""

    def close() -> Deferred[None]:
        """Close idle connections and cancel what is under way."""
