"""Wrong bytes leave ``blobs/``; where the disk does not allow it they are remembered, and not served."""

from __future__ import annotations

import contextlib
import os
from typing import Protocol

from twisted.logger import Logger

from regproxy.oci.digest import Digest
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.ledger import Ledger
from regproxy.storage.occupancy import Occupancy
from regproxy.storage.quarantine import clear_out
from regproxy.storage.refusals import storage_failed

_log = Logger()


class Rooms(Protocol):
    """What it takes to set a file aside."""

    @property
    def layout(self) -> Layout:
        """Where everything lies."""

    @property
    def ledger(self) -> Ledger:
        """What knows the spoilt ones."""

    @property
    def occupancy(self) -> Occupancy:
        """What counts the blobs."""


def set_aside(rooms: Rooms, digest: Digest, found: os.stat_result) -> None:
    """Move the file under ``digest``, whose bytes were wrong when ``found`` was true, to ``quarantine/``."""
    layout = rooms.layout
    try:
        with rooms.occupancy.changing(digest, moved=True):
            durable.move_aside(layout.blob(digest), layout.quarantined(digest))
    except FileNotFoundError:
        return
    except OSError as error:
        rooms.ledger.spoilt.add(digest, found, wrong=True)
        _log.error(
            "{digest} is wrong and stays where it is, though nobody is served from it: {error}",
            digest=str(digest),
            error=storage_failed(error),
        )
        return
    with contextlib.suppress(OSError):  # a survey tries again
        clear_out(layout, rooms.occupancy)
