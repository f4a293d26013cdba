"""The endpoints of one upstream, in the order of the settings, and which of them are asked at the moment.

Laws: one whose circuit is open is not asked; when that is all of them, nobody waits. One that has just
failed steps back behind the others, for blobs one that was slow too, for SLOW_S; both are asked all the
same when no other is left. While an operator has the upstream offline none is asked, and none is probed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import UpstreamDown
from regproxy.headers.origins import Origin
from regproxy.interfaces import Circuit, Standing
from regproxy.upstream.breaker import Breaker
from regproxy.upstream.circuit import CircuitState

OFFLINE = "an operator has it offline"
GOOD = Standing()
SLOW_S = 300.0


@attrs.frozen(eq=False)
class Endpoint:
    """A base URL without path. ``later``: not the first of the settings, so its word is no refusal."""

    url: str
    later: bool
    breaker: Breaker

    @property
    def host(self) -> str:
        """With its port, where that is not the usual one."""
        return str(Origin.of(self.url)).partition("://")[2]


class Endpoints:
    """At least one."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        breaker: Callable[[int, str], Breaker],
        clock: IReactorTime,
        wall: Callable[[], float],
        told: Callable[[int, Circuit], None] = lambda number, circuit: None,
    ) -> None:
        """``breaker`` makes that of an endpoint by its number and URL; ``told`` hears how each begins, and of
        being offline."""
        self._name = name
        self._clock = clock
        self._wall = wall
        self._told = told
        self._offline_s: float | None = None
        self._slow_s: dict[int, float] = {}
        bare = [url.rstrip("/") for url in urls]
        self._all = [Endpoint(url, number > 0, breaker(number, url)) for number, url in enumerate(bare)]
        for number in range(len(bare)):
            told(number, Circuit.CLOSED)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._all)

    def __repr__(self) -> str:
        return f"<Endpoints {'offline ' if self.offline else ''}{self._all}>"

    @property
    def first(self) -> str:
        """The one that the settings have first."""
        return self._all[0].url

    @property
    def offline(self) -> bool:
        """Whether an operator said that it is not to be asked."""
        return self._offline_s is not None

    def order(self, by_speed: bool = False) -> list[Endpoint]:
        """Those to be asked, one after the other; UpstreamDown where there is none. ``by_speed``: for a
        blob."""
        if self.offline:
            raise UpstreamDown(self._name, OFFLINE, self._offline_s)
        if len(self._all) == 1 and self._all[0].breaker.state.closed:
            return self._all
        slow = frozenset(filter(self._is_slow, range(len(self._all)))) if by_speed else frozenset()
        found = plan([each.breaker.state for each in self._all], self._clock.seconds(), slow)
        if not found:
            raise not_asked(self._name, self.standing())
        return [self._all[number] for number in found]

    def elsewhere(self, endpoint: Endpoint) -> bool:
        """Whether a blob that ``endpoint`` sends slowly may be had from another."""
        now_s = self._clock.seconds()
        return any(
            each is not endpoint
            and each.breaker.state.closed
            and not each.breaker.state.stepped_back(now_s)
            and not self._is_slow(number)
            for number, each in enumerate(self._all)
        )

    def alone(self, number: int) -> bool:
        """Whether trouble of that one, by its number, is the upstream's: no other is asked."""
        return not any(each.breaker.state.closed for each in self._all if each is not self._all[number])

    def slow(self, endpoint: Endpoint) -> None:
        """A blob from it was too slow to be waited for."""
        self._slow_s[self._all.index(endpoint)] = self._clock.seconds()

    def _is_slow(self, number: int) -> bool:
        slow_s = self._slow_s.get(number)
        return slow_s is not None and self._clock.seconds() - slow_s < SLOW_S

    def standing(self) -> Standing:
        """As :meth:`IRemoteRegistry.standing`."""
        if self.offline:
            return Standing(Circuit.OFFLINE, self._offline_s, OFFLINE)
        if any(each.breaker.state.closed for each in self._all):
            return GOOD
        now_s = self._clock.seconds()
        return best([each.breaker.state for each in self._all], now_s, self._wall() - now_s)

    def standings(self) -> list[tuple[str, Standing]]:
        """As :meth:`IRemoteRegistry.endpoints`."""
        return [(each.host, self._standing_of(each.breaker.state)) for each in self._all]

    def _standing_of(self, state: CircuitState) -> Standing:
        if self.offline:
            return Standing(Circuit.OFFLINE, self._offline_s, OFFLINE)
        now_s = self._clock.seconds()
        return GOOD if state.closed else best([state], now_s, self._wall() - now_s)

    def set_offline(self, offline: bool, since_s: float | None = None) -> bool:
        """Ask nobody from now on, or everybody again; whether that is news. ``since_s`` epoch seconds."""
        if offline == self.offline:
            return False
        self._offline_s = (self._wall() if since_s is None else since_s) if offline else None
        for number, each in enumerate(self._all):
            if offline:
                each.breaker.rest()
                self._told(number, Circuit.OFFLINE)
            else:
                each.breaker.wake()
                self._told(number, Circuit.CLOSED)
        return True

    def close(self) -> None:
        """Probe nobody any more."""
        for each in self._all:
            each.breaker.close()


def not_asked(name: str, standing: Standing) -> UpstreamDown:
    """What is said of one whose circuit is open."""
    wait_s = max(1, math.ceil(standing.retry_s or 0.0))
    return UpstreamDown(name, f"not asked now: {standing.reason}", standing.since_s, wait_s)


def plan(states: Sequence[CircuitState], now_s: float, slow: Container[int] = frozenset()) -> list[int]:
    """Who is to be asked, by number: the good ones as they are written, those that are ``slow`` behind the
    others, then who failed longest ago."""
    asked = [number for number, state in enumerate(states) if state.closed]
    back = [number for number in asked if states[number].stepped_back(now_s)]
    good = sorted((number for number in asked if number not in back), key=lambda number: number in slow)
    return good + sorted(back, key=lambda number: states[number].failed_s or 0.0)


def best(states: Sequence[CircuitState], now_s: float, ahead_s: float) -> Standing:
    """How they stand together, none being asked; the epoch's seconds are ``ahead_s`` of the clock's.

    The upstream is down since its last endpoint failed, and tried again as soon as the first is.
    """
    firsts = [state.first_s for state in states if state.first_s is not None]
    dues = [state.due_s for state in states if state.due_s is not None]
    probed = any(state.circuit is Circuit.HALF_OPEN for state in states)
    return Standing(
        Circuit.HALF_OPEN if probed else Circuit.OPEN,
        max(firsts) + ahead_s if firsts else None,
        next((state.reason for state in states if state.reason), None),
        0.0 if probed or not dues else max(0.0, min(dues) - now_s),
    )
