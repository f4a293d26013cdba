"""The disk's own thread: order, errors, cancelling, the end."""

from __future__ import annotations

import errno
import threading

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from regproxy.errors import ContentMissing, StorageFailed
from regproxy.storage.refusals import storage_failed
from regproxy.storage.thread import DiskThread, shield


async def test_jobs_run_in_order_in_one_thread_that_is_not_the_reactors() -> None:
    """And answer in the reactor's."""
    thread = DiskThread(reactor, "test")
    seen: list[tuple[int, str]] = []
    jobs = [thread.run(lambda n=n: seen.append((n, threading.current_thread().name))) for n in range(50)]
    for job in jobs:
        job.addCallback(lambda _: threading.current_thread())
        assert await job is threading.main_thread()
    assert seen == [(n, "test") for n in range(50)]
    await thread.stop()


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "full"), (errno.EROFS, "read-only"), (errno.EIO, "EIO"), (errno.EXDEV, "EXDEV")],
)
async def test_the_systems_errors_become_ours(number: int, words: str) -> None:
    """With a reason for a person, and no path."""
    thread = DiskThread(reactor, "test")

    def refuse() -> None:
        raise OSError(number, "text", "/secret/path")

    with pytest.raises(StorageFailed, match=words) as caught:
        await thread.run(refuse)
    assert "/secret" not in str(caught.value)
    await thread.stop()


async def test_other_errors_arrive_as_they_are() -> None:
    """And the thread lives on."""
    thread = DiskThread(reactor, "test")

    def miss(error: BaseException) -> None:
        raise error

    with pytest.raises(ContentMissing):
        await thread.run(miss, ContentMissing("x"))
    with pytest.raises(ZeroDivisionError):
        await thread.run(miss, ZeroDivisionError())
    assert await thread.run(int, "5") == 5
    await thread.stop()


async def test_a_cancelled_job_still_runs_and_harms_nothing() -> None:
    """Only its answer is given up, be it an error."""
    thread = DiskThread(reactor, "test")
    gate = threading.Event()
    thread.run(gate.wait, 10)
    done: list[int] = []
    cancelled, failing = thread.run(done.append, 1), thread.run(int, "x")
    for job in (cancelled, failing):
        job.cancel()
        with pytest.raises(CancelledError):
            await job
    gate.set()
    assert await thread.run(int, "7") == 7
    assert done == [1]
    await thread.stop()


async def test_stop_finishes_what_is_queued_and_refuses_the_rest() -> None:
    """However often it is called."""
    thread = DiskThread(reactor, "test")
    done: list[int] = []
    for n in range(10):
        thread.run(done.append, n)
    first, second = thread.stop(), thread.stop()
    with pytest.raises(StorageFailed):
        await thread.run(done.append, 99)
    await first
    await second
    assert done == list(range(10))
    assert "test" not in [one.name for one in threading.enumerate()]
    await thread.stop()


async def test_stop_of_a_thread_that_never_began() -> None:
    """It refuses from then on."""
    thread = DiskThread(reactor, "test")
    await thread.stop()
    with pytest.raises(StorageFailed):
        await thread.run(int)
    assert "stopping" in repr(thread)


async def test_a_shield_drops_what_comes_too_late() -> None:
    """The inner Deferred is never cancelled; its late result is let go of."""
    dropped: list[int] = []
    inner: Deferred[int] = Deferred()
    outer = shield(inner, dropped.append)
    outer.cancel()
    with pytest.raises(CancelledError):
        await outer
    inner.callback(3)
    assert dropped == [3]
    failing: Deferred[int] = Deferred()
    gone = shield(failing)
    gone.cancel()
    with pytest.raises(CancelledError):
        await gone
    failing.errback(ValueError())


def test_an_error_without_a_number_has_a_line_too() -> None:
    """Such as the library raises."""
    assert str(storage_failed(OSError("odd"))) == "the disk refused (OSError)"
