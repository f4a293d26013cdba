"""The endpoints of one upstream, in the order of the settings, and which of them fail at the moment.

Law: only trouble makes an endpoint step back, and only for a while: RETRY_S after its last failure it
is the first to be asked again, if the settings have it first. For blobs so does slowness, for SLOW_S. One
that stepped back is asked all the same when no other is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

RETRY_S = 15.0
SLOW_S = 300.0


@attrs.define(eq=False)
class Endpoint:
    """A base URL without path. ``later``: not the first of the settings, so its word is no refusal."""

    url: str
    later: bool
    failed_s: float | None = None
    """When it failed; None: its last answer was one."""
    slow_s: float | None = None
    """When a blob from it was too slow to be waited for; None: never."""

    def is_well(self, now_s: float) -> bool:
        """Whether it has not failed lately."""
        return self.failed_s is None or now_s - self.failed_s >= RETRY_S

    def is_slow(self, now_s: float) -> bool:
        """Whether it was found slow not long ago."""
        return self.slow_s is not None and now_s - self.slow_s < SLOW_S


class Endpoints:
    """At least one."""

    def __init__(self, urls: Sequence[str], clock: IReactorTime) -> None:
        self._clock = clock
        self._all = [Endpoint(url.rstrip("/"), number > 0) for number, url in enumerate(urls)]

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"<Endpoints {self._all}>"

    @property
    def first(self) -> str:
        """The one that the settings have first."""
        return self._all[0].url

    def order(self, by_speed: bool = False) -> list[Endpoint]:
        """Those to be asked, one after the other; ``by_speed``: for a blob."""
        return plan(self._all, self._clock.seconds(), by_speed)

    def elsewhere(self, endpoint: Endpoint) -> bool:
        """Whether a blob that ``endpoint`` sends slowly may be had from another."""
        now_s = self._clock.seconds()
        others = (each for each in self._all if each is not endpoint)
        return any(each.is_well(now_s) and not each.is_slow(now_s) for each in others)

    def slow(self, endpoint: Endpoint) -> None:
        """A blob from it was too slow to be waited for."""
        endpoint.slow_s = self._clock.seconds()

    def failed(self, endpoint: Endpoint) -> None:
        """It was asked and there was trouble, or it broke off in the middle."""
        endpoint.failed_s = self._clock.seconds()

    def answered(self, endpoint: Endpoint) -> None:
        """It gave an answer."""
        endpoint.failed_s = None


def plan(endpoints: Sequence[Endpoint], now_s: float, by_speed: bool = False) -> list[Endpoint]:
    """Who is to be asked first: the good ones as they are written, then who failed longest ago.

    ``by_speed``: of the good ones those that were found slow come last.
    """
    good = [each for each in endpoints if each.is_well(now_s)]
    if by_speed:
        good.sort(key=lambda each: each.is_slow(now_s))
    bad = [each for each in endpoints if each not in good]
    return good + sorted(bad, key=lambda each: each.failed_s or 0.0)
