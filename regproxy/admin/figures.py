"""The page of figures, in Prometheus' text form or in OpenMetrics'; made in slices.

A page of ten thousand series takes 0.1 s to write: the reactor is given back in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client import exposition as plain
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest

from regproxy.admin.pages import Page, Sheet

SLICE_S = 0.005
PIECE = 100
"""So many samples are written at a time, in some 0.5 ms."""
PLAIN = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
_OPEN_TYPE = b"application/openmetrics-text"
_END = b"# EOF\n"

Encode = Callable[[Collector], bytes]


class _Piece(Collector):
    """Some samples of one family, for an encoder."""

    def __init__(self, metric: Metric, first: int) -> None:
        self._piece = Metric(metric.name, metric.documentation, metric.type, metric.unit)
        self._piece.samples = metric.samples[first : first + PIECE]

    def collect(self) -> Iterator[Metric]:
        yield self._piece


def pieces(registry: CollectorRegistry, encode: Encode) -> Iterator[bytes]:
    """The whole page in pieces: a family's head stands before its first samples only."""
    end = b""
    for metric in registry.collect():
        for first in range(0, max(1, len(metric.samples)), PIECE):
            text = encode(_Piece(metric, first))
            if text.endswith(_END):
                text, end = text.removesuffix(_END), _END
            yield text if first == 0 else _without_head(text)
    yield end


def _without_head(text: bytes) -> bytes:
    while text.startswith(b"#"):
        text = text.partition(b"\n")[2]
    return text


def metrics(
    registry: CollectorRegistry, clock: IReactorTime, monotonic: Callable[[], float] = time.perf_counter
) -> Page:
    """All figures of ``registry``. ``monotonic`` measures the slices."""

    async def page(request: IRequest) -> Sheet:
        is_open = _wants_openmetrics(request)
        encode = openmetrics.generate_latest if is_open else plain.generate_latest
        written: list[bytes] = []
        began_s = monotonic()
        for piece in pieces(registry, encode):
            written.append(piece)
            if monotonic() - began_s >= SLICE_S:
                await _next_turn(clock)
                began_s = monotonic()
        return Sheet(b"".join(written), content_type=OPENMETRICS if is_open else PLAIN)

    return page


def _wants_openmetrics(request: IRequest) -> bool:
    accepted = b",".join(request.requestHeaders.getRawHeaders(b"accept") or [])
    return any(each.partition(b";")[0].strip() == _OPEN_TYPE for each in accepted.split(b","))


def _next_turn(clock: IReactorTime) -> Deferred[None]:
    turn: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(0, turn.callback, None)
    return turn
