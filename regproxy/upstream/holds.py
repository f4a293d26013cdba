"""What is not asked again for a while, since it was just refused: a credential, all of it or for one scope,
or a host that we were sent to. What a 429 stops is the budget's.

Laws: a hold belongs to its key, and to who asked: with another credential it does not count. When it ends
one call is let through, the others wait for what becomes of it. Bounded; the oldest goes first.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import UpstreamDown, UpstreamError, UpstreamRefused
from regproxy.upstream.circuit import wait_s

K = TypeVar("K", bound=Hashable)

MAX_HOLDS = 256
TRIAL_S = 12.0
"""For so long others wait for the call that was let through."""


@attrs.define
class _Held:
    who: Hashable
    abouts: set[Hashable]
    error: UpstreamError
    times: int = 0
    until_s: float = float("-inf")


class Holds(Generic[K]):
    """``patience``: so many refusals, each about something else, make a hold."""

    def __init__(
        self, clock: IReactorTime, patience: int = 1, share: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._patience = patience
        self._share = share
        self._held: OrderedDict[K, _Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<Holds {len(self)}>"

    def refusal(self, key: K, who: Callable[[], Hashable] = lambda: None) -> UpstreamError | None:
        """Why it is not to be asked now; None: it is, and what comes of it is to be told."""
        held = self._held.get(key)
        if held is None or len(held.abouts) < self._patience:
            return None
        left_s = held.until_s - self._clock.seconds()
        if held.who != who():
            del self._held[key]
            return None
        if left_s <= 0:
            held.until_s = self._clock.seconds() + TRIAL_S
            return None
        return _told_again(held.error, left_s)

    def refused(self, key: K, error: UpstreamError, about: Hashable = None, who: Hashable = None) -> None:
        """It was asked, by ``who``, about that, and refused."""
        held = self._held.pop(key, None)
        if held is None or held.who != who:
            held = _Held(who, set(), error)
        self._held[key] = held
        if len(held.abouts) < self._patience:
            held.abouts.add(about)
        held.error = error
        if len(held.abouts) >= self._patience:
            held.until_s = self._clock.seconds() + wait_s(held.times, self._share())
            held.times += 1
        if len(self._held) > MAX_HOLDS:
            self._held.popitem(last=False)

    def granted(self, key: K) -> None:
        """It was asked, and not refused."""
        if self._held:
            self._held.pop(key, None)


def _told_again(error: UpstreamError, left_s: float) -> UpstreamError:
    """The same refusal as an error of its own, with the time that is left."""
    if isinstance(error, UpstreamRefused):
        again = UpstreamRefused(error.upstream, error.reason, error.inner)
        again.status = error.status
        again.since_s = error.since_s
        again.remembered = True
        return again
    return UpstreamDown(error.upstream, f"not asked now: {error.reason}", None, max(1, math.ceil(left_s)))
