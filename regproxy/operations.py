"""What operators may change in the running mirror: the table of the operations door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IReactorTime

from regproxy.access.policy import Policy
from regproxy.admin.door import Action, Door, Doorkeeping
from regproxy.admin.explain import explain_action
from regproxy.admin.inventory import inspect_action, list_action, sum_action
from regproxy.admin.names import ImageNames
from regproxy.admin.offline import offline_action
from regproxy.admin.pins import pin_action, pins_action, unpin_action
from regproxy.admin.purge import purge_action
from regproxy.admin.scrub import scrub_action
from regproxy.admin.warming import job_action, refresh_action, warm_action
from regproxy.compose import Mirror
from regproxy.errors import SecretUnusable
from regproxy.hand import Hand
from regproxy.proxy.purging import Purging
from regproxy.settings import Settings


def door(settings: Settings, mirror: Mirror, clock: IReactorTime) -> Door:
    """The door over ``mirror``; :exc:`SecretUnusable` where the settings name a token that is no good."""
    keeping = Doorkeeping(settings.admin_token_file, settings.admin_hosts)
    try:
        keeping.token()
    except SecretUnusable as error:
        raise SecretUnusable(f"admin_token_file {error}") from None
    return Door(dict(actions(settings, mirror)), clock, keeping)


def actions(settings: Settings, mirror: Mirror) -> Iterator[tuple[str, Action[Any]]]:
    """Each by its name."""
    if mirror.offline is not None:
        yield "offline", offline_action(mirror.offline, settings.upstreams)
    if mirror.expiry is not None:
        forget = [] if mirror.registry is None else [mirror.registry.negatives.forget]
        purging, names = Purging(mirror.expiry.store.purges, *forget), ImageNames(settings.upstreams)
        looking = None if mirror.hand is None else mirror.hand.looking
        yield "purge", purge_action(purging, names, looking)
    if mirror.caretaker is not None:
        yield "scrub", scrub_action(mirror.caretaker.scrubber.now)
    if mirror.hand is not None:
        yield from _by_hand(mirror.hand, ImageNames(settings.upstreams))
    if mirror.explaining is not None:
        policy = Policy(settings.upstreams, settings.access.anonymous)
        yield "explain", explain_action(mirror.explaining, ImageNames(settings.upstreams), policy)


def _by_hand(hand: Hand, names: ImageNames) -> Iterator[tuple[str, Action[Any]]]:
    yield "ls", list_action(hand.looking, names)
    yield "du", sum_action(hand.looking, names)
    yield "inspect", inspect_action(hand.looking, names)
    yield "pin", pin_action(hand.pinning, names)
    yield "unpin", unpin_action(hand.pinning, names)
    yield "pins", pins_action(hand.pinning)
    yield "warm", warm_action(hand.warming, hand.jobs, names)
    yield "refresh", refresh_action(hand.looking, hand.warming, hand.jobs, names)
    yield "job", job_action(hand.jobs)
