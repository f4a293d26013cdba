"""A use is passed on: from a tag to its manifest, from an index to its cached children, from a
manifest to its config and layers. At most once in a while for each, behind everything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from regproxy.errors import RegproxyError
from regproxy.expiry.entries import Entries, key_of
from regproxy.expiry.slices import Slices
from regproxy.interfaces import IRemovals
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

MAX_WAITING = 10_000
MAX_DEPTH = 4
EVERY_S = 3600.0


def spread_every_s(ttl_s: float | None) -> float:
    """How often a use is passed on: hourly, or four times within a shorter life."""
    return EVERY_S if ttl_s is None else min(EVERY_S, ttl_s / 4)


@attrs.frozen(slots=True)
class _Use:
    repository: Repository
    reference: Reference
    time_s: float


class Spreading:
    """Passes uses on. ``touch`` moves the use of a key forward; ``every`` gives the pause by upstream."""

    def __init__(
        self,
        store: IRemovals,
        entries: Entries,
        slices: Slices,
        touch: Callable[[str, float], None],
        every: Callable[[str], float],
    ) -> None:
        self._store = store
        self._entries = entries
        self._slices = slices
        self._touch = touch
        self._every = every
        self._spread_s: dict[str, float] = {}
        self._waiting: deque[_Use] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def used(self, key: str, repository: Repository, reference: Reference, now_s: float) -> bool:
        """A tag or manifest was used; whether there is something to pass on now."""
        last_s = self._spread_s.get(key)
        if last_s is not None and now_s - last_s < self._every(repository.upstream):
            return False
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._spread_s[key] = now_s
        self._waiting.append(_Use(repository, reference, now_s))
        return True

    def forget(self, key: str) -> None:
        """The entry is gone."""
        self._spread_s.pop(key, None)

    async def work(self) -> None:
        """Pass on everything that waits."""
        self._slices.restart()
        while self._waiting:
            use = self._waiting.popleft()
            if isinstance(use.reference, Tag):
                record = self._store.tag(use.repository, use.reference)
                digest = record.descriptor.digest if record is not None else None
            else:
                digest = use.reference
            if digest is not None:
                await self._from(use, digest)

    async def _from(self, use: _Use, top: Digest) -> None:
        seen = {top}
        level = [top]
        self._reach(use, top)
        for _ in range(MAX_DEPTH):
            below = [named for digest in level for named in await self._named(use.repository, digest)]
            level = []
            for digest in below:
                if digest not in seen:
                    seen.add(digest)
                    if self._reach(use, digest):
                        level.append(digest)
                if self._slices.over:
                    await self._slices.give_way()
            if not level:
                return

    def _reach(self, use: _Use, digest: Digest) -> bool:
        """Touch what is cached; whether it is a manifest, that names more."""
        key = key_of(use.repository, digest)
        entry = self._entries.get(key)
        if entry is None:
            return False
        self._touch(key, use.time_s)
        if entry.type == "manifest":
            self._spread_s[key] = max(use.time_s, self._spread_s.get(key, 0.0))
            return True
        return False

    async def _named(self, repository: Repository, digest: Digest) -> list[Digest]:
        try:
            manifest = await self._store.manifests.get(repository, digest)
        except RegproxyError:
            return []
        return [descriptor.digest for descriptor in manifest.names()]
