"""Moves bytes from a body to the disk, in batches, at the pace of the disk.

Back-pressure: BATCHES_AHEAD appends are outstanding at most; what arrives meanwhile stays in the
body, which stops its socket when it holds enough. So memory is bounded whatever the blob's size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed, TransferStopped, UpstreamError
from regproxy.fill.plan import BATCH_BYTES, BATCHES_AHEAD, LINGER_S
from regproxy.interfaces import IBody


async def pump(
    body: IBody,
    write: Callable[[list[bytes]], Deferred[int]],
    clock: IReactorTime,
    landed: Callable[[int], None],
    room: Callable[[], int | None] = lambda: None,
) -> None:
    """``write`` the batches of ``body`` to its end, or until there is no ``room``, telling ``landed`` the
    new front after each.

    Raises what the body or the spool raises, when no write is outstanding. The caller closes both.
    """
    appending: deque[Deferred[None]] = deque()
    try:
        while batch := await next_batch(body, clock, room()):
            appending.append(write(batch).addCallback(landed))
            while len(appending) >= BATCHES_AHEAD or (appending and appending[0].called):
                await appending.popleft()
        while appending:
            await appending.popleft()
    finally:
        for left in appending:  # all before the first await, which may be cancelled too
            left.addErrback(_told_before)
        for left in appending:
            await left


def _told_before(failure: Failure) -> None:
    """One append failed, or the transfer is being ended: those behind it fail for the same reason."""
    failure.trap(StorageFailed, TransferStopped)


async def next_batch(body: IBody, clock: IReactorTime, room: int | None = None) -> list[bytes]:
    """The next BATCH_BYTES, ``room`` at most, or what came within LINGER_S of their first byte; [] at
    the end. Raises what the body raises, once all that came before it has been given."""
    limit = BATCH_BYTES if room is None else min(BATCH_BYTES, room)
    chunks: list[bytes] = []
    held = 0
    deadline = 0.0
    while held < limit:
        try:
            chunk = body.read(limit - held)
        except UpstreamError:
            if not chunks:
                raise
            break  # the next read tells it again
        if chunk == b"":
            break
        if chunk is not None:
            if not chunks:
                deadline = clock.seconds() + LINGER_S
            chunks.append(chunk)
            held += len(chunk)
        elif not chunks:
            await body.ready()
        elif not await _ready_before(body, clock, deadline):
            break
    return chunks


async def _ready_before(body: IBody, clock: IReactorTime, deadline: float) -> bool:
    """Whether the body has something new before ``deadline``."""
    waiting: Deferred[None] = body.ready()
    if waiting.called:
        await waiting
        return True
    timer = clock.callLater(max(0.0, deadline - clock.seconds()), waiting.cancel)
    try:
        await waiting
    except CancelledError:
        if timer.active():
            timer.cancel()
            raise
        return False
    finally:
        if timer.active():
            timer.cancel()
    return True
