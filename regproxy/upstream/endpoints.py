"""The endpoints of one upstream, in the order of the settings, and which of them fail at the moment.

Law: only trouble makes an endpoint step back, and only for a while: RETRY_S after its last failure it
is the first to be asked again, if the settings have it first. One that stepped back is asked all the
same when no other is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

RETRY_S = 15.0


@attrs.define(eq=False)
class Endpoint:
    """A base URL without path. ``later``: not the first of the settings, so its word is no refusal."""

    url: str
    later: bool
    failed_s: float | None = None
    """When it failed; None: its last answer was one."""


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

    def order(self) -> list[Endpoint]:
        """Those to be asked, one after the other."""
        return plan(self._all, self._clock.seconds())

    def failed(self, endpoint: Endpoint) -> None:
        """It was asked and there was trouble, or it broke off in the middle."""
        endpoint.failed_s = self._clock.seconds()

    def answered(self, endpoint: Endpoint) -> None:
        """It gave an answer."""
        endpoint.failed_s = None


def plan(endpoints: Sequence[Endpoint], now_s: float) -> list[Endpoint]:
    """Who is to be asked first: the good ones as they are written, then who failed longest ago."""
    good = [each for each in endpoints if each.failed_s is None or now_s - each.failed_s >= RETRY_S]
    bad = [each for each in endpoints if each not in good]
    return good + sorted(bad, key=lambda each: each.failed_s or 0.0)
