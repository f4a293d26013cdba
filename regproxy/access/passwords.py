"""Basic credentials against the users' hashes, in a thread, each answer remembered for minutes.

Laws: a password is kept nowhere, only a keyed hash of it, whose key is this process's own. An
unknown user costs as long as a known one. What was right is asked about before what never was, and
remembered apart from what was wrong: so no flood of wrong passwords keeps out those who are known.
A remembered answer counts only as long as the user's line in the file is the one that gave it.
"""

from __future__ import annotations

import binascii
import hashlib
import secrets
from base64 import b64decode
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import cast

import attrs
import bcrypt
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from regproxy.access.htpasswd import Users
from regproxy.access.identity import Identity, Proof
from regproxy.errors import Busy
from regproxy.singleflight import Waiters

RIGHT_S = 300.0
"""So long a right password is right without being hashed again."""
WRONG_S = 30.0
"""So long a wrong one is wrong: clients repeat it at once, several times."""
MAX_RIGHT = 4096
MAX_WRONG = 4096
MAX_WAITING = 64
"""So many different ones wait for the thread: some seconds' work, clients wait no longer."""
MAX_WAITING_EACH = 8
"""So many of one address, so that one client does not fill the queue alone."""
MAX_CREDENTIALS = 1024
"""Bytes of an Authorization header that are looked at; nobody has a longer password."""
_BCRYPT_BYTES = 72
"""bcrypt knows no more of a password, and htpasswd cuts there as well."""

Key = bytes


@attrs.frozen(slots=True)
class _Answer:
    """``written`` is the line's hash that gave it; ``until_s`` how long it counts."""

    identity: Identity | None
    name: bytes
    written: bytes | None = attrs.field(repr=False)
    until_s: float = 0.0


@attrs.define(eq=False)
class _Check:
    """One pair that is to be hashed, and who waits for it."""

    key: Key
    name: bytes
    password: bytes = attrs.field(repr=False)
    written: bytes | None = attrs.field(repr=False)
    client: str
    waiters: Waiters[Identity | None] = attrs.field(factory=Waiters)


class Passwords:
    """Tells who sends Basic credentials. ``run`` runs a job in a thread; ``now`` is monotonic."""

    def __init__(
        self,
        users: Callable[[], Users],
        run: Callable[[Callable[[], bool]], Deferred[bool]],
        now: Callable[[], float],
    ) -> None:
        self._users = users
        self._run = run
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[Key, _Answer] = OrderedDict()
        self._wrong: OrderedDict[Key, _Answer] = OrderedDict()
        self._urgent: deque[_Check] = deque()
        self._patient: deque[_Check] = deque()
        self._checks: dict[Key, _Check] = {}
        self._running = False

    def __repr__(self) -> str:
        return f"<Passwords waiting={len(self._checks)} right={len(self._right)} wrong={len(self._wrong)}>"

    def identify(self, written: bytes, client: str) -> Deferred[Identity | None]:
        """Who sends ``written``, what follows ``Basic``; None: nobody whom the file knows.

        Has fired already where the answer is remembered. :exc:`Busy` when too many wait.
        Cancelling it takes this waiter away, and a check that nobody waits for is not made.
        """
        if len(written) > MAX_CREDENTIALS:
            return succeed(None)
        key = self._keyed(written)
        known = self._remembered(key)
        if known is not None:
            return succeed(known.identity)
        check = self._checks.get(key)
        if check is not None:
            return check.waiters.add()
        pair = _decode(written)
        if pair is None:
            return succeed(None)
        return self._queue(key, *pair, client)

    def _keyed(self, secret: bytes) -> Key:
        return hashlib.blake2b(secret, key=self._secret, digest_size=16).digest()

    def _remembered(self, key: Key) -> _Answer | None:
        for answers in (self._right, self._wrong):
            answer = answers.get(key)
            if answer is not None and self._holds(answer):
                answers.move_to_end(key)
                return answer
        return None

    def _holds(self, answer: _Answer) -> bool:
        return self._now() < answer.until_s and self._users().hashes.get(answer.name) == answer.written

    def _queue(self, key: Key, name: bytes, password: bytes, client: str) -> Deferred[Identity | None]:
        written = self._users().hashes.get(name)
        urgent = key in self._right and self._right[key].written == written
        if not urgent and not self._has_room(client):
            return fail(Busy("too many passwords wait to be checked; try again"))
        check = _Check(key, name, password, written, client)
        self._checks[key] = check
        (self._urgent if urgent else self._patient).append(check)
        waiter = check.waiters.add()
        self._next()
        return waiter

    def _has_room(self, client: str) -> bool:
        self._forget_abandoned()
        own = sum(check.client == client for check in self._patient)
        return len(self._patient) < MAX_WAITING and own < MAX_WAITING_EACH

    def _forget_abandoned(self) -> None:
        """Whoever asks and leaves at once takes neither room nor memory."""
        if all(check.waiters for check in self._patient):
            return
        for check in self._patient:
            if not check.waiters:
                del self._checks[check.key]
        self._patient = deque(check for check in self._patient if check.waiters)

    def _next(self) -> None:
        while not self._running and (self._urgent or self._patient):
            check = (self._urgent or self._patient).popleft()
            if not check.waiters:
                del self._checks[check.key]
                continue
            self._running = True
            hashed = self._run(partial(_is_right, check.password, self._hash_for(check)))
            hashed.addBoth(self._checked, check)

    def _hash_for(self, check: _Check) -> bytes:
        """The user's hash; for an unknown user somebody else's, always the same: it takes as long."""
        if check.written is not None:
            return check.written
        others = list(self._users().hashes.values())
        return others[int.from_bytes(self._keyed(check.name), "big") % len(others)] if others else b""

    def _checked(self, right: bool | Failure, check: _Check) -> None:
        self._running = False
        del self._checks[check.key]
        if isinstance(right, Failure):
            check.waiters.fail(cast(BaseException, right.value))
        else:
            check.waiters.fire(self._remember(check, right and check.written is not None))
        self._next()

    def _remember(self, check: _Check, right: bool) -> Identity | None:
        """The answer, which counts from now."""
        self._right.pop(check.key, None)
        identity = Identity(check.name.decode("utf-8"), Proof.PASSWORD) if right else None
        answers, most, life_s = (
            (self._right, MAX_RIGHT, RIGHT_S) if right else (self._wrong, MAX_WRONG, WRONG_S)
        )
        answers[check.key] = _Answer(identity, check.name, check.written, self._now() + life_s)
        if len(answers) > most:
            answers.popitem(last=False)
        return identity


def _is_right(password: bytes, written: bytes) -> bool:
    return bool(written) and bcrypt.checkpw(password[:_BCRYPT_BYTES], written)


def _decode(written: bytes) -> tuple[bytes, bytes] | None:
    """User and password of ``written``; None for what is no pair."""
    try:
        pair = b64decode(written, validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = pair.partition(b":")
    return (name, password) if colon else None
