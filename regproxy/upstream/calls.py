"""One question to an upstream: authorise, ask, follow; the last answer comes back unjudged.

Laws: an Authorization header is made by the door of the very origin it is sent to (R85). Once somebody
else has sent us on, nothing opens the upstream's own door: where a stranger leads, back home too, we
come without credentials. A step may lead only where the answer that asks for it may send us (R80).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import attrs
from twisted.web.http_headers import Headers

from regproxy.errors import (
    Denied,
    NotFound,
    Throttled,
    UpstreamDown,
    UpstreamError,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTrouble,
)
from regproxy.headers.challenges import parse_challenges
from regproxy.headers.origins import Origin
from regproxy.upstream.answers import DENIED, GONE, REDIRECTS, judge, judge_form
from regproxy.upstream.attempts import Attempts, Question, Trip
from regproxy.upstream.authorization import Door, Pass
from regproxy.upstream.budget import Budget
from regproxy.upstream.client import Answer, Client
from regproxy.upstream.endpoints import Endpoint, Endpoints
from regproxy.upstream.reach import PUBLIC_ONLY, Reach
from regproxy.upstream.redirects import Refuse, decide_redirect
from regproxy.upstream.retrying import RETRIES, WITH_OTHERS, Retrying
from regproxy.upstream.scopes import scope_at

MAX_FOREIGN_DOORS = 64


class Doors:
    """A door an origin: the upstream's own with credentials, a bounded number of others without."""

    def __init__(self, own: Mapping[Origin, Door], stranger: Callable[[Origin], Door]) -> None:
        self._own = own
        self._stranger = stranger
        self._others: OrderedDict[Origin, Door] = OrderedDict()

    def anonymous_at_home(self, origin: Origin) -> bool:
        """Whether it is the upstream's own door, and there are no credentials for it."""
        return origin in self._own and self._own[origin].anonymous

    def is_own(self, origin: Origin) -> bool:
        """Whether it is the upstream's own."""
        return origin in self._own

    def of(self, origin: Origin, *, astray: bool = False) -> Door:
        """The door to knock at; ``astray``: a stranger's, whosever it is."""
        if origin in self._own and not astray:
            return self._own[origin]
        door = self._others.pop(origin, None) or self._stranger(origin)
        self._others[origin] = door
        if len(self._others) > MAX_FOREIGN_DOORS:
            self._others.popitem(last=False)
        return door


@attrs.frozen(slots=True)
class Step:
    """Where a question is asked next, and by whose word: nobody's at first."""

    url: str = attrs.field(repr=False)
    sent_by: Reach = PUBLIC_ONLY
    astray: bool = False
    """Whether an origin that is not the upstream's has had a say."""


