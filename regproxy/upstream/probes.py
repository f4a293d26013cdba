"""Is anybody there? ``/v2/`` of one endpoint, asked without a token: any answer below 500 is one."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from regproxy.errors import UpstreamFailed
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

    def probe(self, endpoint: str) -> Deferred[None]:
        """One question; fails with UpstreamTrouble, which the circuit tells. Heard as every call is."""
        return self._running.call(self.ask(endpoint), "its API", self._seconds, nested=True)

    async def ask(self, endpoint: str) -> None:
        """The same without a deadline."""
        question = Questions(endpoint).base()
        answer = await self._client.exchange(question.method, question.url, Headers(), question.kind)
        answer.discard()
        if answer.status >= 500:
            raise UpstreamFailed(self._name, f"asked for its API, it answers {answer.status}")
