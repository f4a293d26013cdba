"""Operations without a daemon: its folder locked, the same parts and the same table of operations, then the
end. Nothing listens, nothing expires; for looks and pins nothing is evicted either.

The reactor runs in the main thread, who asks in one of his own, so that verbs are the same either way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from regproxy import compose
from regproxy.admin.door import Action, status_of
from regproxy.errors import RegproxyError
from regproxy.operations import actions
from regproxy.settings import Settings
from regproxy.storage.opening import open_store
from regproxy.storage.owner import check_owner
from regproxy.storage.store import DiskStore

T = TypeVar("T")
R = TypeVar("R")

Note = Callable[[str, str, str], object]
"""Is told of each operation: its name, what was asked, what came of it."""
Carry = Callable[[str, Mapping[str, object]], tuple[int, Mapping[str, Any]]]
"""Carries out an operation by its name: HTTP's status for its outcome, and the answer."""


def with_folder(
    settings: Settings,
    reactor: Any,
    talk: Callable[[Carry], T],
    note: Note,
    *,
    fetches: bool,
    opened: Callable[[], None] = lambda: None,
) -> T:
    """What ``talk``, called in a thread, makes of the folder of ``settings``.

    ``fetches``: content will come, within the limits; else all that is there is looked at first, and
    nothing goes. ``opened`` is called once it is locked. StorageLocked, StorageFailed; KeyboardInterrupt
    when a signal ended it.
    """
    check_owner(settings.storage.root)
    settings = kept_as_it_is(settings, fetches)
    store = open_store(settings.storage.root, reactor, time.time)
    opened()
    mirror = compose.build_mirror(settings, store, reactor, time.time, None)
    ended: list[T | Failure] = []

    def carry(name: str, body: Mapping[str, object]) -> tuple[int, Mapping[str, Any]]:
        action = dict(actions(settings, mirror))[name]
        return _wait(reactor, partial(carry_out, name, action, body, note))

    def work() -> None:
        try:
            _wait(reactor, partial(_begin, mirror, store, fetches))
            ended.append(talk(carry))
        except BaseException:  # noqa: BLE001  whatever it is, it is raised where the reactor ran
            ended.append(Failure())
        reactor.callFromThread(reactor.stop)

    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(_end(mirror, store)).addErrback(_left)
    )
    reactor.callWhenRunning(threading.Thread(target=work, daemon=True).start)
    reactor.run()
    if not ended:
        raise KeyboardInterrupt
    result = ended[0]
    if isinstance(result, Failure):
        result.raiseException()
        raise AssertionError("it raises")
    return result


def _wait(reactor: Any, begin: Callable[[], Coroutine[Deferred[Any], Any, R]]) -> R:
    """What ``begin`` comes to in the reactor, for another thread."""
    call: Callable[[], Any] = lambda: Deferred.fromCoroutine(begin())  # noqa: E731
    came: R = blockingCallFromThread(reactor, call)
    return came


def kept_as_it_is(settings: Settings, fetches: bool) -> Settings:
    """The settings, but nothing goes by its age, nor for space unless something comes. Pure."""
    upstreams = tuple(attrs.evolve(upstream, ttl_s=None) for upstream in settings.upstreams)
    storage = settings.storage
    if not fetches:
        storage = attrs.evolve(storage, max_size_bytes=None, min_free_bytes=0)
    return attrs.evolve(settings, upstreams=upstreams, ttl_s=None, storage=storage)


async def _begin(mirror: compose.Mirror, store: DiskStore, fetches: bool) -> None:
    await mirror.begin()
    if mirror.expiry is not None:
        await mirror.expiry.begin()
    if not fetches:
        await store.survey()


async def carry_out(
    name: str, action: Action[Any], body: Mapping[str, object], note: Note
) -> tuple[int, Mapping[str, Any]]:
    """As the door does, with a line for each that it would have one for."""
    what, told, quiet = "-", "a fault", False
    try:
        asked = action.read(body)
        what = str(asked)
        outcome = await action.carry_out(asked)
        told, quiet = outcome.told, action.quiet and outcome.status == 200
    except RegproxyError as error:
        told = f"failed: {error.message}"
        return status_of(error), {"error": error.message}
    finally:
        if not quiet:
            note(name, what, told)
    return outcome.status, outcome.answer


async def _end(mirror: compose.Mirror, store: DiskStore) -> None:
    await mirror.stop()
    for remote in mirror.remotes.values():
        await remote.close()
    if mirror.expiry is not None:
        await mirror.expiry.end()
    await store.close()


def _left(failure: Failure) -> None:
    """What the disk refuses at the end is what a kill would have left."""
    failure.trap(RegproxyError)
