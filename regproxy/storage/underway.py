"""Which digests have a spool now, so that the vacuum leaves their bytes alone, and spools' names."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from regproxy.oci.digest import Digest


class UnderWay:
    """Spools begin in the writer thread and end in the reactor's: hence the lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spools: dict[Digest, int] = {}
        self._names: Counter[str] = Counter()
        """One that was left may be taken up again before its former spool has closed."""
        self._waiting: set[Digest] = set()

    def __len__(self) -> int:
        return len(self._spools)

    def __contains__(self, digest: object) -> bool:
        return digest in self._spools

    def begin(self, digest: Digest, name: str | None) -> None:
        """A spool for ``digest`` is open; ``name`` when it has files of its own."""
        with self._lock:
            self._spools[digest] = self._spools.get(digest, 0) + 1
            if name is not None:
                self._names[name] += 1

    def end(self, digest: Digest, name: str | None) -> bool:
        """It is closed; whether the vacuum waits for that."""
        with self._lock:
            if name is not None:
                self._names[name] -= 1
                if not self._names[name]:
                    del self._names[name]
            left = self._spools.pop(digest, 1) - 1
            if left:
                self._spools[digest] = left
                return False
            waited = digest in self._waiting
            self._waiting.discard(digest)
            return waited

    def keeps(self, digest: Digest) -> bool:
        """Whether the bytes of ``digest`` must stay; then :meth:`end` tells when they need not."""
        with self._lock:
            if digest not in self._spools:
                return False
            self._waiting.add(digest)
            return True

    def has(self, name: str) -> bool:
        """Whether the spool of this name is open."""
        with self._lock:
            return name in self._names
