"""What operators see of the content, and do to it by hand: its parts, introduced to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from regproxy.interfaces import IRemoteRegistry
from regproxy.inventory.jobs import Jobs
from regproxy.inventory.looking import Looking
from regproxy.inventory.pinning import Pinning
from regproxy.inventory.warming import Warming
from regproxy.proxy.registry import ProxyRegistry
from regproxy.removal import Expiry
from regproxy.storage.store import DiskStore


@attrs.frozen
class Hand:
    """What operators see of the content, and do to it by hand."""

    looking: Looking
    pinning: Pinning
    warming: Warming
    jobs: Jobs


def build_hand(
    store: DiskStore,
    registry: ProxyRegistry,
    expiry: Expiry,
    remotes: Mapping[str, IRemoteRegistry],
    reactor: Any,
    wall: Callable[[], float],
) -> Hand | None:
    """Over all that is cached; None where nothing knows of its use."""
    if expiry.eviction is None:
        return None
    gathering, pins = expiry.eviction.evictor.gathering, expiry.eviction.pins
    looking = Looking(gathering, pins, store, registry.rules, reactor, wall, expiry.scheduler.now_s)
    return Hand(looking, Pinning(pins, looking), Warming(registry, store, remotes, reactor), Jobs(reactor))