class Calls:
    """Asks questions over one client: bodies and small answers have a client each."""

    def __init__(
        self,
        name: str,
        client: Client,
        doors: Doors,
        wall: Callable[[], float],
        endpoints: Endpoints,
        attempts: Attempts,
        budget: Budget,
        insecure: bool = False,
        by_speed: bool = False,
        *,
        retrying: Retrying,
    ) -> None:
        """``insecure``: a redirect may lead from https to http. ``attempts`` asks one endpoint.
        ``by_speed``: one that was found slow is asked after the others."""
        self.known: Question | None = None
        """The last question about a manifest that was answered by one."""
        self._budget = budget
        self.retrying = retrying
        self._by_speed = by_speed
        self._name = name
        self._endpoints = endpoints
        self._attempts = attempts
        self._client = client
        self._doors = doors
        self._wall = wall
        self._insecure = insecure

    async def ask(self, question: Question, *, again: int = RETRIES) -> Answer:
        """The answer after authorisation and redirects, of any other status.

        Where a connection breaks before it has brought one it is asked ``again``, so many times at most.
        Of several endpoints that of the first one that is not in trouble. What another than the first
        of the settings refuses, or does not have, is no answer: it may only be behind (R90). UpstreamDown,
        at once, where none is asked now.
        """
        trouble: UpstreamError | None = None
        for endpoint, there in self._ways(question):
            try:
                answer = await self._ask_at(endpoint, there, again)
            except UpstreamError as error:
                if isinstance(error, NotFound | Denied) and not endpoint.later:
                    raise
                if isinstance(error, NotFound | Denied | Throttled) and endpoint.later:
                    error = self._no_word(error, question)
                trouble = telling(trouble, error)
                continue
            refusal = self._refusal(answer, question, endpoint)
            if refusal is None:
                answer.endpoint = endpoint.url
                answer.later = endpoint.later
                answer.slow = partial(self._endpoints.slow, endpoint)
                answer.elsewhere = partial(self._endpoints.elsewhere, endpoint)
                return answer
            trouble = telling(trouble, refusal)
        raise trouble or UpstreamFailed(self._name, f"whoever began to give the {question.what} is down")

    def _ways(self, question: Question) -> Iterator[tuple[Endpoint, Question]]:
        """Where it is asked; a later page of a list where the first one came from."""
        base = self._endpoints.first
        for endpoint in self._endpoints.order(self._by_speed):
            if question.url.startswith(base + "/"):
                yield endpoint, attrs.evolve(question, url=endpoint.url + question.url[len(base) :])
            elif question.url.startswith(endpoint.url + "/"):
                yield endpoint, question

    def is_home(self, answer: Answer) -> bool:
        """Whether it came from the upstream itself, and from nobody whom a redirect led to."""
        return self._doors.is_own(answer.origin)

    def _refusal(self, answer: Answer, question: Question, endpoint: Endpoint) -> UpstreamError | None:
        """Why the answer of one endpoint of several does not count; it is discarded then."""
        if len(self._endpoints) == 1:
            return None
        status = answer.status
        if status < 500 and status != 429 and not (endpoint.later and status in DENIED | GONE):
            return None
        answer.discard()
        found = self.error(answer, question)
        if isinstance(found, UpstreamTrouble) or (isinstance(found, Throttled) and not endpoint.later):
            return found
        missing = UpstreamFailed(self._name, f"{answer.origin.host}, asked instead, has no {question.what}")
        missing.status = answer.status
        return missing

    def _no_word(self, error: UpstreamError, question: Question) -> UpstreamError:
        """What the token server of a later endpoint refuses."""
        return UpstreamFailed(self._name, f"asked instead for {question.what}: {error.reason}")

    async def _ask_at(self, endpoint: Endpoint, question: Question, again: int) -> Answer:
        """The answer of one endpoint, unless its rate limit says not now: :exc:`Throttled`."""
        walk = partial(self._walk_again, again if len(self._endpoints) == 1 else min(again, WITH_OTHERS))
        asking = partial(self._attempts.ask, endpoint, question, walk)
        answer = await self._budget.ask(question.method, question.kind, Origin.of(endpoint.url), asking)
        if question.kind == "manifest" and answer.status == 200:
            self.known = question
        return answer

    async def _walk_again(self, most: int, question: Question, trip: Trip) -> Answer:
        if not most:
            return await self._walk(question, trip)
        return await self.retrying.run(partial(self._walk, question, trip), most)

    async def _walk(self, question: Question, trip: Trip) -> Answer:
        visited: tuple[str, ...] = (question.url,)
        step = Step(question.url)
        trip.host = None
        while True:
            answer = await self._ask_here(question, step)
            if answer.status not in REDIRECTS:
                return answer
            answer.discard()
            decided = decide_redirect(answer.header("Location"), visited, self._insecure)
            if isinstance(decided, Refuse):
                raise UpstreamFailed(self._name, f"asked for {question.what}, {decided.reason}")
            astray = step.astray or not self._doors.is_own(answer.origin)
            step = Step(decided.url, answer.reach, astray)
            trip.leads_to(Origin.of(decided.url))
            visited = (*visited, decided.url)
            question = attrs.evolve(question, scope=scope_at(decided.url, question.scope))

    async def ask_ok(self, question: Question) -> Answer:
        """The answer when it is a 200 that may be what was asked for; its error otherwise."""
        answer = await self.ask(question)
        self.insist(answer, question)
        return answer

    def insist(self, answer: Answer, question: Question, also: int = 200) -> None:
        """Raise the error of any answer but a plain 200, or ``also``, whose body is left for the caller."""
        error = self.error(answer, question, also)
        if error is not None:
            answer.discard()
            raise error

    def error(self, answer: Answer, question: Question, also: int = 200) -> UpstreamError | None:
        """What is wrong with an answer, None for a plain 200, or one of status ``also``."""
        host = str(answer.origin).partition("://")[2]
        retry_after = answer.header("Retry-After")
        status = 200 if answer.status == also else answer.status
        anonymous = self._doors.anonymous_at_home(answer.origin)
        found = judge(self._name, host, question.what, status, retry_after, self._wall(), anonymous=anonymous)
        form = answer.header("Content-Type"), answer.coding
        return found or judge_form(self._name, host, question.what, *form)

    async def _ask_here(self, question: Question, step: Step) -> Answer:
        """Ask one URL; on a challenge authorise and ask once more (R75)."""
        door = self._doors.of(Origin.of(step.url), astray=step.astray)
        used = await door.first(question.scope)
        answer = await self._send(question, step, used)
        if used is not None and door.ended(answer.status, used):
            answer.discard()
            return await self._send(question, step, await door.renew(used))
        if answer.status not in DENIED:
            return answer
        challenges = parse_challenges(answer.headers("WWW-Authenticate"))
        answer.discard()
        better = await door.answer(challenges, question.scope, used, answer.reach)
        if better is None:
            return self._refused(answer, used)
        return self._refused(await self._send(question, step, better), better)

    def _refused(self, answer: Answer, used: Pass | None) -> Answer:
        if answer.status == 401 and used is not None and used.basic:
            answer.discard()
            refused = UpstreamRefused(self._name, "it refuses our user name and password (401)")
            refused.status = answer.status
            raise refused
        return answer

    async def _send(self, question: Question, step: Step, used: Pass | None) -> Answer:
        headers = Headers({name: [value] for name, value in question.headers.items()})
        if used is not None:
            headers.setRawHeaders("Authorization", [used.header])
        return await self._client.exchange(
            question.method, step.url, headers, question.kind, sent_by=step.sent_by
        )


def telling(first: UpstreamError | None, other: UpstreamError) -> UpstreamError:
    """Which of two endpoints' trouble is told: the first one's, unless that one was only given up while the
    other was asked. That the upstream is not asked is said, and heard, where it is so."""
    given_up = isinstance(first, UpstreamDown) and not isinstance(other, UpstreamDown)
    return other if first is None or given_up else first
