"""How much may be kept, and how much has to go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.eviction.limits import DEFAULT_FREE_BYTES, SLACK_BYTES, DiskRoom, Limits, Need, Reason
from regproxy.interfaces import DiskUse

GIB = 1 << 30
NO_DISK = None

amounts = st.integers(0, 1000)
uses = st.builds(
    lambda blobs, spools, pending, unlinked, counted: DiskUse(
        blobs, spools, min(spools, pending), unlinked, counted
    ),
    amounts, amounts, amounts, amounts, st.booleans(),
)  # fmt: skip
disks = st.none() | st.builds(DiskRoom, amounts, st.integers(1000, 5000), uses)
limits = st.builds(Limits, st.none() | st.integers(1, 3000), st.none() | amounts, st.floats(0.1, 0.99))


def held(blobs: int, spools: int = 0, unlinked: int = 0) -> DiskUse:
    return DiskUse(blobs, spools, 0, unlinked, counted=True)


def test_a_limit_is_never_passed() -> None:
    hundred = Limits(100)
    assert hundred.refuses(held(60, 20, 10), NO_DISK, 9) is None
    assert hundred.refuses(held(60, 20, 10), NO_DISK, 10) is Reason.MAX_SIZE, "one for manifests"
    assert Limits(1 << 40).refuses(held(0), NO_DISK, (1 << 40) - SLACK_BYTES) is None


def test_it_begins_at_high_water_and_ends_at_low_water() -> None:
    hundred = Limits(100, low_water=0.8)
    assert hundred.need(held(90), NO_DISK, 0, begun=False) is None
    assert hundred.need(held(91), NO_DISK, 0, begun=False) == Need(11, Reason.MAX_SIZE)
    assert hundred.need(held(81), NO_DISK, 0, begun=True) == Need(1, Reason.MAX_SIZE)
    assert hundred.need(held(80), NO_DISK, 0, begun=True) is None
    assert hundred.need(held(70), NO_DISK, 25, begun=False) == Need(15, Reason.MAX_SIZE)


def test_what_is_unlinked_goes_by_itself() -> None:
    """It takes room, and nothing has to be removed for it."""
    hundred = Limits(100)
    assert hundred.need(held(50, 0, 60), NO_DISK, 0, begun=False) is None
    assert hundred.refuses(held(50, 0, 60), NO_DISK, 1) is Reason.MAX_SIZE


def test_before_it_was_counted_little_may_come_and_nothing_goes() -> None:
    """A daemon that was killed may have left all that may be."""
    hundred = Limits(100 * 64, low_water=0.9)
    assert hundred.refuses(DiskUse(40, 40), NO_DISK, 20) is None
    assert hundred.refuses(DiskUse(40, 40), NO_DISK, 21) is Reason.MAX_SIZE
    assert hundred.need(DiskUse(7000), NO_DISK, 0, begun=True) is None


def test_what_is_to_stay_free() -> None:
    limits, disk = Limits(min_free_bytes=100, low_water=0.75), DiskRoom(150, 1000, held(0))
    assert limits.refuses(held(0), disk, 50) is None
    assert limits.refuses(held(0), disk, 51) is Reason.MIN_FREE
    assert limits.refuses(held(30), disk, 20) is None, "30 were taken since the disk was looked at"
    assert limits.refuses(held(30), disk, 21) is Reason.MIN_FREE
    assert limits.need(held(50), disk, 0, begun=False) is None
    assert limits.need(held(60), disk, 0, begun=False) == Need(35, Reason.MIN_FREE)
    assert limits.need(held(45), disk, 0, begun=True) == Need(20, Reason.MIN_FREE)


def test_a_promise_that_was_not_taken_yet_is_no_free_room() -> None:
    """A sparse spool: the file system says that its room is free."""
    limits, use = Limits(min_free_bytes=0), DiskUse(0, 100, 80, 0, True)
    assert limits.refuses(use, DiskRoom(90, 1000, use), 10) is None
    assert limits.refuses(use, DiskRoom(90, 1000, use), 11) is Reason.MIN_FREE


def test_without_a_word_the_smaller_of_five_gib_and_five_percent_stays_free() -> None:
    assert Limits().free_floor(DiskRoom(0, 1000 * GIB, held(0))) == DEFAULT_FREE_BYTES
    assert Limits().free_floor(DiskRoom(0, 10 * GIB, held(0))) == GIB // 2
    assert Limits(min_free_bytes=0).free_floor(DiskRoom(0, 10 * GIB, held(0))) == 0


def test_nothing_goes_for_more_than_half() -> None:
    limits = Limits(100)
    assert limits.worth_it(held(90), NO_DISK, 50, 0)
    assert not limits.worth_it(held(90), NO_DISK, 51, 0)
    assert not limits.worth_it(held(90), NO_DISK, 30, 80)
    disk = DiskRoom(30, 1000, held(90))
    assert Limits(None, 20).capacity(held(90), disk) == 100
    assert Limits().capacity(held(90), NO_DISK) is None


@given(limits, uses, disks, amounts)
def test_what_fits_stays_within_the_limit(
    limit: Limits, use: DiskUse, disk: DiskRoom | None, size: int
) -> None:
    if limit.refuses(use, disk, size) is not None:
        return
    if limit.max_bytes is not None and use.counted:
        assert use.all + size <= limit.max_bytes
    if disk is not None:
        assert disk.free_now(use) - size >= limit.free_floor(disk)


@given(limits, uses, disks, amounts)
def test_when_what_is_needed_is_gone_nothing_more_is(
    limit: Limits, use: DiskUse, disk: DiskRoom | None, waiting: int
) -> None:
    """A round ends: it does not ask for more than it said."""
    need = limit.need(use, disk, waiting, begun=True)
    if need is None:
        assert limit.need(use, disk, waiting, begun=False) is None
        return
    assert need.bytes > 0
    after = DiskUse(use.blobs - need.bytes, use.spools, use.pending, use.unlinked, use.counted)
    assert limit.need(after, disk, waiting, begun=True) is None
