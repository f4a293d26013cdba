"""The proxy registry: the local store and the remotes, introduced to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from regproxy.errors import Busy
from regproxy.fill.table import USUAL, FillTable
from regproxy.interfaces import NOBODY, How, ILocalStore, IRemoteRegistry, IUses, Kind, TagAnswer
from regproxy.metrics.tags import TagFigures
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.proxy.blobs import ProxyBlobStore
from regproxy.proxy.manifests import ProxyManifestStore
from regproxy.proxy.permission import Permission
from regproxy.proxy.tag_lists import TagLists
from regproxy.proxy.tags import ProxyTagService
from regproxy.settings import FillSettings, TagRule

MAX_LISTING = 8
"""So many walks over the names on disk wait for their thread: each looks at every folder, at worst."""


class ProxyRegistry:
    """Everything that is served to clients: ``blobs``, ``manifests``, ``tags``; and the ``fills``.

    ``remotes`` and ``rules`` are keyed by upstream name; ``wall`` gives seconds since the epoch.
    """

    def __init__(
        self,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        rules: Mapping[str, Sequence[TagRule]],
        clock: IReactorTime,
        wall: Callable[[], float],
        uses: IUses = NOBODY,
        figures: TagFigures | None = None,
        fill: FillSettings = USUAL,
        max_size_bytes: int | None = None,
    ) -> None:
        def link(repository: Repository, digest: Digest, since_s: float) -> Deferred[None]:
            return store.grant(repository, digest, Kind.BLOB, "", "head", since_s)

        self._store = store
        self._listing = 0
        self.fills = FillTable(clock, link, store.revoked_s, fill, max_size_bytes)
        permission = Permission(store, remotes)
        self.blobs = ProxyBlobStore(store, remotes, self.fills, permission, uses, fill.ahead)
        self.manifests = ProxyManifestStore(store, remotes, permission, uses, self.blobs.ahead.served)
        lists = TagLists(store, remotes, rules, wall)
        self.tags = ProxyTagService(store, remotes, self.manifests, lists, rules, clock, wall, uses, figures)

    def manifest_at_hand(self, repository: Repository, reference: Reference) -> TagAnswer | None:
        """What a tag or digest names, where that needs no waiting and no question; None says nothing."""
        if isinstance(reference, Tag):
            return self.tags.at_hand(repository, reference)
        manifest = self.manifests.at_hand(repository, reference)
        return None if manifest is None else TagAnswer(manifest.descriptor, manifest, How.HIT)

    def repositories(
        self, upstream: str, visible: Callable[[Repository], bool], after: str | None, count: int
    ) -> Deferred[tuple[str, ...]]:
        """As :meth:`ILocalStore.repositories`; :exc:`Busy` when too many listings are under way."""
        if self._listing >= MAX_LISTING:
            return fail(Busy("too many catalogs are asked for at once; try again"))
        self._listing += 1
        return self._store.repositories(upstream, visible, after, count).addBoth(self._listed)

    def _listed(self, result: tuple[str, ...] | Failure) -> tuple[str, ...] | Failure:
        self._listing -= 1
        return result

    def stop(self) -> Deferred[None]:
        """End all transfers; fires when files and connections are let go."""
        return self.fills.stop()
