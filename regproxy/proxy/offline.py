"""Upstreams that operators take offline and online again, by hand, while the mirror runs.

Laws: a word counts at once, whatever the disk says. What was taken offline by hand stays so over a restart,
until it is taken online; one that the settings have offline is so again after each start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from regproxy.errors import StorageFailed, UnknownUpstream
from regproxy.interfaces import Circuit, IRemoteRegistry

_log = Logger()


class Notes(Protocol):
    """Where it is written down."""

    def read(self) -> dict[str, float]:
        """Since when each is offline, by name."""

    def write(self, notes: Mapping[str, float]) -> Deferred[None]:
        """From now on these; StorageFailed."""


@attrs.frozen(slots=True)
class Switched:
    """What came of it. ``changed``: it was not so before; ``failed``: why it will be forgotten, if it will;
    ``until_restart``: the settings say otherwise."""

    changed: bool
    failed: str | None = None
    until_restart: bool = False


class OfflineSwitch:
    """One for all upstreams. ``written`` are those that the settings have offline."""

    def __init__(
        self,
        remotes: Mapping[str, IRemoteRegistry],
        notes: Notes,
        written: frozenset[str],
        wall: Callable[[], float],
    ) -> None:
        self._remotes = remotes
        self._notes = notes
        self._written = written
        self._wall = wall
        self._by_hand: dict[str, float] = {}

    def recall(self) -> None:
        """Be as the last run was left; before anything is asked."""
        for name, since_s in self._notes.read().items():
            if name in self._remotes and name not in self._written:
                self._by_hand[name] = since_s
                self._remotes[name].set_offline(True, since_s)
                _log.warn(
                    "{upstream} is offline, as an operator said before the restart (regproxy online ends it)",
                    upstream=name,
                )

    def is_offline(self, upstream: str) -> bool:
        """Whether it is now; UnknownUpstream."""
        if upstream not in self._remotes:
            raise UnknownUpstream("the settings name no such upstream")
        return self._remotes[upstream].standing().circuit is Circuit.OFFLINE

    async def switch(self, upstream: str, offline: bool) -> Switched:
        """Do it; UnknownUpstream."""
        was = self.is_offline(upstream)
        if offline and upstream not in self._written:
            self._by_hand.setdefault(upstream, self._wall())
        if not offline:
            self._by_hand.pop(upstream, None)
        self._remotes[upstream].set_offline(offline)
        until_restart = not offline and upstream in self._written
        try:
            await self._notes.write(self._by_hand)
        except StorageFailed as error:
            return Switched(was != offline, error.message, until_restart)
        return Switched(was != offline, None, until_restart)
