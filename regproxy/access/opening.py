"""From the settings to the entrance: which files are read, and whether they can be used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from regproxy.access.challenges import Challenges
from regproxy.access.entrance import Entrance
from regproxy.access.htpasswd import Users, parse_htpasswd
from regproxy.access.keys import parse_keys
from regproxy.access.passwords import Passwords
from regproxy.access.policy import Policy
from regproxy.access.reread import Reread
from regproxy.access.tokens import Tokens
from regproxy.settings import AccessSettings, TokenSettings, UpstreamSettings
from regproxy.smallfile import Unusable
from regproxy.worker import Worker

T = TypeVar("T")

log = Logger()


def open_entrance(
    access: AccessSettings,
    upstreams: Iterable[UpstreamSettings],
    reactor: IReactorFromThreads,
    wall: Callable[[], float],
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[Entrance, Callable[[], Deferred[None]]]:
    """The entrance, and what ends its thread. :exc:`Unusable` names a setting whose file is of no use."""
    thread = Worker(reactor, "regproxy-passwords")
    tokens = access.tokens
    entrance = Entrance(
        Policy(upstreams, access.anonymous),
        Challenges(
            access.htpasswd is not None,
            None if tokens is None else tokens.realm,
            None if tokens is None else tokens.audience,
        ),
        None if access.htpasswd is None else _passwords(access.htpasswd, thread, monotonic),
        None if tokens is None else _tokens(tokens, wall, monotonic),
    )
    return entrance, thread.stop


def _passwords(path: Path, thread: Worker, monotonic: Callable[[], float]) -> Passwords:
    def parse(content: bytes) -> Users:
        users = parse_htpasswd(content)
        if users.unusable:
            log.warn("access.htpasswd: {path}, {lines}", path=str(path), lines=users.unusable)
        return users

    users = _opened("access.htpasswd", path, parse, monotonic)
    return Passwords(users.current, thread.run, monotonic)


def _tokens(settings: TokenSettings, wall: Callable[[], float], monotonic: Callable[[], float]) -> Tokens:
    keys = _opened("access.tokens.keys_file", settings.keys_file, parse_keys, monotonic)
    return Tokens(settings.issuer, settings.audience, keys.current, wall)


def _opened(
    setting: str, path: Path, parse: Callable[[bytes], T], monotonic: Callable[[], float]
) -> Reread[T]:
    try:
        return Reread.open(path, parse, monotonic)
    except Unusable as error:
        raise Unusable(f"{setting}: {error}") from None
