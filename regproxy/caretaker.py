"""What keeps the folder good, behind everything else: surveys that mend, the scrub, what is brought back."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed, UnknownUpstream
from regproxy.eviction.pinned import Pinned
from regproxy.gauges import show_upkeep
from regproxy.interfaces import ILocalStore, Kind
from regproxy.metrics.figures import Figures
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import Settings
from regproxy.storage.store import DiskStore
from regproxy.storage.survey import Survey
from regproxy.storage.thread import DiskThread
from regproxy.upkeep.record import RecordFile
from regproxy.upkeep.repairs import Repairs
from regproxy.upkeep.scrubber import Scrubber


@attrs.frozen
class Caretaker:
    """What keeps the folder good: the scrub, and what brings back what pins keep and the disk lost."""

    scrubber: Scrubber
    repairs: Repairs
    thread: DiskThread
    figures: Figures
    settled: Callable[[], Deferred[None]]
    """Fires when it is known what pins keep."""

    def surveyed(self, found: Survey | None) -> None:
        """A survey has ended; None: early. From the first one on the scrub works."""
        self.scrubber.begin()
        if found is None:
            return
        for kind, count in mended(found).items():
            self.figures.mended(kind, count)
        for digest in found.wrong:
            self.scrubber.noted(digest, "size")
        if found.whole:
            Deferred.fromCoroutine(self.scrubber.surveyed()).addErrback(_cancelled)
        if found.lost:
            self.settled().addCallback(lambda _: self.repairs.take(found.lost))

    async def end(self) -> None:
        """Write how far it is, and end the thread, which ends too when this is cancelled."""
        self.repairs.stop()
        try:
            await self.scrubber.stop()
        finally:
            ended = self.thread.stop()
        await ended


def mended(found: Survey) -> dict[str, int]:
    """What a survey put right, by the words of the figures."""
    return {
        "orphan": found.orphans_removed,
        "link": found.links_removed,
        "size": found.wrong_sizes,
        "spool": found.spools_removed,
        "temporary": found.temporaries_removed,
    }


async def bring_back(
    registry: ProxyRegistry,
    store: ILocalStore,
    names: Set[str],
    repository: Repository,
    kind: Kind,
    digest: Digest,
) -> None:
    """Fetch what the disk has lost. StorageFailed where it came and the disk had no room for it: then it is
    not here again."""
    if repository.upstream not in names:
        raise UnknownUpstream(f"{repository.upstream} is none of this mirror's upstreams")
    if kind is Kind.MANIFEST:
        await registry.manifests.get(repository, digest)
    else:
        await registry.blobs.bring(repository, digest)
    if store.holds(digest) is None:
        raise StorageFailed("it came, and the disk did not keep it")


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)


def build_caretaker(
    settings: Settings,
    store: DiskStore,
    pinned: Pinned,
    registry: ProxyRegistry,
    busy: Callable[[], bool],
    reactor: Any,
    wall: Callable[[], float],
    figures: Figures,
) -> Caretaker:
    """The scrub over ``store``, and what fetches again; nothing is read yet."""
    thread = DiskThread(reactor, "regproxy-upkeep", store.health.refused)
    store.survey_by(settings.survey.files_s, pinned.holds)

    names = frozenset(upstream.name for upstream in settings.upstreams)
    fetch = partial(bring_back, registry, store, names)
    repairs = Repairs(pinned.holds, fetch, reactor, partial(figures.mended, "repaired"))
    scrubber = Scrubber(
        store.scrubbed,
        settings.scrub.every_s,
        RecordFile(settings.storage.root),
        thread.run,
        reactor,
        wall,
        time.monotonic,
        busy,
        lambda digest, holders: repairs.take((holder, kind, digest) for holder, kind in holders),
        figures.scrubbed,
    )
    show_upkeep(figures, scrubber)
    return Caretaker(scrubber, repairs, thread, figures, pinned.settled)
