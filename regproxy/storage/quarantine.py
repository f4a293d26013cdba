"""What lies in ``quarantine/`` is for people to look at, and a disk that rots fills it: it is bounded.

Laws: what was set aside last stays longest; the last one stays whatever its size, as long as its time is not
over. Only regular files go. All of it runs in the writer's thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import attrs

from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.occupancy import Occupancy, regular
from regproxy.storage.space import disk_bytes

MOST = 64
MOST_BYTES = 1024 * 1024 * 1024
LIFE_S = 30 * 86_400.0


@attrs.frozen(slots=True)
class Aside:
    """One of them: its name, when it was set aside, what it takes of the disk."""

    name: str
    since_s: float
    disk_bytes: int


def surplus(found: Iterable[Aside], now_s: float) -> list[Aside]:
    """Which of them are not kept: those past their time, and beyond MOST and MOST_BYTES the oldest. Pure."""
    gone, count, size_bytes = [], 0, 0
    for one in sorted(found, key=lambda one: (one.since_s, one.name), reverse=True):
        count, size_bytes = count + 1, size_bytes + one.disk_bytes
        fits = count == 1 or (count <= MOST and size_bytes <= MOST_BYTES)
        if not fits or now_s - one.since_s >= LIFE_S:
            gone.append(one)
    return gone


def clear_out(layout: Layout, occupancy: Occupancy) -> None:
    """Remove what is too much. OSError."""
    folder = layout.quarantine
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    found = {name: there for name in names if (there := regular(folder / name)) is not None}
    asides = (Aside(name, there.st_ctime, disk_bytes(there)) for name, there in found.items())
    for one in surplus(asides, time.time()):  # a rename leaves the mtime as it is, and is the last change
        durable.remove(folder / one.name)
        occupancy.open_files.unlinked(found[one.name])
