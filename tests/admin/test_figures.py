"""``/metrics``: both forms, whole, in slices, for whom they are."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_plain
from twisted.internet.task import Clock

from regproxy.admin.figures import PIECE, SLICE_S, metrics
from regproxy.metrics.families import Counts
from regproxy.metrics.figures import Figures
from regproxy.metrics.words import KINDS, STATUSES
from tests.admin.asking import STRANGER, Asking, ask
from tests.conftest import LoggedFailures

OPENMETRICS = b"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75"


def counted(series: int = 0) -> CollectorRegistry:
    """A registry without what changes by itself."""
    registry = CollectorRegistry()
    one = Counts("a", "The first.\nIn two lines, with a \\.", ())
    many = Counts("many", "Many.", ("number",))
    for family in (one, many):
        registry.register(family)
    one.add((), 3)
    for number in range(series):
        many.add((f'{number}"\n',), number)
    return registry


def get(registry: CollectorRegistry, *args: bytes, **options: object) -> tuple[int, dict[str, str], bytes]:
    clock = Clock()
    return ask({"/metrics": metrics(registry, clock)}, b"/metrics", *args, clock=clock, **options)


@pytest.mark.parametrize("series", [0, 1, PIECE - 1, PIECE, PIECE + 1, 7 * PIECE])
def test_it_is_what_the_library_writes(series: int) -> None:
    """Piece by piece the same text, in either form."""
    registry = counted(series)
    status, headers, body = get(registry)
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert body == generate_latest(registry)
    status, headers, body = get(registry, Accept=OPENMETRICS)
    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body == generate_openmetrics(registry)
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize(
    "accept", [b"", b"*/*", b"text/plain;version=x", b"\xff\xfe", b"application/openmetrics", b";,;"]
)
def test_any_other_wish_gets_plain_text(accept: bytes) -> None:
    status, headers, _ = get(counted(), Accept=accept)
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")


@pytest.mark.parametrize(
    "accept", [b"application/openmetrics-text;version=x", b"application/openmetrics-text; escaping=\xff"]
)
def test_what_is_said_of_the_version_is_not_looked_at(accept: bytes) -> None:
    assert get(counted(), Accept=accept)[1]["Content-Type"].startswith("application/openm")


def test_our_figures_can_be_read_in_both_forms() -> None:
    registry = Figures(["docker.io"]).registry
    for accept, read in ((b"text/plain", read_plain), (OPENMETRICS, read_openmetrics)):
        text = get(registry, Accept=accept)[2].decode()
        names = {family.name for family in read(text)}
        assert names >= {"registry_proxy_hits", "regproxy_upstream_requests", "regproxy_build_info"}


def test_head_has_no_body() -> None:
    status, headers, body = get(counted(3), b"HEAD")
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == str(len(generate_latest(counted(3))))


def test_a_query_is_ignored() -> None:
    assert ask({"/metrics": metrics(counted(), Clock())}, b"/metrics?name[]=x")[0] == 200


def test_a_stranger_gets_nothing() -> None:
    status, _, body = get(counted(), peer=STRANGER)
    assert status == 403
    assert b"HELP" not in body


class Turns(Clock):
    """A clock whose calls without delay come in the next turn, as a reactor's do."""

    STEP_S = 0.001

    def callLater(self, delay: float, *args: object, **options: object) -> object:
        return super().callLater(max(delay, self.STEP_S), *args, **options)


def crowded() -> CollectorRegistry:
    """As many series as hostile upstreams can make: twenty of them, each with every answer there is."""
    names = [f"upstream-{number}.example" for number in range(20)]
    figures = Figures(names)
    for name in names:
        for kind in KINDS:
            for method in ("GET", "HEAD"):
                for status in STATUSES:
                    if status.isdigit():
                        figures.upstream(name).answered(method, kind, int(status), 0.1)
    return figures.registry


def test_a_page_with_very_many_series_holds_nobody_up() -> None:
    """Not for 20 ms at a time, in CPU time of this thread, since others may hold the machine."""
    registry, clock = crowded(), Turns()
    measured: list[float] = []
    page = metrics(registry, clock, time.thread_time)
    asking = Asking({"/metrics": page}, clock=clock)

    def timed(step: Callable[[], object]) -> None:
        began_s = time.thread_time()
        step()
        measured.append(time.thread_time() - began_s)

    timed(lambda: asking.send(b"/metrics"))
    while not asking.transport.value():
        timed(lambda: clock.advance(Turns.STEP_S))
    body = asking.answer()[2]
    asking.leave()
    assert body.count(b"\n") > 4000
    assert len(measured) > 3
    assert max(measured) < 0.02, measured


def test_who_leaves_ends_the_writing() -> None:
    """A slice that is due is not left in the reactor."""
    registry, clock = counted(3 * PIECE), Clock()
    seconds = iter(range(1_000_000))
    asking = Asking({"/metrics": metrics(registry, clock, lambda: next(seconds) * SLICE_S)}, clock=clock)
    asking.send(b"/metrics")
    assert any(call.getTime() <= clock.seconds() for call in clock.getDelayedCalls())
    asking.leave()
    assert not [call for call in clock.getDelayedCalls() if call.getTime() <= clock.seconds()]


def test_a_figure_that_cannot_be_read_is_a_fault_of_ours(logged_failures: LoggedFailures) -> None:
    figures = Figures()
    figures.gauge("regproxy_broken", "Broken.", lambda: 1 / 0)
    status, _, body = get(figures.registry)
    assert status == 500
    assert b"ZeroDivision" not in body
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
