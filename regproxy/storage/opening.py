"""Opening a folder: whether it is one of ours, that nobody else has it, what a kill has left there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from regproxy.errors import StorageFailed
from regproxy.storage import durable
from regproxy.storage.health import DiskHealth
from regproxy.storage.layout import Layout
from regproxy.storage.lock import FolderLock
from regproxy.storage.refusals import storage_failed
from regproxy.storage.store import DiskStore
from regproxy.storage.thread import DiskThread
from regproxy.storage.version import check_version, write_version


def open_store(root: Path, reactor: IReactorFromThreads, wall: Callable[[], float]) -> DiskStore:
    """Make, check, lock and clean the folder, and give the store over it. Blocks for a moment.

    A disk that takes no writes is opened too. StorageForeign, StorageLocked, StorageFailed.
    """
    layout = Layout(root)
    try:
        durable.make_folders(root)
        check_version(layout)
        lock = FolderLock.take(layout.lock)
    except OSError as error:
        raise storage_failed(error) from None
    health = DiskHealth(root, cast(IReactorTime, reactor), lambda: writer.run(store.look_for_room))
    writer = DiskThread(reactor, "regproxy-writer", health.refused)
    reader = DiskThread(reactor, "regproxy-reader")
    store = DiskStore(root, reactor, writer, reader, wall, health, lock)
    try:
        if check_version(layout) or write_version(layout):
            store.recover()
    except OSError as error:
        lock.release()
        raise storage_failed(error) from None
    except StorageFailed:
        lock.release()
        raise
    return store
