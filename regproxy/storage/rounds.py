"""Surveys again and again: soon where the last could not see everything, weekly where it could."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from regproxy.errors import RegproxyError, TransferStopped
from regproxy.storage.survey import Survey

_log = Logger()

EVERY_S = 7 * 86_400.0
"""Others may change the folder too: figures, links and orphans are looked at anew each week."""
AGAIN_S, AGAIN_LAST_S = 600.0, 6 * 3600.0
"""When a survey that could not see everything is repeated: first, and at last."""


async def go_round(
    survey: Callable[[], Deferred[Survey]],
    clock: IReactorTime,
    every_s: float = EVERY_S,
    told: Callable[[Survey | None], object] = lambda found: None,
) -> None:
    """Survey until the store closes, or this is cancelled. ``told`` hears what each found; None: it ended
    early."""
    again_s = AGAIN_S
    while True:
        found: Survey | None = None
        try:
            found = await survey()
            whole = found.whole
        except TransferStopped:
            return
        except CancelledError:
            raise
        except RegproxyError as error:
            _log.error("The survey of the storage folder ended early: {error}", error=str(error))
            whole = False
        except Exception:  # noqa: BLE001  a fault in one survey, logged whole: a daemon of years needs the next
            _log.failure("A survey of the storage folder broke")
            whole = False
        told(found)
        await deferLater(clock, every_s if whole else again_s)
        again_s = AGAIN_S if whole else min(2 * again_s, AGAIN_LAST_S)
