"""Long works that run behind everything else: by name, each at most once at a time, ended together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()


class Works:
    """What runs now. A fault in one is logged with its traceback and ends that one only."""

    def __init__(self) -> None:
        self._busy: dict[str, Deferred[None]] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._busy)

    def __contains__(self, name: str) -> bool:
        return name in self._busy

    def begin(self, name: str, job: Callable[[], Awaitable[None]]) -> Deferred[None]:
        """Run ``job`` unless one of that name runs, which takes up what is new.

        Fires at its end, however that comes; never fails.
        """
        if name in self._busy or self._stopped:
            return self._busy.get(name) or succeed(None)
        self._busy[name] = succeed(None)  # while it takes its first steps, of which one may begin it again

        def over(result: Failure | None) -> None:
            del self._busy[name]
            if isinstance(result, Failure) and not result.check(CancelledError):
                _log.failure("The scheduler's {name} failed", failure=result, name=name)

        working: Deferred[None] = Deferred.fromCoroutine(_awaited(job()))
        self._busy[name] = working
        return working.addBoth(over)

    def stop(self) -> None:
        """Nothing begins any more."""
        self._stopped = True

    async def end(self, but: str) -> None:
        """Cancel all, ``but`` one that comes to its own end; wait until nothing runs."""
        for name, working in list(self._busy.items()):
            if name != but:
                working.cancel()
        while self._busy:
            await next(iter(self._busy.values()))


async def _awaited(job: Awaitable[None]) -> None:
    await job
