"""Users whose passwords are checked without bcrypt, and an entrance that knows them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import bcrypt
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from regproxy.access.challenges import Challenges
from regproxy.access.entrance import Entrance
from regproxy.access.htpasswd import Users
from regproxy.access.passwords import Passwords
from regproxy.access.policy import Policy
from regproxy.access.tokens import Tokens
from regproxy.settings import UpstreamSettings
from tests.web.doubles import UPSTREAMS


def hashed(password: str, cost: int = 4) -> bytes:
    """A real hash, as cheap as there is."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))


ALICE = hashed("hunter2-right")
BOB = hashed("hunter2-other")
USERS = Users({b"alice": ALICE, b"bob": BOB})


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def pair(name: str, password: str) -> bytes:
    """What follows ``Basic``."""
    return basic(name, password).encode().partition(b" ")[2]


@attrs.define
class Thread:
    """Jobs wait until the test runs them."""

    jobs: list[tuple[Deferred[Any], Callable[[], Any]]] = attrs.field(factory=list)
    at_once: bool = False
    ran: int = 0

    def run(self, job: Callable[[], Any]) -> Deferred[Any]:
        waiter: Deferred[Any] = Deferred()
        self.jobs.append((waiter, job))
        if self.at_once:
            self.step()
        return waiter

    def step(self) -> None:
        waiter, job = self.jobs.pop(0)
        self.ran += 1
        waiter.callback(job())

    def all(self) -> None:
        while self.jobs:
            self.step()


def entrance(
    upstreams: Iterable[UpstreamSettings] | None = None,
    *,
    anonymous: bool = False,
    tokens: Tokens | None = None,
    realm: str | None = None,
    thread: Thread | None = None,
) -> Entrance:
    """Alice's password is ``right``, Bob's is ``other``."""
    run = (thread or Thread(at_once=True)).run
    passwords = Passwords(lambda: USERS, run, Clock().seconds)
    service = None if tokens is None else "mirror.test"
    policy = Policy(UPSTREAMS if upstreams is None else upstreams, anonymous)
    return Entrance(policy, Challenges(True, realm, service), passwords, tokens)
