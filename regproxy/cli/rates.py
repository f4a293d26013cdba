"""How fast fills are, from two or more looks at them. Pure: time is the daemon's own uptime."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import attrs

from regproxy.cli.document import Document, Fill

WINDOW_S = 5.0
MAX_LOOKS = 64


@attrs.frozen(slots=True)
class _Look:
    at_s: float
    front_bytes: int


class Rates:
    """Bytes a second of each fill over the last WINDOW_S; of one seen once, over its whole age."""

    def __init__(self) -> None:
        self._looks: dict[str, deque[_Look]] = {}

    def take(self, document: Document) -> Mapping[str, float]:
        """Look at all of them; what is not there any more is forgotten."""
        at_s = document.uptime_s or 0.0
        self._looks = {
            fill.digest: self._looked(fill, at_s, self._looks.get(fill.digest)) for fill in document.fills
        }
        return {fill.digest: self._rate(fill, self._looks[fill.digest]) for fill in document.fills}

    def _looked(self, fill: Fill, at_s: float, looks: deque[_Look] | None) -> deque[_Look]:
        begun_anew = not looks or fill.front_bytes < looks[-1].front_bytes or at_s <= looks[-1].at_s
        if looks is None or begun_anew:
            looks = deque(maxlen=MAX_LOOKS)
        looks.append(_Look(at_s, fill.front_bytes))
        while len(looks) > 2 and at_s - looks[0].at_s > WINDOW_S:
            looks.popleft()
        return looks

    def _rate(self, fill: Fill, looks: deque[_Look]) -> float:
        if len(looks) == 1:
            return fill.front_bytes / fill.age_s if fill.age_s > 0 else 0.0
        first, last = looks[0], looks[-1]
        return (last.front_bytes - first.front_bytes) / (last.at_s - first.at_s)
