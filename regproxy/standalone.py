"""A store without its daemon: opened under its lock, held to the limits of the settings, closed again.

The credentials that the settings have are compared as at a start, before anything is written: else the next
start would take what lies there for what another credential was shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from regproxy.credentials import compare_credentials
from regproxy.errors import StorageFailed, StorageLocked
from regproxy.eviction.limits import DiskRoom, Limits, Reason
from regproxy.interfaces import DiskUse, IRoom
from regproxy.oci.digest import Digest
from regproxy.settings import Settings, StorageSettings
from regproxy.storage.layout import Layout
from regproxy.storage.occupancy import regular
from regproxy.storage.opening import open_store
from regproxy.storage.owner import check_owner
from regproxy.storage.store import DiskStore

T = TypeVar("T")


class FolderInUse(StorageFailed):
    """A daemon has the folder."""


async def with_store(
    settings: Settings,
    reactor: Any,
    wall: Callable[[], float],
    work: Callable[[DiskStore, Ceiling], Awaitable[T]],
) -> T:
    """What ``work`` makes of the store; it is closed in any case. StorageFailed, FolderInUse."""
    check_owner(settings.storage.root)
    try:
        store = open_store(settings.storage.root, reactor, wall)
    except StorageLocked as error:
        raise FolderInUse(str(error).partition(";")[0]) from None
    try:
        await compare_credentials(settings, store)
        await store.census()
        ceiling = Ceiling(settings.storage, store.disk_use)
        ceiling.look(*await store.room())
        store.limit(ceiling)
        return await work(store, ceiling)
    finally:
        await store.close()


def held_bytes(root: Path) -> Callable[[Digest], int | None]:
    """What tells the size of a blob in the folder ``root``, which a daemon may have."""
    layout = Layout(root)

    def size_bytes(digest: Digest) -> int | None:
        found = regular(layout.blob(digest))
        return None if found is None else found.st_size

    return size_bytes


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.1f} MiB"


@implementer(IRoom)
class Ceiling:
    """The limits, where nothing is evicted: what does not fit is refused, and says what to do."""

    def __init__(self, storage: StorageSettings, use: Callable[[], DiskUse]) -> None:
        self._limits = Limits(storage.max_size_bytes, storage.min_free_bytes, storage.low_water)
        self._use = use
        self._disk: DiskRoom | None = None

    def look(self, free_bytes: int, total_bytes: int) -> None:
        """What the file system has now."""
        self._disk = DiskRoom(free_bytes, total_bytes, self._use())

    def check(self, size_bytes: int) -> None:
        """StorageFailed where so much more does not fit."""
        why = self._limits.refuses(self._use(), self._disk, size_bytes)
        if why is Reason.MAX_SIZE:
            raise StorageFailed(
                f"it does not fit within storage.max_size: {_mib(size_bytes)} come, and content takes "
                f"{_mib(self._use().all)} of {_mib(self._limits.max_bytes or 0)}; raise it, or purge first"
            )
        if why is Reason.MIN_FREE and self._disk is not None:
            raise StorageFailed(
                f"it does not fit on the disk: {_mib(size_bytes)} come, "
                f"{_mib(self._disk.free_now(self._use()))} are free, and storage.min_free leaves "
                f"{_mib(self._limits.free_floor(self._disk))} of them alone"
            )

    def reserve(self, size_bytes: int) -> Deferred[None]:
        """As :meth:`IRoom.reserve`, at once."""
        given: Deferred[None] = Deferred()
        try:
            self.check(size_bytes)
        except StorageFailed as error:
            given.errback(error)
        else:
            given.callback(None)
        return given

    def capacity_bytes(self) -> int | None:
        """As :meth:`IRoom.capacity_bytes`."""
        return self._limits.capacity(self._use(), self._disk)
