"""Whether an upstream is there: what cannot be fetched again is not removed by age."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

_log = Logger()

BELIEVED_S = 600.0
"""For so long an answer counts, if no failure came after it, and a failed probe is not repeated."""

Probe = Callable[[], Deferred[bool]]


@attrs.define(slots=True)
class _Heard:
    answered_s: float | None = None
    failed: bool = False
    probed_s: float | None = None


class Pulse:
    """What was heard of each upstream.

    An upstream without a probe is not in the settings: nobody can ask for its content, so it may go.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._probes: dict[str, Probe] = {}
        self._heard: dict[str, _Heard] = {}

    def watch(self, upstream: str, probe: Probe) -> None:
        """``probe`` asks the upstream's ``/v2/``: whether any answer below 500 came."""
        self._probes[upstream] = probe
        self._heard[upstream] = _Heard()

    def answered(self, upstream: str) -> None:
        """It answered, with whatever status below 500."""
        heard = self._heard.get(upstream)
        if heard is not None:
            heard.answered_s, heard.failed = self._monotonic(), False

    def failed(self, upstream: str) -> None:
        """No connection, no answer in time, or a 5xx."""
        heard = self._heard.get(upstream)
        if heard is not None:
            heard.failed = True

    def heard(self, upstream: str, answered: bool) -> None:
        """A call to it has ended."""
        if answered:
            self.answered(upstream)
        else:
            self.failed(upstream)

    async def alive(self, upstream: str) -> bool:
        """Whether it has answered within the last ten minutes and not failed since; else a probe decides."""
        heard = self._heard.get(upstream)
        if heard is None:
            return True
        if not heard.failed and self._recent(heard.answered_s):
            return True
        if self._recent(heard.probed_s):
            return False
        return await self._probe(upstream, heard)

    def _recent(self, time_s: float | None) -> bool:
        return time_s is not None and self._monotonic() - time_s < BELIEVED_S

    async def _probe(self, upstream: str, heard: _Heard) -> bool:
        heard.probed_s = self._monotonic()
        if await self._probes[upstream]():
            heard.answered_s, heard.failed, heard.probed_s = self._monotonic(), False, None
            return True
        heard.failed, heard.probed_s = True, self._monotonic()
        _log.info("{upstream} does not answer: what is cached of it does not expire", upstream=upstream)
        return False
