"""The map of one open spool, on the disk.

Laws: the writer's thread changes it durably; the syncer's adds what has reached the disk, without waiting
for that note to get there too: a power cut costs the note, never a byte that it would claim wrongly.
Once it is removed nothing brings it back.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import attrs

from regproxy.extents import Extent
from regproxy.storage import durable
from regproxy.storage.maps import SpoolMap, encode_map


class MapFile:
    """``known`` is what it says. Everything may raise OSError; then it says what it said before."""

    def __init__(self, path: Path, known: SpoolMap) -> None:
        self.known = known
        self._path = path
        self._lock = Lock()
        self._removed = False

    def write(self, **changes: Any) -> None:
        """Change it, durably."""
        with self._lock:
            changed = attrs.evolve(self.known, **changes)
            durable.write_atomic(self._path, encode_map(changed))
            self.known = changed

    def claim(self, there: tuple[Extent, ...], now_s: float) -> None:
        """These bytes have reached the disk."""
        with self._lock:
            if not self._removed and self.known.commitment is None:
                changed = attrs.evolve(self.known, there=there, written_s=now_s)
                durable.write_soon(self._path, encode_map(changed))
                self.known = changed

    def remove(self) -> None:
        """It is not needed any more."""
        with self._lock:
            self._removed = True
            durable.remove(self._path)
