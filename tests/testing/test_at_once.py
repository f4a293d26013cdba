"""Threads that are none, and time that a test makes."""

from __future__ import annotations

import errno

import pytest

from regproxy.errors import StorageFailed
from regproxy.testing.at_once import AtOnce, OneThread


async def test_a_job_is_over_when_run_returns() -> None:
    done: list[int] = []
    assert await AtOnce().run(lambda number: done.append(number) or number, 3) == 3
    assert done == [3]


async def test_errors_are_those_of_the_real_thread() -> None:
    told: list[OSError] = []
    thread = AtOnce(refused=lambda error: bool(told.append(error) or True))
    full = OSError(errno.ENOSPC, "no room")

    def job(error: Exception) -> None:
        raise error

    with pytest.raises(StorageFailed, match="full") as caught:
        await thread.run(job, full)
    assert (told, caught.value.told) == ([full], True)
    with pytest.raises(ValueError, match="a fault"):
        await thread.run(job, ValueError("a fault"))
    await thread.stop()
    with pytest.raises(StorageFailed, match="closed"):
        await thread.run(job, full)


def test_each_call_comes_at_its_own_moment() -> None:
    clock, seen = OneThread(), []

    def again() -> None:
        seen.append(clock.seconds())
        clock.callLater(10, again)

    clock.callLater(10, again)
    clock.run_for(35)
    assert seen == [10, 20, 30]
    assert clock.seconds() == 35
    clock.callFromThread(seen.append, 0)
    assert seen[-1] == 0
