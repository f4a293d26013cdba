"""From what was used and what lies there to :class:`Holdings`, without holding the reactor.

Uses are gathered by who knows them, in slices; the rest is read in a thread. What a manifest names is
remembered, since a digest's bytes never change.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TypeVar

from twisted.internet.defer import Deferred

from regproxy.errors import InvalidDigest, InvalidName, InvalidTag
from regproxy.eviction.holdings import Holdings, Tagged, Thing
from regproxy.eviction.pins import InThread
from regproxy.interfaces import IStock, IUsage, Use
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

BLOCK_BYTES = 4096
BREATH = 64
BREATH_S = 0.0005
"""The thread lets others run after each BREATH things: it would hold Python's lock for 5 ms otherwise."""

Wanted = Callable[[str], bool]
T = TypeVar("T")


def everywhere(repository: str) -> bool:
    """Every repository."""
    return True


class Gathering:
    """``gone`` is how often what was evicted before had been asked for, by key."""

    def __init__(
        self, usage: IUsage, stock: IStock, in_thread: InThread, gone: Mapping[str, int] | None = None
    ) -> None:
        self._usage = usage
        self._stock = stock
        self._in_thread = in_thread
        self._gone = {} if gone is None else gone
        self._names: dict[str, tuple[str, ...]] = {}
        self._texts: dict[str, str] = {}

    async def look(self, decide: Callable[[Holdings], T], wanted: Wanted = everywhere) -> T:
        """What ``decide``, called in the thread, makes of all that repositories hold which are ``wanted``."""
        now_s, gone = self._usage.now_s(), dict(self._gone)
        uses = await self._usage.uses()
        deciding: Deferred[T] = self._in_thread(self._decide, decide, uses, now_s, gone, wanted)
        return await deciding

    def _decide(
        self,
        decide: Callable[[Holdings], T],
        uses: list[Use],
        now_s: float,
        gone: Mapping[str, int],
        wanted: Wanted,
    ) -> T:
        with _QUIET:
            things, tags, names = self._read(uses, wanted)
            decided = decide(Holdings(now_s, things, tags, names, self._stock.idle_spools(), gone))
            for left in (things, tags):
                while left:  # letting go of all at once takes 20 ms
                    del left[-BREATH:]
                    time.sleep(0)
        if wanted is everywhere:
            self._forget(names)
        return decided

    def _read(
        self, uses: list[Use], wanted: Wanted
    ) -> tuple[list[Thing], list[Tagged], dict[str, tuple[str, ...]]]:
        things: list[Thing] = []
        tags: list[Tagged] = []
        names: dict[str, tuple[str, ...]] = {}
        repositories: dict[str, bool] = {}
        while uses:  # let go of one by one
            key, kind, used_s, pulls, size_bytes, sent_bytes = uses.pop()
            if not len(uses) % BREATH:
                gc.collect(0)  # a few at a time: all of it, once it is looked through again, takes 10 ms
                time.sleep(BREATH_S)
            name, reference, tagged = split_key(key)
            name = sys.intern(name)
            if name not in repositories:
                repositories[name] = wanted(name)
            if not repositories[name]:
                continue
            if tagged:
                tags.append(Tagged(name, reference, self._tagged(key), used_s, pulls, sent_bytes))
                continue
            manifest = kind == "manifest"
            if manifest:
                names[reference] = self._named(reference)
            size = -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
            things.append(Thing(name, reference, manifest, used_s, pulls, size, sent_bytes))
        return things, tags, names

    def _tagged(self, key: str) -> str | None:
        parsed = parse_key(key)
        if parsed is None or not isinstance(parsed[1], Tag):
            return None
        found = self._stock.tagged(parsed[0], parsed[1])
        return None if found is None else str(found)

    def _named(self, digest: str) -> tuple[str, ...]:
        known = self._names.get(digest)
        if known is None:
            try:
                found = self._stock.names(Digest.parse(digest))
            except InvalidDigest:
                return ()
            known = tuple(self._texts.setdefault(text, text) for text in map(str, found))
            if known:  # what could not be read is tried again
                self._names[digest] = known
        return known

    def _forget(self, kept: Mapping[str, tuple[str, ...]]) -> None:
        """What manifests named that are gone."""
        if len(self._names) > 2 * len(kept) + 1000:
            self._names = {digest: names for digest, names in kept.items() if names}
            self._texts = {text: text for names in self._names.values() for text in names}


def split_key(key: str) -> tuple[str, str, bool]:
    """The repository, the reference, and whether that is a tag."""
    name, mark, reference = key.partition("@")
    if mark:
        return name, reference, False
    name, _, reference = key.rpartition(":")
    return name, reference, True


def parse_key(key: str) -> tuple[Repository, Reference] | None:
    """What a key names; None for what is no key."""
    name, reference, tagged = split_key(key)
    upstream, _, path = name.partition("/")
    try:
        repository = Repository.parse(upstream, path)
        return repository, Tag.parse(reference) if tagged else Digest.parse(reference)
    except (InvalidName, InvalidDigest, InvalidTag):
        return None


class _Quiet:
    """While it is entered the garbage collector does not begin by itself to look through a hundred thousand
    things that are soon let go of anyway: that takes 50 ms, in whatever thread. For one short job of a
    thread, which has it look through the newest ones now and then."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._depth = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._depth:
                self._was_on = gc.isenabled()
                gc.disable()
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth and self._was_on:
                gc.enable()


_QUIET = _Quiet()
