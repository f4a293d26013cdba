"""What was lost and is pinned is fetched again at once; all else when somebody asks for it.

Laws: one at a time, since nobody waits for it; what cannot be had now is tried again, ever later, and the log
says so once a minute. However many there are, others have their turns between them. Bounded: beyond
``MAX_WAITING`` the next survey finds what is lacking still.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import RegproxyError
from regproxy.interfaces import Kind
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.seldom import Seldom

_log = Logger()

Lost: TypeAlias = tuple[Repository, Kind, Digest]
Fetch: TypeAlias = Callable[[Repository, Kind, Digest], Awaitable[object]]

MAX_WAITING = 10_000
FIRST_S, LAST_S = 60.0, 3600.0
MAX_TRIES = 24
FAILED_S = 0.1
"""After each that cannot be had now: an upstream that is down refuses thousands in no time."""
BREATH = 32
"""As many at most are looked at in one turn."""


@attrs.frozen(slots=True)
class _Waits:
    tries: int
    until_s: float


class Repairs:
    """``pinned`` says of a key whether it stays; ``fetch`` brings it back to the disk; ``counted`` is told of
    each that came."""

    def __init__(
        self,
        pinned: Callable[[str], bool],
        fetch: Fetch,
        clock: IReactorTime,
        counted: Callable[[], object] = lambda: None,
    ) -> None:
        self._pinned = pinned
        self._fetch = fetch
        self._clock = clock
        self._counted = counted
        self._waiting: OrderedDict[Lost, _Waits] = OrderedDict()
        self._sleeping: Deferred[None] | None = None
        self._working: Deferred[None] | None = None
        self._saying = Seldom()
        self._untold = 0
        self._stopped = False

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Repairs waiting={len(self)} working={self._working is not None}>"

    def take(self, lost: Iterable[Lost]) -> None:
        """These have no bytes any more: what of it is pinned comes back."""
        for one in lost:
            repository, _, digest = one
            if len(self._waiting) < MAX_WAITING and self._pinned(f"{repository}@{digest}"):
                self._waiting.setdefault(one, _Waits(0, self._clock.seconds()))
        if self._sleeping is not None and not self._sleeping.called:
            self._sleeping.cancel()
        if self._waiting and self._working is None and not self._stopped:
            self._working = Deferred.fromCoroutine(self._work())
            self._working.addErrback(self._broke).addBoth(self._ended)

    def _broke(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("Bringing back pinned content ended by a fault", failure)

    def _ended(self, _: None) -> None:
        self._working = None

    def stop(self) -> None:
        """Fetch nothing any more."""
        self._stopped = True
        if self._working is not None:
            self._working.cancel()

    async def _work(self) -> None:
        in_a_row = 0
        while self._waiting:
            now_s = self._clock.seconds()
            one = next((one for one, waits in self._waiting.items() if waits.until_s <= now_s), None)
            if one is None:
                await self._sleep(min(waits.until_s for waits in self._waiting.values()) - now_s)
                continue
            tries = self._waiting.pop(one).tries
            brought = await self._brought(one)
            if not brought and tries + 1 < MAX_TRIES:
                pause_s = min(FIRST_S * 2.0**tries, LAST_S)
                self._waiting[one] = _Waits(tries + 1, self._clock.seconds() + pause_s)
            in_a_row += 1
            if not brought:
                await self._sleep(FAILED_S)
            elif not in_a_row % BREATH:
                await self._sleep(0.0)

    def _sleep(self, seconds: float) -> Deferred[None]:
        """Until then, or until something new is taken."""
        self._sleeping = deferLater(self._clock, seconds)
        return self._sleeping.addErrback(self._woken)

    def _woken(self, failure: Failure) -> None:
        failure.trap(CancelledError)
        if self._stopped:
            failure.raiseException()

    async def _brought(self, one: Lost) -> bool:
        """Whether nothing is left to do for it."""
        repository, kind, digest = one
        if not self._pinned(f"{repository}@{digest}"):
            return True
        try:
            await self._fetch(repository, kind, digest)
        except RegproxyError as error:
            self._tell_failure(one, error)
            return False
        self._counted()
        _log.info(
            "{repository}@{digest} is pinned, was lost and is here again",
            repository=str(repository),
            digest=str(digest),
        )
        return True

    def _tell_failure(self, one: Lost, error: RegproxyError) -> None:
        self._untold += 1
        if self._saying.may(self._clock.seconds()):
            _log.warn(
                "{repository}@{digest} is pinned, was lost and cannot be fetched now: {error} ({count} tries "
                "failed since this was last said)",
                repository=str(one[0]),
                digest=str(one[2]),
                error=str(error),
                count=self._untold,
            )
            self._untold = 0
