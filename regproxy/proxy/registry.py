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
from regproxy.proxy.completeness import Completeness
from regproxy.proxy.manifests import ProxyManifestStore
from regproxy.proxy.moved import MovedTags
from regproxy.proxy.negatives import Negatives, RememberingRemote
from regproxy.proxy.permission import Permission
from regproxy.proxy.questions import TagQuestions
from regproxy.proxy.stand_ins import StandIns
from regproxy.proxy.tag_lists import TagLists
from regproxy.proxy.tag_rules import TagRules
from regproxy.proxy.tags import ProxyTagService
from regproxy.settings import FillSettings, TagRule

EACH_THE_SAME: Mapping[str, Callable[[], int]] = {}

MAX_LISTING = 8
"""So many walks over the names on disk wait for their thread: each looks at every folder, at worst."""


class ProxyRegistry:
    """Everything that is served to clients: ``blobs``, ``manifests``, ``tags``; the ``fills``, ``negatives``.

    ``remotes`` and ``rules`` (those of the settings, an upstream's own ones first) are keyed by upstream
    name; ``wall`` gives seconds since the epoch. ``rules`` says what a tag is under, ``moved`` knows of
    versions that came to mean something else, ``complete`` which image of a tag the disk has whole.
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
        logins: Mapping[str, Callable[[], int]] = EACH_THE_SAME,
        max_size_bytes: int | None = None,
        pinned: Callable[[Repository, Tag], bool] = lambda repository, tag: False,
    ) -> None:
        """``logins`` tell one login of an upstream from another one, for what is remembered of it; ``pinned``
        tags stay although their upstream has them no more."""

        def link(repository: Repository, digest: Digest, since_s: float) -> Deferred[None]:
            return store.grant(repository, digest, Kind.BLOB, "", "head", since_s)

        self._store = store
        self._remotes = remotes
        self._listing = 0
        self.negatives = Negatives(clock)
        remotes = {
            name: RememberingRemote(remote, self.negatives, logins.get(name, lambda: 0))
            for name, remote in remotes.items()
        }
        self.fills = FillTable(clock, link, store.revoked_s, fill, max_size_bytes)
        permission = Permission(store, remotes)
        self.blobs = ProxyBlobStore(store, remotes, self.fills, permission, uses, fill.ahead)
        self.manifests = ProxyManifestStore(store, remotes, permission, uses, self.blobs.ahead.served)
        self.rules = under = {name: TagRules(rules.get(name, ())) for name in remotes}
        figures = figures or TagFigures.apart()
        self.moved = MovedTags(figures.moved)
        questions = TagQuestions(store, remotes, self.manifests, under, wall, figures, self.moved, pinned)
        self.complete = Completeness(store, clock)
        lists = TagLists(store, remotes, under, clock, wall)
        self.tags = ProxyTagService(
            store,
            remotes,
            self.manifests,
            lists,
            questions,
            StandIns(remotes, questions, self.complete),
            under,
            clock,
            wall,
            uses,
            figures,
            self.negatives.forget,
        )

    def manifest_at_hand(self, repository: Repository, reference: Reference) -> TagAnswer | None:
        """What a tag or digest names, where that needs no waiting and no question; None says nothing."""
        if isinstance(reference, Tag):
            return self.tags.at_hand(repository, reference)
        manifest = self.manifests.at_hand(repository, reference)
        return None if manifest is None else TagAnswer(manifest.descriptor, manifest, How.HIT)

    def warnings(self, repository: Repository, reference: Reference | None) -> tuple[str, ...]:
        """What the upstream warns of; as :meth:`IRemoteRegistry.warnings`."""
        return self._remotes[repository.upstream].warnings(repository, reference)

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
