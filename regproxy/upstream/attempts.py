"""One endpoint asked once: in time, and what came of it told to its circuit.

Laws: trouble is the endpoint's as long as it is asked itself; where it has sent us on, it has answered, and
trouble is that host's. 401 and 403 are answers: a credential that is refused is held back, for the scope
that it was refused for, and no other one is. A call that was given up says something only if it waited for
long. One that waits in silence is ended when the circuit opens: who asks then is told so at once, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamTrouble,
    UpstreamUnreachable,
)
from regproxy.headers.origins import Origin
from regproxy.upstream.answers import DENIED
from regproxy.upstream.client import Answer
from regproxy.upstream.deadlines import within
from regproxy.upstream.endpoints import Endpoint, best, not_asked
from regproxy.upstream.holds import Holds
from regproxy.upstream.limits import Limits

CREDENTIAL_PATIENCE = 3
"""A credential that is refused for so many scopes is refused for all: one alone may be no business of its."""
HOST_PATIENCE = 3
"""A host that fails so often in a row is left alone."""


@attrs.frozen(slots=True)
class Question:
    """What is asked: ``what`` names it in messages, ``kind`` in figures, ``scope`` in tokens."""

    method: str
    url: str = attrs.field(repr=False)
    what: str
    kind: str
    scope: str
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def as_method(self, method: str) -> Question:
        """The same question by another method."""
        return attrs.evolve(self, method=method)


class Trip:
    """Where a question has led: to ``host``, None: it is asked at the endpoint itself."""

    def __init__(self, is_own: Callable[[Origin], bool], leads: Callable[[], None]) -> None:
        self._is_own = is_own
        self._leads = leads
        self.host: Origin | None = None
        self.turned_back = False
        """Whether it was not asked there, since that host is left alone for now."""

    def leads_to(self, origin: Origin) -> None:
        """It has been sent on; raises where that host is left alone for now."""
        self.host = None if self._is_own(origin) else origin
        self._leads()


class Holding:
    """What the endpoints of one upstream, and the hosts that they send us to, have refused lately."""

    def __init__(self, clock: IReactorTime, login: Callable[[], Hashable]) -> None:
        """``login`` is who we are at this moment; UpstreamRefused where that cannot be read."""
        self._login = login
        self.scopes: Holds[tuple[str, str]] = Holds(clock)
        self.logins: Holds[str] = Holds(clock, CREDENTIAL_PATIENCE)
        self.hosts: Holds[Origin] = Holds(clock, HOST_PATIENCE)

    def check(self, endpoint: Endpoint, question: Question) -> None:
        """Raise what it would be refused with anyway."""
        found = self.logins.refusal(endpoint.url, self._login) or self.scopes.refusal(
            (endpoint.url, question.scope), self._login
        )
        if found is not None:
            raise found

    def refused(self, endpoint: Endpoint, question: Question, error: UpstreamRefused) -> None:
        """So is that scope; and everything, where several scopes are."""
        with contextlib.suppress(UpstreamRefused):
            who = self._login()
            self.scopes.refused((endpoint.url, question.scope), error, who=who)
            self.logins.refused(endpoint.url, error, question.scope, who)

    def granted(self, endpoint: Endpoint, question: Question, status: int) -> None:
        """It was answered, by nothing of these."""
        if status not in DENIED:
            self.scopes.granted((endpoint.url, question.scope))
            self.logins.granted(endpoint.url)


Walk = Callable[[Question, Trip], Coroutine[Deferred[Any], Any, Answer]]


@attrs.frozen
class Attempts:
    """Asks one endpoint at a time. ``several``: there are more, so that none may take as long as it likes."""

    name: str
    clock: IReactorTime
    limits: Limits
    holding: Holding
    is_own: Callable[[Origin], bool]
    wall: Callable[[], float]
    several: bool

    async def ask(self, endpoint: Endpoint, question: Question, walk: Walk) -> Answer:
        """The answer, of whatever status; UpstreamRefused without asking, where the credential was refused a
        moment ago."""
        self.holding.check(endpoint, question)
        attempt = _Attempt(self, endpoint, question)
        doubting = self.clock.callLater(self.limits.doubt_s, attempt.doubt)
        try:
            answer = await attempt.follow(self._in_time(walk(question, attempt.trip), question))
        except (UpstreamError, CancelledError) as error:
            attempt.ended_by(error)
            raise attempt.cut_off or error from None
        finally:
            attempt.over()
            if doubting.active():
                doubting.cancel()
        attempt.answered(answer)
        return answer

    def _in_time(
        self, walking: Coroutine[Deferred[Any], Any, Answer], question: Question
    ) -> Deferred[Answer]:
        if not self.several:
            return Deferred.fromCoroutine(walking)
        seconds = self.limits.endpoint_s

        def late() -> UpstreamTimeout:
            reason = f"one of its endpoints took longer than {seconds:g} s to give {question.what}"
            return UpstreamTimeout(self.name, reason)

        return within(self.clock, seconds, walking, late)


class _Attempt:
    """One of them, and whom it tells what came of it."""

    def __init__(self, attempts: Attempts, endpoint: Endpoint, question: Question) -> None:
        self._attempts = attempts
        self._holding = attempts.holding
        self._endpoint = endpoint
        self._question = question
        self._began_s = attempts.clock.seconds()
        self._call = endpoint.breaker.began()
        self.trip = Trip(attempts.is_own, self._leads)
        self.cut_off: UpstreamError | None = None
        """Why it was ended by us."""
        self._walking: Deferred[Answer] | None = None

    def _leads(self) -> None:
        """The endpoint has sent us on."""
        self._endpoint.breaker.answered(self._call)
        left_alone = None if self.trip.host is None else self._holding.hosts.refusal(self.trip.host)
        if left_alone is not None:
            self.trip.turned_back = True
            raise left_alone

    def doubt(self) -> None:
        """No answer yet."""
        if self.trip.host is None:
            self._endpoint.breaker.doubt()
        self._endpoint.breaker.waits(self._cut)

    def follow(self, walking: Deferred[Answer]) -> Deferred[Answer]:
        """What comes of it, unless the circuit opens while it waits."""
        self._walking = walking
        return walking

    def over(self) -> None:
        """It waits no more."""
        self._endpoint.breaker.over(self._cut)

    def _cut(self) -> None:
        """Its endpoint is not asked any more. Where it has sent us on, it has answered: that goes on."""
        if self.trip.host is not None or self._walking is None:
            return
        now_s = self._attempts.clock.seconds()
        standing = best([self._endpoint.breaker.state], now_s, self._attempts.wall() - now_s)
        self.cut_off = not_asked(self._attempts.name, standing)
        self.cut_off.tried_s = self._waited_s
        self._walking.cancel()

    @property
    def _waited_s(self) -> float:
        return max(0.0, self._attempts.clock.seconds() - self._began_s)

    def ended_by(self, error: UpstreamError | CancelledError) -> None:
        """There is no answer; what ended us says nothing of the endpoint that it does not know."""
        if self.cut_off is not None:
            return
        if isinstance(error, UpstreamError):
            self._failed(error)
        elif self._waited_s >= self._attempts.limits.doubt_s:  # nobody waits any more, or its time is over
            reason = f"it has not answered for {self._waited_s:.0f} s"
            self._failed(UpstreamTimeout(self._attempts.name, reason))

    def _failed(self, error: UpstreamError) -> None:
        """There is no answer to the question."""
        if isinstance(error, UpstreamTrouble) and not isinstance(error, UpstreamRefused):
            answered = isinstance(error, UpstreamFailed)  # by what is of no use: that may be its repository's
            self._trouble(error, self._question.scope if answered else None)
            return
        self._endpoint.breaker.answered(self._call)  # its token server is there, and so is it
        if isinstance(error, UpstreamRefused):
            self._holding.refused(self._endpoint, self._question, error)

    def _trouble(self, error: UpstreamTrouble, about: str | None = None) -> None:
        if self.trip.host is None:
            self._endpoint.breaker.failed(self._call, error.reason, about)
            return
        self._endpoint.breaker.hesitate()
        if not self.trip.turned_back:
            self._holding.hosts.refused(self.trip.host, error, self._call.number)

    def answered(self, answer: Answer) -> None:
        """By whatever status."""
        answer.broke = self._broke
        host = str(answer.origin).partition("://")[2]
        if answer.status >= 500:
            failed = UpstreamFailed(self._attempts.name, f"{host} failed with {answer.status}")
            self._trouble(failed, self._question.scope)
            return
        self._endpoint.breaker.answered(self._call)
        if self.trip.host is not None:
            self._holding.hosts.granted(self.trip.host)
        elif answer.status == 429:
            return  # the budget knows what that stops
        self._holding.granted(self._endpoint, self._question, answer.status)

    def _broke(self) -> None:
        """Inside the body of the answer."""
        self._trouble(UpstreamUnreachable(self._attempts.name, "it broke off inside a blob"))
