"""The upstreams that an operator has taken offline by hand, so that they still are after a restart.

offline.json    one line of JSON: since when, by name
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from regproxy.errors import StorageFailed
from regproxy.oci.repository import is_upstream_name
from regproxy.storage import durable
from regproxy.storage.records import format_record, parse_record, read_record, seconds

_log = Logger()

NAME = "offline.json"
MAX_NAMES = 1000


class OfflineNotes:
    """The file below ``root``; ``run`` does what is long in the disk's thread."""

    def __init__(self, root: Path, run: Callable[..., Deferred[Any]]) -> None:
        self._path = root / NAME
        self._run = run

    def read(self) -> dict[str, float]:
        """Since when each is offline, seconds since the epoch; what is no such note says nothing, but for a
        line in the log. Blocks for a moment."""
        try:
            written = parse_record(read_record(self._path))
        except StorageFailed:
            written = None
        notes = {
            name: since_s
            for name, since in list((written or {}).items())[:MAX_NAMES]
            if is_upstream_name(name) and (since_s := seconds(since)) is not None
        }
        if os.path.lexists(self._path) and len(notes) < len(written or {"": None}):
            _log.warn(
                "{path} is damaged: of the upstreams that were taken offline by hand only these still are: "
                "{names}; 'regproxy offline' takes one offline again",
                path=str(self._path),
                names=", ".join(notes) or "none",
            )
        return notes

    def write(self, notes: Mapping[str, float]) -> Deferred[None]:
        """From now on these; StorageFailed."""
        return self._run(self._write, dict(notes))

    def _write(self, notes: Mapping[str, float]) -> None:
        if notes:
            durable.write_atomic(self._path, format_record(notes))
        else:
            durable.remove(self._path)
