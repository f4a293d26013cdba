"""The rest of a blob whose size nobody tells, where its connection broke: it ends where a body does.

Laws: one connection at a time, from the front on. Whether the end is the right one only the hash tells.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from regproxy.errors import UpstreamError
from regproxy.fill.supply import Supply
from regproxy.fill.transfer import pump
from regproxy.interfaces import ISpool


async def bring_rest(
    broke: UpstreamError,
    supply: Supply,
    spool: ISpool,
    clock: IReactorTime,
    landed: Callable[[int], None],
) -> None:
    """Ask on behind what ``spool`` has until a body comes to its end; ``landed`` is told each new front.

    Raises what ended it: StorageFailed, or why nobody could go on.
    """
    failures = 0
    while True:
        failures = await supply.recover(broke, failures + 1)
        before = spool.front
        try:
            body = await supply.open(before, before)
            try:
                await pump(body, spool.append, clock, landed)
            finally:
                body.close()
        except UpstreamError as error:
            broke = error
            failures = 0 if spool.front > before else failures
        else:
            return
