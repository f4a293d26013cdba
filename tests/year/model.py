"""What must lie on disk, computed from what happened: no code of the mirror's, only its promises.

Times are those of the simulated clock, which no change of the wall clock moves. Of each thing two
moments are known: ``sure_s``, a use that nothing can have lost, and ``latest_s``, the last that can count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

SLOT_S = 60.0
RETRY_S = 600.0
"""An upstream that did not answer is asked again after that; for as long an answer is believed."""
SPREAD_S = 3600.0
"""A use is passed on to what a tag or manifest names at most so often."""
NEVER_S = -1e9
FLUSH_S = 6.0
"""A kill loses no more than that of last uses."""


@attrs.define(slots=True)
class Thing:
    """A link or a tag record; ``digest`` and ``size`` are of the bytes, "" and 0 for a tag."""

    upstream: str
    digest: str
    size: int
    sure_s: float
    latest_s: float
    before_s: float
    """``sure_s`` as it was before what a kill now would lose."""
    changed_s: float


@attrs.define(slots=True)
class Up:
    """Since when an upstream answers, or does not; also the daemon, which must be there to remove."""

    answers: bool
    since_s: float


class Model:
    """``ttls`` are seconds by upstream."""

    def __init__(self, ttls: Mapping[str, float]) -> None:
        self.ttls = dict(ttls)
        self.things: dict[str, Thing] = {}
        self.up = {upstream: Up(True, 0.0) for upstream in ttls}
        self._running_since_s = 0.0

    # what happens

    def used(self, key: str, upstream: str, digest: str, size: int, now_s: float) -> None:
        """A client was given it, so that it is on disk from now on."""
        thing = self.things.get(key)
        if thing is None or not self._may_be(thing, now_s):
            self.things[key] = Thing(upstream, digest, size, now_s, now_s, now_s, now_s)
            return
        self._raise(thing, now_s, now_s)

    def came_along(self, key: str, upstream: str, digest: str, size: int, now_s: float) -> None:
        """It may have been fetched for what a client was given."""
        thing = self.things.get(key)
        if thing is None or not self._may_be(thing, now_s):
            self.things[key] = Thing(upstream, digest, size, NEVER_S, now_s, NEVER_S, now_s)
        else:
            self._raise(thing, now_s, thing.sure_s)

    def passed_on(self, key: str, now_s: float) -> None:
        """What names it was used: its life begins again, unless that was so within the hour."""
        thing = self.things.get(key)
        if thing is None or not self._may_be(thing, now_s):
            return
        sure_s = max(thing.sure_s, now_s - SPREAD_S) if self._must_be(thing, now_s) else thing.sure_s
        self._raise(thing, now_s, sure_s)

    def _raise(self, thing: Thing, now_s: float, sure_s: float) -> None:
        if now_s - thing.changed_s > FLUSH_S:
            thing.before_s = thing.sure_s
        thing.sure_s, thing.latest_s, thing.changed_s = sure_s, now_s, now_s

    def killed(self, now_s: float) -> None:
        """The last seconds of uses may be lost."""
        for thing in self.things.values():
            if now_s - thing.changed_s <= FLUSH_S:
                thing.sure_s = min(thing.sure_s, thing.before_s)

    def started(self, now_s: float, kept_s: float = 0.0, found: bool = False) -> None:
        """The daemon runs again. ``kept_s``: by so much lives are longer, since the clock tells
        nothing of the time in between; ``found``: entries may be made anew, for what a survey sees."""
        self._running_since_s = now_s
        for thing in self.things.values():
            thing.latest_s += kept_s
            if found and now_s - thing.changed_s < RETRY_S:
                thing.latest_s = now_s

    def answers(self, upstream: str, now_s: float, yes: bool) -> None:
        """An upstream goes or comes."""
        self.up[upstream] = Up(yes, now_s)

    def change_ttl(self, upstream: str, ttl_s: float, now_s: float) -> None:
        """Another life, for what is still there."""
        self.forget_gone(now_s)
        self.ttls[upstream] = ttl_s

    # what must be

    def forget_gone(self, now_s: float) -> None:
        """Nothing is to be said any more of what must be gone; what may be gone needs not be there."""
        for key, thing in list(self.things.items()):
            if not self._may_be(thing, now_s):
                del self.things[key]
            elif not self._must_be(thing, now_s):
                thing.sure_s = thing.before_s = NEVER_S

    def _must_be(self, thing: Thing, now_s: float) -> bool:
        due_s, up = thing.sure_s + self.ttls[thing.upstream], self.up[thing.upstream]
        held_back = not up.answers and due_s > up.since_s + RETRY_S + SLOT_S
        return now_s < due_s or held_back

    def _may_be(self, thing: Thing, now_s: float) -> bool:
        up = self.up[thing.upstream]
        since_s = max(thing.latest_s + self.ttls[thing.upstream], up.since_s, self._running_since_s)
        return not up.answers or now_s < since_s + RETRY_S + 3 * SLOT_S

    def must(self, now_s: float) -> Iterator[tuple[str, Thing]]:
        """Whatever has to be on disk."""
        return ((key, thing) for key, thing in self.things.items() if self._must_be(thing, now_s))

    def may(self, now_s: float) -> Iterator[tuple[str, Thing]]:
        """Whatever can be on disk; nothing else is."""
        return ((key, thing) for key, thing in self.things.items() if self._may_be(thing, now_s))


def bytes_of(things: Iterable[Thing]) -> int:
    """How many bytes these take, each content once."""
    return sum({thing.digest: thing.size for thing in things}.values())
