"""Whether an upstream is there: what cannot be fetched again is not removed by age."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from regproxy.errors import UpstreamTrouble
from regproxy.interfaces import Circuit

_log = Logger()

BELIEVED_S = 600.0
"""For so long an answer counts, if no failure came after it, and a failed probe is not repeated."""

Probe = Callable[[], Deferred[bool]]


@attrs.define(slots=True)
class _Heard:
    answered_s: float | None = None
    failed: bool = False
    probed_s: float | None = None
    since_s: float | None = None
    trouble: str | None = None
    trouble_s: float | None = None


@attrs.frozen(slots=True)
class Beat:
    """What is known of an upstream now. ``answers`` None: nothing yet, or an operator has it offline, which
    is no trouble of its own; ``since_s`` ago that began, None: nobody has heard when.

    ``trouble`` is the last there was, ``trouble_ago_s`` how long ago.
    """

    answers: bool | None = None
    since_s: float | None = None
    trouble: str | None = None
    trouble_ago_s: float | None = None


class Pulse:
    """What was heard of each upstream.

    An upstream without a probe is not in the settings: nobody can ask for its content, so it may go.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._probes: dict[str, Probe] = {}
        self._circuits: dict[str, Callable[[], Circuit]] = {}
        self._heard: dict[str, _Heard] = {}

    def watch(
        self, upstream: str, probe: Probe, circuit: Callable[[], Circuit] = lambda: Circuit.CLOSED
    ) -> None:
        """``probe`` asks the upstream's ``/v2/``: whether any answer below 500 came. ``circuit``: whether it
        is asked at all now; one that is not, for it failed or an operator said so, is not there."""
        self._probes[upstream] = probe
        self._circuits[upstream] = circuit
        self._heard[upstream] = _Heard()

    def answered(self, upstream: str) -> None:
        """It answered, with whatever status below 500."""
        heard = self._heard.get(upstream)
        if heard is not None:
            now_s = self._monotonic()
            if heard.failed or heard.answered_s is None:
                heard.since_s = now_s
            heard.answered_s, heard.failed = now_s, False

    def failed(self, upstream: str, trouble: str | None = None) -> None:
        """No connection, no answer in time, or a 5xx; ``trouble`` is a clause that says which."""
        heard = self._heard.get(upstream)
        if heard is None:
            return
        now_s = self._monotonic()
        if not heard.failed:
            heard.since_s = now_s
        heard.failed = True
        if trouble is not None:
            heard.trouble, heard.trouble_s = trouble, now_s

    def heard(self, upstream: str, trouble: UpstreamTrouble | None) -> None:
        """A call to it has ended, by an answer or by trouble."""
        if trouble is None:
            self.answered(upstream)
        else:
            self.failed(upstream, trouble.reason)

    def beat(self, upstream: str) -> Beat:
        """What is known of it, for those who look."""
        heard = self._heard.get(upstream, _Heard())
        circuit = self._circuit(upstream)
        answers = None if heard.since_s is None else not heard.failed
        since_s = heard.since_s
        if circuit is Circuit.OFFLINE:
            answers, since_s = None, None
        elif circuit is not Circuit.CLOSED:  # that it answered until then is not how long it does not
            answers, since_s = False, since_s if heard.failed else None
        return Beat(answers, self._ago(since_s), heard.trouble, self._ago(heard.trouble_s))

    def _circuit(self, upstream: str) -> Circuit:
        return self._circuits[upstream]() if upstream in self._circuits else Circuit.CLOSED

    def _ago(self, time_s: float | None) -> float | None:
        return None if time_s is None else self._monotonic() - time_s

    def alive(self, upstream: str) -> bool | None:
        """Whether it has answered within ten minutes and not failed since; None: ask :meth:`probe`."""
        heard = self._heard.get(upstream)
        if heard is None:
            return True
        if self._circuit(upstream) is not Circuit.CLOSED:
            return False
        if not heard.failed and self._recent(heard.answered_s):
            return True
        return False if self._recent(heard.probed_s) else None

    def _recent(self, time_s: float | None) -> bool:
        return time_s is not None and self._monotonic() - time_s < BELIEVED_S

    async def probe(self, upstream: str) -> None:
        """Ask it; :meth:`alive` knows from then on. One call at a time for each upstream."""
        heard = self._heard[upstream]
        try:
            answers = await self._probes[upstream]()
        finally:  # one that ends without a word is not repeated for a while either
            heard.probed_s = self._monotonic()
        if answers:
            self.answered(upstream)
            heard.probed_s = None
            return
        self.failed(upstream)
        _log.info("{upstream} does not answer: what is cached of it does not expire", upstream=upstream)
