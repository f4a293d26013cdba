"""What is done behind the serving daemon, which nobody waits for (invariant 6).

What was used comes first, then what there is; the credentials are tried, and the world is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.compose import Mirror
from regproxy.errors import UpstreamError, UpstreamRefused
from regproxy.interfaces import Circuit, IRemoteRegistry
from regproxy.probes import unreachable
from regproxy.settings import Settings, UpstreamSettings
from regproxy.storage.rounds import go_round
from regproxy.storage.survey import Survey

Work = Coroutine[Deferred[Any], Any, None]


class Behind:
    """Jobs that end by themselves, or with the daemon; one that fails is in the log."""

    log = Logger()

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        self._running: set[Deferred[None]] = set()

    def begin(self, mirror: Mirror, survey: Callable[[], Deferred[Survey]]) -> None:
        """Everything, at once; ``survey`` goes through the storage folder."""
        self._do(_awaited(mirror.begin()))
        self._do(self._look_inside(mirror, survey))
        asked = [each for each in self._settings.upstreams if _is_asked(mirror.remotes[each.name])]
        self._do(self._look_outside(asked))
        for upstream in asked:
            if upstream.credentials is not None:
                self._do(self._try_credentials(mirror.remotes[upstream.name]))

    def end(self) -> None:
        """Whatever still runs is cancelled."""
        for doing in list(self._running):
            doing.cancel()

    def _do(self, work: Work) -> None:
        doing: Deferred[None] = Deferred.fromCoroutine(work)
        self._running.add(doing)
        doing.addErrback(self._failed)
        doing.addBoth(lambda _: self._running.discard(doing))

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("Work behind the serving daemon failed", failure=failure)

    async def _look_inside(self, mirror: Mirror, survey: Callable[[], Deferred[Survey]]) -> None:
        """What is known of uses first, then what there is: what has no entry gets one."""
        if mirror.expiry is not None:
            await mirror.expiry.begin()
        caretaker = mirror.caretaker
        if caretaker is None:
            await go_round(survey, self._reactor, self._settings.survey.every_s)
            return
        await caretaker.scrubber.load()
        await go_round(survey, self._reactor, self._settings.survey.every_s, caretaker.surveyed)

    async def _look_outside(self, upstreams: Sequence[UpstreamSettings]) -> None:
        """At those that are not offline."""
        why = await unreachable(self._reactor, upstreams)
        if why is not None:
            self.log.warn(
                "No upstream can be reached ({why}): only what is on disk is served; without internet, "
                "`make demo` in the source tree shows a pull",
                why=why,
            )

    async def _try_credentials(self, remote: IRemoteRegistry) -> None:
        try:
            await remote.check_credentials()
        except UpstreamRefused as error:
            self.log.error("Credentials are refused: {error}", error=error.for_log)
        except UpstreamError as error:
            self.log.warn("Credentials could not be tried yet: {error}", error=error.for_log)


def _is_asked(remote: IRemoteRegistry) -> bool:
    return remote.standing().circuit is not Circuit.OFFLINE


async def _awaited(doing: Deferred[None]) -> None:
    await doing
