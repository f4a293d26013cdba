"""What makes content go, by age and for want of space: scheduler and evictor, introduced to each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.eviction.evictor import Evictor
from regproxy.eviction.limits import Limits
from regproxy.eviction.pins import PinFile, Pins
from regproxy.expiry.files import StateFiles
from regproxy.expiry.pulse import Pulse
from regproxy.expiry.scheduler import TTLExpirationScheduler
from regproxy.interfaces import Watchers
from regproxy.metrics.figures import Figures
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.settings import Settings
from regproxy.storage.store import DiskStore
from regproxy.storage.thread import DiskThread

_log = Logger()


@attrs.frozen
class Eviction:
    """What takes content for want of space, what never goes, and the thread that decides."""

    evictor: Evictor
    pins: Pins
    thread: DiskThread


@attrs.frozen
class Expiry:
    """The scheduler, the thread that its files are written in, and what goes before its time."""

    scheduler: TTLExpirationScheduler
    store: DiskStore
    thread: DiskThread
    pulse: Pulse
    eviction: Eviction | None = None

    def begin(self) -> Deferred[None]:
        """Read pins and state, behind the serving daemon; the store tells of all that comes and goes from
        now, and asks for room."""
        return Deferred.fromCoroutine(self._begin())

    async def _begin(self) -> None:
        if self.eviction is None:
            self.store.watch(self.scheduler)
            await self.scheduler.start()
            return
        evictor = self.eviction.evictor
        self.store.watch(Watchers(self.scheduler, evictor))
        self.store.limit(evictor)
        await evictor.start()
        await self.scheduler.start()
        try:
            await self.store.census()
        except StorageFailed as error:
            _log.error("The content cannot be counted yet: {error}", error=str(error))

    def pins(self, repository: Repository, tag: Tag) -> bool:
        """Whether that tag is pinned."""
        return self.eviction is not None and self.eviction.pins.covers(repository, tag)

    async def end(self) -> None:
        """Write the state and end the threads, which end too when this is cancelled."""
        threads = [self.thread]
        try:
            if self.eviction is not None:
                threads.append(self.eviction.thread)
                await self.eviction.evictor.stop()
            await self.scheduler.stop()
        finally:
            ended = [thread.stop() for thread in threads]
        for each in ended:
            await each


def build_expiry(
    settings: Settings,
    store: DiskStore,
    pulse: Pulse,
    reactor: Any,
    wall: Callable[[], float],
    figures: Figures | None = None,
) -> Expiry:
    """The scheduler and the evictor over ``store``; nothing is read yet."""
    figures = Figures() if figures is None else figures
    thread = DiskThread(reactor, "regproxy-state", store.health.refused)
    lives = {upstream.name: upstream.ttl_s for upstream in settings.upstreams}
    scheduler = TTLExpirationScheduler(
        store,
        StateFiles(settings.storage.root),
        thread.run,
        pulse,
        lambda upstream: lives.get(upstream, settings.ttl_s),
        reactor,
        wall,
        time.monotonic,
        figures.expired,
        kept=lambda key: eviction.evictor.pinned.holds(key),
        compared=lambda dead, entered: _compared(figures, dead, entered),
    )
    eviction = build_eviction(settings, store, scheduler, reactor, figures)
    return Expiry(scheduler, store, thread, pulse, eviction)


def _compared(figures: Figures, dead: int, entered: int) -> None:
    figures.mended("entry", dead)
    figures.mended("unlisted", entered)


def build_eviction(
    settings: Settings, store: DiskStore, scheduler: TTLExpirationScheduler, reactor: Any, figures: Figures
) -> Eviction:
    """What goes when ``store`` has too much, by what ``scheduler`` knows of its use."""
    storage = settings.storage
    thread = DiskThread(reactor, "regproxy-planner", store.health.refused)
    pins = Pins(settings.pins, PinFile(storage.root), thread.run)
    limits = Limits(storage.max_size_bytes, storage.min_free_bytes, storage.low_water)
    evictor = Evictor(store, scheduler, limits, pins, thread.run, reactor, figures.evicted, figures.not_kept)
    return Eviction(evictor, pins, thread)
