"""Pins by hand: what an operator pins and unpins, and what a pin keeps."""

from __future__ import annotations

from collections.abc import Sequence

from regproxy.errors import StorageFailed
from regproxy.eviction.pins import Pins
from regproxy.inventory.looking import Looking
from regproxy.oci.images import ImagePattern


class Pinning:
    """Over ``pins``, and ``looking`` for what they mean."""

    def __init__(self, pins: Pins, looking: Looking) -> None:
        self._pins = pins
        self._looking = looking

    async def known(self) -> None:
        """What follows is said of all pins: soon after a start the file may not be read yet. StorageFailed
        where it cannot be."""
        await self._pins.load()
        if not self._pins.loaded:
            raise StorageFailed("what operators have pinned cannot be read now; the mirror's log says why")

    def listed(self) -> Sequence[tuple[str, bool]]:
        """All pins, those of the settings first, each with whether it is one of them."""
        return [(str(pin.pattern), pin.written) for pin in self._pins.list()]

    def by_settings(self, pattern: ImagePattern) -> bool:
        """Whether the settings pin it: only there it can be taken away."""
        return any(pin.written and pin.pattern == pattern for pin in self._pins.list())

    def by_hand(self, pattern: ImagePattern) -> bool:
        """Whether an operator has pinned it."""
        return any(not pin.written and pin.pattern == pattern for pin in self._pins.list())

    async def add(self, pattern: ImagePattern) -> bool:
        """Pin it, over restarts; False: it was pinned. StorageFailed, InvalidRequest."""
        return await self._pins.add(pattern)

    async def remove(self, pattern: ImagePattern) -> bool:
        """Unpin it; False: no operator had pinned it. StorageFailed."""
        return await self._pins.remove(pattern)

    async def kept_by(self, pattern: ImagePattern) -> tuple[int, int]:
        """As :meth:`Looking.kept_by`."""
        return await self._looking.kept_by(pattern)
