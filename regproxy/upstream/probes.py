"""Is anybody there? ``/v2/`` of one endpoint, asked without a token: any answer below 500 is one."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from regproxy.errors import UpstreamFailed, UpstreamTrouble
from regproxy.upstream.client import Client
from regproxy.upstream.questions import Questions
from regproxy.upstream.running import Running


class Probes:
    """Of one upstream; ``seconds`` is how long a probe's answer may take."""

    def __init__(self, name: str, client: Client, running: Running, seconds: float) -> None:
        self._name = name
        self._client = client
        self._running = running
        self._seconds = seconds

    def probe(self, endpoint: str, alone: Callable[[], bool]) -> Deferred[None]:
        """One question; fails with UpstreamTrouble, which the circuit tells.

        An answer is heard as that of every call is. Trouble is where the endpoint is ``alone``: as long as
        another one is asked, it says nothing of the upstream.
        """

        def told(result: Failure | None) -> Failure | None:
            if not isinstance(result, Failure):
                self._running.hear(None)
            elif isinstance(result.value, UpstreamTrouble) and alone():
                self._running.hear(result.value)
            return result

        return self.ask_in_time(endpoint).addBoth(told)

    def ask_in_time(self, endpoint: str) -> Deferred[None]:
        """The same, of which nobody hears."""
        return self._running.call(self.ask(endpoint), "its API", self._seconds, nested=True)

    async def ask(self, endpoint: str) -> None:
        """And without a deadline."""
        question = Questions(endpoint).base()
        answer = await self._client.exchange(question.method, question.url, Headers(), question.kind)
        answer.discard()
        if answer.status >= 500:
            raise UpstreamFailed(self._name, f"asked for its API, it answers {answer.status}")
