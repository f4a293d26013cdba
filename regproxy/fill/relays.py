"""All transfers that are kept nowhere, and who may begin one more.

Laws: a reader joins one that is near before it begins its own; so those who keep up with a thin
line share it, and only who is slower than the line costs a transfer, at its own pace. Beyond
RELAYS_PER_BLOB each new one waits for an end, GATHER_S at most, and whoever needs the same bytes
meanwhile shares it. Nobody is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import TransferStopped
from regproxy.fill.relay import Passage, Relay
from regproxy.fill.window import Point
from regproxy.interfaces import IBody
from regproxy.oci.digest import Digest
from regproxy.singleflight import Waiters

RELAYS_PER_BLOB = 4
GATHER_S = 8.0
"""With the 12 s for an upstream's first byte it stays below the 30 s after which clients give up."""


class Relays:
    """Relays by digest, from their beginning until nobody can join them."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._relays: dict[Digest, list[Relay]] = {}
        self._ends: dict[Digest, Waiters[None]] = {}
        self._stopped = False

    def __len__(self) -> int:
        return sum(map(len, self._relays.values()))

    def __repr__(self) -> str:
        return f"<Relays {[*self._relays.values()]}>"

    def near(self, passage: Passage, place: Point, checked: bool) -> Relay | None:
        """One that a reader at ``place`` can join; ``checked``: whose end is compared with the digest,
        and speaks for what the reader has as well, as far as can be told by now."""
        for relay in self._relays.get(passage.digest, ()):
            if relay.covers(place.offset) and (not checked or relay.may_check(passage.size, place)):
                return relay
        return None

    def take_over(self, passage: Passage, point: Point, body: IBody) -> Relay:
        """A transfer that runs already, and from now on owns ``body``, which goes on from ``point``."""
        return self._add(passage, point, lambda _: succeed(body))

    def begin(self, passage: Passage, point: Point) -> Relay:
        """A new transfer from ``point``. TransferStopped."""

        async def resumed(relay: Relay) -> IBody:
            await self._turn(passage.digest, relay)
            await relay.wanted()  # whoever waited for the turn may have left
            return await passage.resume(point.offset)

        return self._add(passage, point, lambda relay: Deferred.fromCoroutine(resumed(relay)))

    def turn(self, digest: Digest) -> Deferred[None]:
        """Fires when one more transfer of ``digest`` may begin, GATHER_S later at most."""
        return Deferred.fromCoroutine(self._turn(digest, None))

    def stop(self) -> None:
        """End all of them, and begin no more."""
        self._stopped = True
        for relay in [one for relays in self._relays.values() for one in relays]:
            relay.stop()

    def _add(self, passage: Passage, point: Point, begin: Callable[[Relay], Deferred[IBody]]) -> Relay:
        if self._stopped:
            raise TransferStopped("the daemon is stopping")
        crowded = partial(self._crowded, passage.digest, None)
        relay = Relay(passage, point, begin, self._clock, crowded, self._remove)
        self._relays.setdefault(passage.digest, []).append(relay)
        relay.start()
        relay.finished().addCallback(lambda _: self._next(passage.digest))
        return relay

    def _crowded(self, digest: Digest, but: Relay | None) -> bool:
        running = [relay for relay in self._relays.get(digest, ()) if relay.running and relay is not but]
        return len(running) >= RELAYS_PER_BLOB

    async def _turn(self, digest: Digest, relay: Relay | None) -> None:
        if not self._crowded(digest, relay):
            return
        ends = self._ends.setdefault(digest, Waiters())
        waiter = ends.add()
        timer = self._clock.callLater(GATHER_S, waiter.cancel)
        try:
            await waiter
        except CancelledError:
            if timer.active():
                raise
        finally:
            if timer.active():
                timer.cancel()
            if not ends:
                self._ends.pop(digest, None)

    def _next(self, digest: Digest) -> None:
        """One has come to its end: who waits longest begins."""
        ends = self._ends.get(digest)
        if ends and not self._stopped:
            ends.fire_one(None)

    def _remove(self, relay: Relay) -> None:
        relays = self._relays[relay.passage.digest]
        relays.remove(relay)
        if not relays:
            del self._relays[relay.passage.digest]
