"""How often clients may have a fresh tag confirmed (``Cache-Control: no-cache``), so that nobody drains the
rate limit of an upstream with it. Pure but for what it remembers: time is an argument.
"""

from __future__ import annotations

from typing import TypeAlias

from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag

EACH_S = 10.0
"""One tag is confirmed so seldom."""
BURST = 20
"""So many tags of an upstream one after the other ..."""
REFILL_S = 3.0
"""... and then one each three seconds: 1200 an hour, HEADs all of them."""

_Key: TypeAlias = tuple[Repository, Tag]


class Forcing:
    """What may be forced of one upstream. Holds no more than the tags that were admitted within EACH_S."""

    def __init__(self) -> None:
        self._admitted: dict[_Key, float] = {}
        self._left = float(BURST)
        self._counted_s: float | None = None

    def admits(self, repository: Repository, tag: Tag, now_s: float) -> bool:
        """Whether a question is due since a client wants it; then it counts. ``now_s`` never goes back."""
        self._refill(now_s)
        for key, when_s in list(self._admitted.items()):  # the oldest first
            if now_s - when_s < EACH_S:
                break
            del self._admitted[key]
        if self._left < 1 or (repository, tag) in self._admitted:
            return False
        self._left -= 1
        self._admitted[repository, tag] = now_s
        return True

    def _refill(self, now_s: float) -> None:
        if self._counted_s is not None:
            self._left = min(float(BURST), self._left + (now_s - self._counted_s) / REFILL_S)
        self._counted_s = now_s
