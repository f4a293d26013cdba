"""How much may be kept, and how much has to go. Pure: what is taken now in, verdicts out.

High water lies between low water and ``max_size``: removing begins there, behind the transfers, so that
few of them wait for it; it ends at low water. ``max_size`` itself is never passed but by what is in flight
without a size.
"""

from __future__ import annotations

import enum

import attrs

from regproxy.interfaces import DiskUse

DEFAULT_FREE_BYTES = 5 << 30
DEFAULT_FREE_SHARE = 0.05
SLACK_BYTES = 1 << 20
"""Of ``max_size``, or a part of 64, for what is written without asking: manifests, the rest of a block."""


class Reason(enum.Enum):
    """For the sake of which setting."""

    MAX_SIZE = "max_size"
    MIN_FREE = "min_free"


@attrs.frozen(slots=True)
class DiskRoom:
    """What the file system had, when ``use`` was what content took."""

    free_bytes: int
    total_bytes: int
    use: DiskUse

    def free_now(self, use: DiskUse) -> int:
        """What is free, promises kept, as far as we alone have changed it."""
        return self.free_bytes - self.use.pending - (use.all - self.use.all)


@attrs.frozen(slots=True)
class Need:
    """So many bytes have to go."""

    bytes: int
    reason: Reason


@attrs.frozen(slots=True)
class Limits:
    """``max_bytes`` None: no limit. ``min_free_bytes`` None: the smaller of 5 GiB and 5 % of the disk."""

    max_bytes: int | None = None
    min_free_bytes: int | None = None
    low_water: float = 0.9

    @property
    def low_bytes(self) -> int | None:
        """Low water."""
        return None if self.max_bytes is None else int(self.max_bytes * self.low_water)

    @property
    def high_bytes(self) -> int | None:
        """High water: half-way from low water to the limit."""
        return None if self.max_bytes is None else int(self.max_bytes * (1 + self.low_water) / 2)

    def free_floor(self, disk: DiskRoom) -> int:
        """What is to stay free."""
        if self.min_free_bytes is not None:
            return self.min_free_bytes
        return min(DEFAULT_FREE_BYTES, int(disk.total_bytes * DEFAULT_FREE_SHARE))

    def refuses(self, use: DiskUse, disk: DiskRoom | None, size_bytes: int) -> Reason | None:
        """Why there is no room for ``size_bytes`` more now; None: there is.

        Before content was counted it may be all that may be: nothing comes but what is left free for
        manifests.
        """
        if self.max_bytes is not None:
            kept_bytes = min(SLACK_BYTES, self.max_bytes // 64)
            most = self.max_bytes - kept_bytes if use.counted else kept_bytes
            if use.all + size_bytes > most:
                return Reason.MAX_SIZE
        if disk is not None and disk.free_now(use) < size_bytes + self.free_floor(disk):
            return Reason.MIN_FREE
        return None

    def need(self, use: DiskUse, disk: DiskRoom | None, waiting_bytes: int, *, begun: bool) -> Need | None:
        """What has to go now, so that ``waiting_bytes`` more come to low water; None: nothing.

        ``begun``: it goes on to low water, else it is not worth a beginning below high water.
        """
        needs = []
        low, high = self.low_bytes, self.high_bytes
        if low is not None and high is not None and use.counted:
            wanted = use.staying + waiting_bytes
            if wanted > (low if begun else high):
                needs.append(Need(wanted - low, Reason.MAX_SIZE))
        if disk is not None:
            floor, free_bytes = self.free_floor(disk), disk.free_now(use) - waiting_bytes
            enough = floor + int(floor * (1 - self.low_water))
            if free_bytes < (enough if begun else floor):
                needs.append(Need(enough - free_bytes, Reason.MIN_FREE))
        return max(needs, key=lambda need: need.bytes, default=None)

    def capacity(self, use: DiskUse, disk: DiskRoom | None) -> int | None:
        """How much content there may be in all."""
        capacities = [] if self.max_bytes is None else [self.max_bytes]
        if disk is not None:
            capacities.append(max(0, use.all + disk.free_now(use) - self.free_floor(disk)))
        return min(capacities, default=None)

    def worth_it(self, use: DiskUse, disk: DiskRoom | None, size_bytes: int, waiting_bytes: int) -> bool:
        """Whether something may go for ``size_bytes``: not for more than half of what there may be, nor
        when more waits than there may be."""
        capacity = self.capacity(use, disk)
        return capacity is None or (size_bytes <= capacity // 2 and size_bytes + waiting_bytes <= capacity)
